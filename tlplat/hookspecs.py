"""Every hook, with its signature. A plugin implements those it needs with :data:`tlplat.hookimpl`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click

    from tlplat.domain import Domain
    from tlplat.edits import Behaviour, Edit
    from tlplat.model import Backbone
    from tlplat.strategy import Strategy
    from tlplat.tasks.base import Task

hookspec = pluggy.HookspecMarker("tlplat")
hookimpl = pluggy.HookimplMarker("tlplat")


@hookspec
def tlplat_register_domains() -> Iterable[type[Domain]]:
    """Domains that the plugin brings."""
    return ()


@hookspec
def tlplat_register_strategies() -> Iterable[type[Strategy]]:
    """Strategies that the plugin brings."""
    return ()


@hookspec
def tlplat_register_tasks() -> Iterable[type[Task]]:
    """Task kinds that the plugin brings."""
    return ()


@hookspec
def tlplat_register_backbones() -> Iterable[type[Backbone]]:
    """Backbone factories that structure.json may name."""
    return ()


@hookspec
def tlplat_register_edits() -> Iterable[type[Edit]]:
    """Edits that plans and structure.json may name."""
    return ()


@hookspec
def tlplat_register_behaviours() -> Iterable[type[Behaviour]]:
    """Behaviours that plans may name."""
    return ()


@hookspec
def tlplat_register_commands(cli: click.Group) -> None:
    """Add commands to the CLI's group."""


@hookspec
def tlplat_run_event(event: dict[str, Any]) -> None:
    """An observer's ear: one event of a run as JSON values; what it returns is ignored.

    ``event["event"]`` is its name, ``event["schema_version"]`` the version of its form, ``event["run_dir"]`` the run
    directory: run_start, trial_start, trial_progress, trial_complete, verdict, run_complete, run_failed and
    run_interrupted. The page on writing a tracker says what each holds. Pass over names that you do not know.
    """
