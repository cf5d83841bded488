"""The target as one source sees it: the same rows, splits and labels for every source, encoded for this one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tlplat.bench import Bench
from tlplat.data.examples import Examples, Inputs
from tlplat.domain import TargetTask
from tlplat.errors import UsageError
from tlplat.model import SourceModel


@dataclass(frozen=True)
class View:
    """A source, and the target's rows as its preprocessing encodes them.

    Attributes:
        called: what users type for the source.
        target: pool and test rows for this source. labelled: training and validation rows of the pool.
        leading: the view whose rows the search hands over; None where this one leads.
        several: whether the run has another source, so that names must tell them apart.
        unlabeled: rows of the target without labels, encoded for this source, or None.
        source_rows: labelled rows of the source, or None.
    """

    called: str
    source: SourceModel
    target: TargetTask
    labelled: Examples
    leading: View | None = None
    several: bool = False
    unlabeled: Inputs | None = None
    source_rows: Examples | None = None

    def bench(self, shared: Bench) -> Bench:
        """What all trials share, with the rows that this source lends."""
        return dataclasses.replace(shared, unlabeled=self.unlabeled, source_rows=self.source_rows)

    def label(self, name: str) -> str:
        """What reports call the strategy ``name`` on this source."""
        return f"{name}@{self.called}" if self.several else name

    def encoded(self, examples: Examples) -> Examples:
        """The leading view's labelled or test rows as this source needs them; row numbers stay the same."""
        if self.leading is None or examples is self.labelled or examples is self.target.test:
            return examples
        if examples is self.leading.labelled:
            return self.labelled
        if examples is self.leading.target.test:
            return self.target.test
        raise ValueError(
            f"these {len(examples)} rows are not rows of the run, so {self.called} has no encoding of them"
        )


def aligned(first: TargetTask, other: TargetTask, source: SourceModel) -> tuple[TargetTask, SourceModel]:
    """``other`` with the task, groups and units of ``first``, and its source with the head's rows in that label order.

    Raises:
        UsageError TL-SOURCE-ROWS: the two differ in rows, split, labels or targets, not only in the encoding.
    """
    names, own = first.task.info().labels, other.task.info().labels
    if sorted(names) != sorted(own) or first.task.info().kind != other.task.info().kind:
        raise _apart(source, "it sees another task or other labels")
    parts = []
    for a, b, where in ((first.pool, other.pool, "pool"), (first.test, other.test, "test")):
        if list(a.ids) != list(b.ids):
            raise _apart(source, f"its {where} rows are others")
        if not torch.equal(a.targets, relabelled(b.targets, own, names)):
            raise _apart(source, f"the targets of its {where} rows are others")
        parts.append(dataclasses.replace(b, targets=a.targets, groups=a.groups, units=a.units, spans=a.spans))
    target = dataclasses.replace(other, task=first.task, pool=parts[0], test=parts[1], unit=first.unit)
    return target, with_label_order(source, names)


def with_label_order(source: SourceModel, labels: Sequence[str]) -> SourceModel:
    """The source with its head's outputs in the order of ``labels``, where it predicts exactly these."""
    task = source.task
    if task is None or source.head is None or task.labels == tuple(labels) or sorted(task.labels) != sorted(labels):
        return source
    order = torch.tensor([task.labels.index(name) for name in labels])
    options = {**task.options, "labels": list(labels)} if "labels" in task.options else task.options
    return dataclasses.replace(
        source,
        head={k: v[order] for k, v in source.head.items()},
        task=dataclasses.replace(task, labels=tuple(labels), options=options),
    )


def relabelled(targets: torch.Tensor, own: Sequence[str], names: Sequence[str]) -> torch.Tensor:
    """Targets in the label order ``names``: class indices, or columns of a multi-label table."""
    if not own or tuple(own) == tuple(names):
        return targets
    if targets.ndim == 2:
        return targets[:, [list(own).index(name) for name in names]]
    return torch.tensor([list(names).index(name) for name in own], dtype=targets.dtype)[targets]


def _apart(source: SourceModel, why: str) -> UsageError:
    return UsageError(
        "TL-SOURCE-ROWS",
        f"the source {source.name} cannot be compared with the others here: {why}",
        fix="run it alone with --source, or give test rows in a file of their own so that all sources share one split",
    )
