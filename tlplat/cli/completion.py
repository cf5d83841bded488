"""``tlplat completion SHELL``."""

from __future__ import annotations

import click

from tlplat.cli.group import COMMANDS, PROGRAM

EPILOG = """\b
Examples:
  eval "$(tlplat completion bash)"                              in ~/.bashrc
  eval "$(tlplat completion zsh)"                               in ~/.zshrc
  tlplat completion fish > ~/.config/fish/completions/tlplat.fish
"""


@click.command("completion", short_help=COMMANDS["completion"], epilog=EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes tlplat's commands and options in SHELL."""
    from click.shell_completion import get_completion_class

    from tlplat.cli.entry import COMPLETE

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(ctx.find_root().command, {}, PROGRAM, COMPLETE).source())
