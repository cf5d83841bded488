"""A closer look at one finalist on the test rows: what the task says of it, and the score of each group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tlplat.data.examples import Examples
from tlplat.evaluate import ALPHA, Resamples, Scores
from tlplat.tasks.base import Evidence, Task
from tlplat.trials import Final

GROUP_ROWS = 20
"""A group of fewer test rows has no score of its own."""
MOST_GROUPS = 20


def detail(
    finals: Sequence[Final],
    task: Task,
    labelled: Examples,
    test: Examples,
    names: Sequence[str] = (),
    least: int = 1,
    more: Callable[[Evidence], Mapping[str, Any]] = lambda evidence: {},
) -> dict[str, Any]:
    """What report.json says under ``details``; of the first seed, whose fit is the one that is kept.

    ``names``: of the groups, where the domain knows them. ``least``: no count of fewer rows is shown. ``more``: what
    the domain adds; its charts and tables come behind the task's.
    """
    found = evidence(finals, labelled, test, least)
    own, added = task.detail(found), more(found)
    drawn = {part: [*own.get(part, ()), *added.get(part, ())] for part in ("charts", "tables")}
    return {
        "note": f"seed {finals[0].validated.seed}",
        **groups(finals, task, test, names, least),
        **own,
        **{part: shown for part, shown in drawn.items() if shown},
    }


def evidence(finals: Sequence[Final], labelled: Examples, test: Examples, least: int = 1) -> Evidence:
    """Test predictions of the first seed, and the out-of-fold predictions of all."""
    parts = [f.validated.out_of_fold for f in finals]
    seen = np.concatenate([labelled.targets[rows].numpy() for rows, _ in parts])
    said = np.concatenate([p for _, p in parts])
    return Evidence(test.targets.numpy(), finals[0].predictions, seen, said, len(parts[0][0]), least)


def groups(
    finals: Sequence[Final], task: Task, test: Examples, names: Sequence[str] = (), least: int = 1
) -> dict[str, Any]:
    """The primary metric of each group of test rows, worst first, averaged over seeds.

    Intervals are simultaneous over the groups (Bonferroni), since the worst of many looks bad by chance. Groups of
    fewer than 20 rows, or where the metric is undefined, are counted and not scored.
    """
    if test.groups is None:
        return {}
    numbers = test.groups.numpy()
    found, sizes = np.unique(numbers, return_counts=True)
    large = [int(g) for g, n in zip(found, sizes, strict=True) if n >= max(least, GROUP_ROWS)]
    if len(large) < 2:
        return {}
    metric, targets = task.metrics[0], test.targets.numpy()
    units = np.arange(len(test)) if test.units is None else test.units.numpy()
    rows: list[dict[str, Any]] = []
    for group in large:
        here = numbers == group
        inside = units[here] if len(np.unique(units[here])) > 1 else np.arange(int(here.sum()))
        draws = Resamples.draw(inside, len(finals))
        scores = Scores.of(metric, targets[here], [f.predictions[here] for f in finals], draws)
        estimate = scores.estimate(1 - ALPHA / len(large))
        if np.isfinite(estimate.mean):
            name = names[group] if group < len(names) else f"group {group}"
            interval = [estimate.low, estimate.high]
            rows.append({"group": name, "rows": int(here.sum()), "mean": estimate.mean, "interval": interval})
    rows.sort(key=lambda row: row["mean"] if metric.higher_is_better else -row["mean"])
    return {"groups": rows[:MOST_GROUPS], "groups_unscored": len(found) - len(rows)} if rows else {}
