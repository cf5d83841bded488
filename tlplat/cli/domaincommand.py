"""A command whose flags depend on the domain, and what its flags, its file and the environment come to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlplat import plugins
from tlplat.cli.flags import domain_options, run_options, values
from tlplat.config import RunConfig
from tlplat.errors import PluginError
from tlplat.registry import Registry
from tlplat.resolve import guessed, peek, resolve

if TYPE_CHECKING:
    from tlplat.domain import Domain

KEY = "tlplat.domain"


@dataclass
class Peeked:
    """The domain that the arguments name: its class, or why it cannot be had, or neither where none is named."""

    domain: type[Domain] | None = None
    fault: PluginError | None = None
    options: tuple[click.Option, ...] = ()


@dataclass(frozen=True)
class Resolved:
    """The configuration of the command, where each value came from, and the domain."""

    config: RunConfig
    origins: Mapping[str, str]
    domain: type[Domain]


class DomainCommand(click.Command):
    """Looks at ``--domain``, ``-c`` and ``--set`` first, loads that one plugin, and adds its options as flags."""

    def __init__(self, *args: Any, without: Collection[str] = (), **kwargs: Any) -> None:
        """``without``: keys of a run's configuration that get no flag here."""
        super().__init__(*args, **kwargs)
        self.params = [*_leading(), *run_options(without), *self.params]

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        peeked = ctx.meta.get(KEY, Peeked())
        return [*super().get_params(ctx), *peeked.options]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        flags = self._look(list(args))
        file = Path(flags["config"]) if flags.get("config") else None
        ctx.meta[KEY] = peeked = self._peeked(peek(flags, flags.get("set", ()), file))
        if peeked.fault:  # its flags are not known, so they are no fault of the user's
            ctx.ignore_unknown_options = ctx.allow_extra_args = True
            if any(name in args for name in self.get_help_option_names(ctx)):
                click.echo(f"note: {peeked.fault.message}; its own options are not shown\n", err=True)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        peeked: Peeked = ctx.meta.get(KEY, Peeked())
        own = [p for p in self.get_params(ctx) if p not in peeked.options]
        with formatter.section("Options"):
            formatter.write_dl([record for p in own if (record := p.get_help_record(ctx))])
        if peeked.domain is None:
            formatter.write_paragraph()
            formatter.write_text("A domain has options of its own: add --domain NAME before --help to see them.")
        elif peeked.options:
            with formatter.section(f"Options of the domain {peeked.domain.name}"):
                formatter.write_dl([record for p in peeked.options if (record := p.get_help_record(ctx))])

    def _look(self, args: list[str]) -> dict[str, Any]:
        """The flags as far as they can be told before the domain's are known."""
        scout = click.Context(self, ignore_unknown_options=True, allow_extra_args=True, resilient_parsing=True)
        try:
            found, _, _ = self.make_parser(scout).parse_args(args)
        except click.UsageError:  # the parse that counts says so again
            return {}
        return found

    def _peeked(self, name: str | None) -> Peeked:
        if name is None:
            return Peeked()
        try:
            domain = type(plugins.domain(name, Registry()))
        except PluginError as error:
            return Peeked(fault=error)
        taken = {spelling for p in self.params for spelling in (*p.opts, *p.secondary_opts)}
        return Peeked(domain=domain, options=tuple(domain_options(domain, taken | {"--help"})))


def resolved(ctx: click.Context, given: Mapping[str, Any]) -> Resolved:
    """The configuration: faults of its own come first, then those of the domain, then its options."""
    peeked: Peeked = ctx.meta[KEY]
    flags, sets = values(given), list(given["set"])
    file = Path(given["config"]) if given["config"] else None
    if peeked.domain is None:
        resolve(flags, sets, file)
        raise peeked.fault or RuntimeError("a configuration without a domain was accepted")
    config, origins = resolve(flags, sets, file, domain=peeked.domain)
    if (said := guessed(config, origins)) is not None:
        click.echo(f"note: {said}", err=True)
    return Resolved(config, origins, peeked.domain)


def _leading() -> Iterable[click.Option]:
    yield click.Option(["config", "-c", "--config"], metavar="FILE", help="Configuration file (TOML).")
    yield click.Option(
        ["set", "--set"], multiple=True, metavar="KEY=VALUE", help="Set a key, e.g. train.epochs=5; over the file."
    )
