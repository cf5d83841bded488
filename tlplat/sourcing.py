"""The sources of a run: which are meant, and the target as each of them sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlplat import plugins
from tlplat.config import RunConfig
from tlplat.data.examples import Examples
from tlplat.data.splits import draw_labels
from tlplat.data.unlabeled import MOST_ROWS, Admitted, admit, need_rows
from tlplat.domain import DataOptions, Domain, DomainContext
from tlplat.errors import TlplatError, UsageError
from tlplat.intake import Intake, NetworkInput
from tlplat.kept import place_of, read_kept
from tlplat.model import SourceModel
from tlplat.onnxio.source import is_onnx
from tlplat.onnxio.source import load_source as load_onnx
from tlplat.strategy import Strategy
from tlplat.tasks.base import Task
from tlplat.view import View, aligned, relabelled

AUTO = "auto"


@dataclass(frozen=True)
class SkippedSource:
    """A source at hand that does not fit the task, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Sourcing:
    """Loads sources and encodes the target for them, as the configuration says.

    Attributes:
        loaded: sources by the name that users type, each with the target as the domain gave it.
    """

    config: RunConfig
    domain: Domain
    options: Any
    data: DataOptions
    context: DomainContext
    loaded: dict[str, View] = field(default_factory=dict)

    def names(self) -> list[str]:
        """The sources that ``--source`` means: one, a list, or with ``auto`` all at hand."""
        wanted, known = self.config.source, [info.name for info in self.domain.sources()]
        if wanted is None:
            return [self.domain.default_source(self.options)]
        if wanted == AUTO:
            return known
        if wanted in known or Path(wanted).exists():
            return [wanted]
        return list(dict.fromkeys(part.strip() for part in wanted.split(",") if part.strip()))

    def views(self, names: Sequence[str], *, lenient: bool = False) -> tuple[list[View], list[SkippedSource]]:
        """The target as each source sees it; all share the rows, split, labels and targets of the first.

        Args:
            lenient: pass over a source that cannot be had or does not fit, with the reason.

        Raises:
            UsageError TL-SOURCE-NAME: two of them have one name. TL-SOURCE-ROWS: their rows differ.
            what the domain raises for a source or a target; where ``lenient``, the first of it if none fits.
        """
        found: list[View] = []
        skipped: list[SkippedSource] = []
        first: TlplatError | None = None
        for name in names:
            try:
                found.append(self._next(name, found))
            except TlplatError as error:
                if not lenient:
                    raise
                first = first or error
                skipped.append(SkippedSource(name, error.message))
        if not found and first is not None:
            raise first
        return leading_first(found), skipped

    def lent(self, view: View) -> View:
        """The view with the unlabelled rows and the source's rows that strategies may learn from."""
        unlabeled = self._unlabeled(view)
        card = {
            **view.target.data_card,
            **({} if unlabeled is None else {"unlabeled": unlabeled.facts}),
        }
        return dataclasses.replace(
            view,
            target=dataclasses.replace(view.target, data_card=card),
            unlabeled=None if unlabeled is None else unlabeled.inputs,
            source_rows=self.source_rows(view) if self._rows_are_used() else None,
        )

    def view(self, called: str, source: SourceModel) -> View:
        """The target as ``source`` sees it, on its own."""
        target = self.domain.target(self.options, self.data, source, self.context)
        target = dataclasses.replace(target, task=self._asked(target.task))
        by_default = None if self.data.path else self.domain.labels_by_default(self.options.model_dump())
        wanted = self.config.labels if self.config.labels is not None else by_default
        count = None if wanted == "all" else wanted
        return View(called, source, target, draw_labels(target.pool, count, self.config.data_seed, target.task))

    def _asked(self, task: Task) -> Task:
        """The domain's task with the metric and the balance that the configuration asks for."""
        if self.config.balance:
            task = task.balanced()
        return task if self.config.metric is None else task.measured_by(self.config.metric)

    def _unlabeled(self, view: View) -> Admitted | None:
        """The user's unlabelled rows, else the domain's own, without test and labelled rows; None where none is."""
        path, target, seed = self.config.data.unlabeled, view.target, self.config.data_seed
        least = self.domain.least_count
        if path is not None:
            ids, inputs = self.domain.encode(path, target.preprocess, self.context)
            found = admit(inputs, ids, view.labelled, target.test, path.name, seed, least=least)
            need_rows(found)
        elif target.unlabeled is not None:
            given = self.config.data.path
            own = f"the {self.domain.name} domain" if given is None else given.name
            found = admit(target.unlabeled, None, view.labelled, target.test, own, seed, MOST_ROWS, least)
            if not len(found.inputs):
                return None
        else:
            return None
        if found.warning:
            self.context.warn(found.warning)
        return found

    def source_rows(self, view: View) -> Examples | None:
        """Labelled rows of the view's source, in the view's label order, or None; reading them takes a while."""
        raw = self.loaded.get(view.called)
        if raw is None:
            return None
        rows = self.domain.source_rows(raw.source, self.options, raw.target, self.context)
        if rows is None or raw.source.task is None or view.source.task is None:
            return rows
        turned = relabelled(rows.targets, raw.source.task.labels, view.source.task.labels)
        return dataclasses.replace(rows, targets=turned)

    def _rows_are_used(self) -> bool:
        """Whether a loaded strategy would use rows of the source."""
        registry = self.context.registry
        loaded: list[type[Strategy]] = [registry.get("strategies", name) for name in registry.names("strategies")]
        return any("source_rows" in cls.requires | cls.uses for cls in loaded)

    def _source(self, name: str) -> SourceModel:
        """A folder or a kept source that tlplat wrote, else what the domain knows by the name."""
        if name not in [info.name for info in self.domain.sources()]:
            path = place_of(name, self.domain.name, self.context.cache)
            if path is not None:
                return read_kept(path, self.domain.name, self.data.path)
            if is_onnx(name):
                plugins.load("domains", ["arrays"], self.context.registry)  # it registers the backbone
                return load_onnx(name, self.domain.name, self._intake)
            if Path(name).is_file():
                return self.domain.source_file(Path(name), self.options, self.data, self.context)
        return self.domain.source(name, self.options, self.context)

    def _intake(self, network: NetworkInput) -> Intake:
        return self.domain.intake(network, self.options, self.data, self.context)

    def _next(self, name: str, before: Sequence[View]) -> View:
        if name not in self.loaded:
            source = self._source(name)
            twin = next((view.called for view in before if view.source.name == source.name), None)
            if twin is not None:
                raise UsageError(
                    "TL-SOURCE-NAME",
                    f"the source {name} has the same name as {twin}: {source.name}",
                    fix="name each source once",
                )
            self.loaded[name] = self.view(name, source)
        made = self.loaded[name]
        if not before:
            return made
        first = before[0]
        target, source = aligned(first.target, made.target, made.source)
        drawn = draw_labels(target.pool, len(first.labelled), self.config.data_seed, target.task)
        return dataclasses.replace(made, source=source, target=target, labelled=drawn)


def leading_first(views: Sequence[View]) -> list[View]:
    """The views of one run: the first leads, and names tell several apart."""
    several = len(views) > 1
    first = [dataclasses.replace(view, leading=None, several=several) for view in views[:1]]
    return [*first, *(dataclasses.replace(view, leading=first[0], several=several) for view in views[1:])]
