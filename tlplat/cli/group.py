"""The top-level command: a table of names, so that help imports no command, no torch and no plugin."""

from __future__ import annotations

import importlib
from typing import Any, NoReturn

import click

from tlplat.errors import did_you_mean

PROGRAM = "tlplat"
COMMANDS = {
    "run": "Find out whether transfer helps, and adapt a model.",
    "resume": "Go on with an interrupted run.",
    "predict": "Predict new rows with a run's model.",
    "export": "Write a run's model as a file for others to run.",
    "serve": "Serve a run's model over HTTP.",
    "report": "Show the report of a run.",
    "compare": "Show what several runs found, side by side.",
    "explain": "Show what a run's model looks at.",
    "pretrain": "Train a source model on your data, to keep and to hand on.",
    "check-data": "Look through your data before any training.",
    "rank": "Rank the source models for your data, without a run.",
    "domains": "List domains, or describe one.",
    "strategies": "List strategies, or describe one.",
    "tasks": "List task kinds, or describe one.",
    "sources": "List the source models of the domains.",
    "plugins": "List plugins, or check that they load.",
    "assets": "List, fetch and verify the files that demos need.",
    "config": "Print a configuration file, or the resolved values.",
    "doctor": "Check this installation.",
    "completion": "Print the completion script of a shell.",
}
"""Each command's first line of help; ``tlplat.cli.NAME`` holds the command as ``command``."""

EPILOG = """\b
Examples:
  tlplat run --domain genomics                 the domain's own demo
  tlplat run --domain genomics --labels 32 --strategy linear_probe,full_ft
  tlplat predict runs/genomics-... new.fasta > predictions.csv
  tlplat domains                               what is installed
"""


class LazyGroup(click.Group):
    """Imports a command's module when the command is invoked; knows the rest from :data:`COMMANDS` and metadata."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *(name for name in _plugin_commands() if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            found: click.Command = importlib.import_module(f"tlplat.cli.{cmd_name.replace('-', '_')}").command
            return found
        if cmd_name not in self.commands and cmd_name in _plugin_commands():
            from tlplat import plugins

            plugins.command(cmd_name, self)
        return self.commands.get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and args[0] not in self.list_commands(ctx) and not ctx.resilient_parsing:
            _unknown(ctx, args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        added = {name: owner for name, owner in _plugin_commands().items() if name not in COMMANDS}
        if added:
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(name, f"Brought by {owner}.") for name, owner in added.items()])


class SuggestingGroup(click.Group):
    """A group of subcommands that names the nearest one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and args[0] not in self.commands and not ctx.resilient_parsing:
            _unknown(ctx, args[0], list(self.commands))
        return super().resolve_command(ctx, args)


def _unknown(ctx: click.Context, name: str, known: list[str]) -> NoReturn:
    raise click.UsageError(f"No such command {name!r}{did_you_mean(name, known)}", ctx)


def _plugin_commands() -> dict[str, str]:
    """Names of command plugins with their distributions, from metadata."""
    from tlplat import plugins

    return {entry.name: entry.owner for entry in plugins.discover() if entry.group == "commands"}


def _version(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value and not ctx.resilient_parsing:
        from tlplat import __version__

        click.echo(f"{PROGRAM} {__version__}")
        ctx.exit()


@click.group(cls=LazyGroup, epilog=EPILOG, invoke_without_command=True, context_settings={"max_content_width": 100})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Domain transfer from one command: whether it helps, which strategy wins, and the adapted model."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
