"""Looking through a target before any training: all findings side by side, and what ``--clean`` leaves out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlplat.checks import Issue
from tlplat.checks.drift import drift, drift_from_statistics
from tlplat.checks.rows import duplicates, extremes, flat_space, missing, near_duplicates, outliers
from tlplat.checks.targets import given_away, imbalance, label_errors, small_classes
from tlplat.data.examples import Examples, Inputs
from tlplat.errors import TlplatError
from tlplat.features import FeatureStore
from tlplat.view import View

Check = Callable[[], Iterable[Issue]]


DEAR = 2e11
"""Rows times weights of a source from which on a check of the data alone takes the features of its first block."""


def look(view: View, store: FeatureStore) -> list[Issue]:
    """Everything that is found of the rows as a source sees them, the gravest first."""
    labelled, test = view.labelled, view.target.test
    count = len(labelled) + len(test)
    shallow = count * sum(tensor.numel() for tensor in view.source.state.values()) > DEAR
    found = look_at_labelled(view, store, pairs=False, shallow=shallow)
    if shallow:
        found.append(
            Issue(
                "shallow_look",
                "note",
                f"{count} rows are many for this source: likeness and labels were judged by its first block alone",
                "nothing needs to be done; --labels 10000 looks at fewer rows through the whole network",
                "both",
            )
        )
    found += _all([lambda: missing(test, "test")])
    if any(issue.kind == "missing" for issue in found):
        return _sorted(found)
    checks: list[Check] = []
    if not view.target.may_repeat:
        checks.append(lambda: near_duplicates(labelled, test, _space(view, store, [labelled, test], shallow)))
    return _sorted([*found, *_all(checks), *shifts(view, store)])


def shifts(view: View, store: FeatureStore) -> list[Issue]:
    """How the labelled rows differ from the source's: by its rows, else by what its preprocessing knows of them."""
    labelled, lent, source = view.labelled, view.source_rows, view.source
    if source.stand_in:
        return []
    if lent is None:
        return _all([lambda: drift_from_statistics(labelled, source)])

    def features(inputs: Inputs) -> Tensor:
        return store.features(source, inputs).float()

    return _all([lambda: drift(lent, labelled, features, source, view.target.task)])


def look_at_labelled(view: View, store: FeatureStore, *, pairs: bool = True, shallow: bool = False) -> list[Issue]:
    """What is found of the labelled rows alone: quick, and what a run begins with.

    Args:
        pairs: near-copies too. shallow: by features of the source's first block alone.
    """
    labelled, task = view.labelled, view.target.task
    checks: list[Check] = [
        lambda: missing(labelled, "labelled"),
        lambda: small_classes(labelled, task),
        lambda: imbalance(labelled, task),
        lambda: extremes(labelled),
    ]
    if not view.target.may_repeat:
        checks.append(lambda: duplicates(labelled))
    found = _all(checks)
    if any(issue.kind == "missing" for issue in found):
        return _sorted(found)
    checks = [
        lambda: outliers(labelled, _space(view, store, [labelled], shallow)),
        lambda: label_errors(labelled, _features(view, store, labelled, shallow), task),
        lambda: given_away(labelled, task),
    ]
    if pairs and not view.target.may_repeat:
        nothing = view.target.test.select(torch.arange(0))
        checks.append(lambda: near_duplicates(labelled, nothing, _space(view, store, [labelled], shallow)))
    return _sorted([*found, *_all(checks)])


def _all(checks: Sequence[Check]) -> list[Issue]:
    """The findings of each; a check that the rows do not allow is a note, since no check may end a run."""
    found: list[Issue] = []
    for check in checks:
        try:
            found += check()
        except (TlplatError, ValueError, ArithmeticError) as error:
            said = error.message if isinstance(error, TlplatError) else f"{type(error).__name__}: {error}"
            found.append(
                Issue("unchecked", "note", f"a check could not be made: {said}", "nothing needs to be done", "both")
            )
    return found


def _sorted(issues: Sequence[Issue]) -> list[Issue]:
    order = ("error", "warning", "note")
    return sorted(issues, key=lambda issue: order.index(issue.severity))


def _features(view: View, store: FeatureStore, rows: Examples, shallow: bool) -> Tensor:
    take = store.shallow if shallow else store.features
    return take(view.source, rows.inputs).float()


def _space(view: View, store: FeatureStore, parts: Sequence[Examples], shallow: bool) -> np.ndarray:
    """Where distance means likeness: the rows' own numbers, else features of the frozen source."""
    plain = flat_space([part.inputs for part in parts])
    if plain is not None:
        return plain
    return _standard(torch.cat([_features(view, store, part, shallow) for part in parts]))


def _standard(features: Tensor) -> np.ndarray:
    spread = features.std(dim=0, correction=0)
    found: np.ndarray = ((features - features.mean(dim=0)) / torch.where(spread > 0, spread, torch.inf)).numpy()
    return found


def refusal(error: TlplatError) -> Issue:
    """An error that ends a run, as a finding among others."""
    rows = [" ".join(finding.lines()) for finding in error.findings]
    return Issue(error.code, "error", error.message, error.fix, "both", rows)


def clean(views: Sequence[View], store: FeatureStore) -> tuple[list[View], dict[str, list[str]]]:
    """The views without the labelled rows that cleaning leaves out, and the names of these by finding.

    The first view decides, and test rows stay as they are.

    Raises:
        what ``task.check_labelled`` raises: too few rows of a class are left.
    """
    first, task = views[0], views[0].target.task
    features = store.features(first.source, first.labelled.inputs).float()
    copies = () if first.target.may_repeat else duplicates(first.labelled)
    issues = [*copies, *label_errors(first.labelled, features, task)]
    told = {i.kind: [first.labelled.ids[row] for row in sorted(i.left_out)] for i in issues if i.left_out}
    gone = {row for issue in issues for row in issue.left_out}
    kept = torch.tensor([i for i in range(len(first.labelled)) if i not in gone], dtype=torch.int64)
    task.check_labelled(first.labelled.targets[kept])
    return [dataclasses.replace(view, labelled=view.labelled.select(kept)) for view in views], told


def table(issues: Sequence[Issue], least: int) -> list[dict[str, Any]]:
    """Findings as rows of text for the report: how grave, what, where, what to do."""
    rows = []
    for issue in issues:
        said = issue.to_json(least)
        more = f" and {said['more']} more" if said["more"] else ""
        rows.append(
            {
                "severity": issue.severity,
                "found": said["message"],
                "rows": "; ".join(said["rows"]) + more if said["rows"] else "",
                "fix": issue.fix,
            }
        )
    return rows
