"""Checks of a target task before any training: what is missing, too small or on both sides of the split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from tlplat.data.examples import Examples, Inputs
from tlplat.errors import DataError, Finding, TlplatError
from tlplat.tasks.base import Task
from tlplat.tasks.confusions import suppressed


def check_quality(
    labelled: Examples, test: Examples, task: Task, least: int = 1, may_repeat: bool = False
) -> dict[str, Any]:
    """Facts for quality.json; counts of fewer rows than ``least`` are text that says no more.

    ``may_repeat``: equal inputs of different units are no leak (:attr:`TargetTask.may_repeat`).

    Raises:
        TlplatError: the first of :func:`problems`.
    """
    if faults := problems(labelled, test, task, may_repeat):
        raise faults[0]
    repeated = sum(n - 1 for n in Counter(row_digests(labelled.inputs)).values())
    across = _copies(labelled, test)
    return {
        "labelled": {
            "rows": len(labelled),
            **hidden({**task.facts(labelled.targets), "duplicates": repeated}, least),
        },
        "test": {"rows": len(test), **hidden(task.facts(test.targets), least)},
        **hidden({"duplicates_across_split": len(across)}, least),
        "groups_across_split": 0,
    }


def problems(labelled: Examples, test: Examples, task: Task, may_repeat: bool = False) -> list[TlplatError]:
    """Everything for which a run is refused.

    TL-DATA-EMPTY: no row on one side. TL-LEAK-GROUP: one group on both sides, or in training and validation.
    TL-LEAK-TIME: labelled rows that share moments with test rows. TL-LEAK-DUP: equal inputs among the labelled rows and
    the test rows. And what ``task.check`` raises for bad targets.
    """
    checks: list[Callable[[], None]] = []
    for name, part in (("labelled", labelled), ("test", test)):
        checks += [partial(_check_rows, name, part), partial(task.check, part.targets, part.ids)]
    checks += [partial(check, labelled, test) for check in (_check_groups, _check_spans)]
    checks.append(partial(_check_validation, labelled))
    if not may_repeat:
        checks.append(partial(_check_copies, labelled, test))
    found: list[TlplatError] = []
    for check in checks:
        try:
            check()
        except TlplatError as error:
            found.append(error)
            if error.code == "TL-DATA-EMPTY":
                break
    return found


def _check_rows(name: str, part: Examples) -> None:
    if not len(part):
        raise DataError("TL-DATA-EMPTY", f"there is no {name} row", fix="give more rows, or another split")


def _check_groups(labelled: Examples, test: Examples) -> None:
    if labelled.groups is None or test.groups is None:
        return
    shared = set(labelled.groups.tolist()) & set(test.groups.tolist())
    if shared:
        raise DataError(
            "TL-LEAK-GROUP",
            f"{len(shared)} groups have rows on both sides of the split (count {len(shared)})",
            fix="split by group, so that all rows of one group sit on one side",
        )


def _check_validation(labelled: Examples) -> None:
    """Rows of one group, which near-copies are too, on both sides of a split into training and validation rows."""
    if labelled.groups is None or labelled.validation is None:
        return
    held = labelled.validation
    first = {group: i for i, group in reversed(list(enumerate(labelled.groups.tolist()))) if not held[i]}
    shared = [(first[g], i) for i, g in enumerate(labelled.groups.tolist()) if held[i] and g in first]
    pairs = [(labelled.ids[a], labelled.ids[b]) for a, b in shared]
    if pairs:
        raise DataError(
            "TL-LEAK-GROUP",
            f"{len(pairs)} validation rows are of a group, or near-copies, of training rows (count {len(pairs)})",
            findings=[Finding("of one group", f"{a} and validation row {b}") for a, b in pairs],
            fix="put all rows of one group, and all copies of a row, on one side of the split",
        )


def hidden(facts: Mapping[str, Any], least: int) -> dict[str, Any]:
    """The facts with every count between 0 and ``least`` as ``< least``.

    Counts of a mapping inside are parts of one whole: where one of them is hidden, the next smallest is too.
    """

    def said(value: Any) -> Any:
        if isinstance(value, Mapping):
            if value and all(isinstance(n, int) and not isinstance(n, bool) for n in value.values()):
                return dict(zip(value, suppressed(list(value.values()), least), strict=True))
            return hidden(value, least)
        counts = isinstance(value, int) and not isinstance(value, bool)
        return f"< {least}" if counts and 0 < value < least else value

    return {name: said(value) for name, value in facts.items()}


def _check_spans(labelled: Examples, test: Examples) -> None:
    if labelled.spans is None or test.spans is None:
        return
    begun = torch.searchsorted(test.spans[:, 0].sort().values, labelled.spans[:, 1].contiguous(), right=True)
    ended = torch.searchsorted(test.spans[:, 1].sort().values, labelled.spans[:, 0].contiguous())
    shared = torch.nonzero(begun > ended).flatten().tolist()
    if shared:
        raise DataError(
            "TL-LEAK-TIME",
            f"{len(shared)} labelled rows are made of moments that test rows are made of too",
            findings=[Finding("overlaps with a test row", f"row {i} ({labelled.ids[i]})") for i in shared],
            fix="split by time, with a gap as long as a row's window and horizon (an embargo)",
        )


def _check_copies(labelled: Examples, test: Examples) -> None:
    across = _copies(labelled, test)
    if across:
        raise DataError(
            "TL-LEAK-DUP",
            f"duplicate rows on both sides of the split: count {len(across)} of test rows that equal a train row",
            findings=[Finding(f"test row {b} equals train row {a}") for a, b in across],
            fix="remove the duplicates, or put all copies of a row on one side (give them one group)",
        )


def _copies(labelled: Examples, test: Examples) -> list[tuple[str, str]]:
    """(labelled id, test id) of equal inputs."""
    ours = row_digests(labelled.inputs)
    first = {digest: labelled.ids[i] for i, digest in reversed(list(enumerate(ours)))}
    return [(first[d], test.ids[i]) for i, d in enumerate(row_digests(test.inputs)) if d in first]


def row_digests(inputs: Inputs, batch: int = 1024) -> list[bytes]:
    """A digest of each row's content: equal rows, equal digests."""
    out: list[bytes] = []
    for start in range(0, len(inputs), batch):
        taken = inputs.take(torch.arange(start, min(start + batch, len(inputs))))
        parts = [taken] if isinstance(taken, torch.Tensor) else [taken[k] for k in sorted(taken)]
        arrays = [p.contiguous().flatten(1).view(torch.uint8).numpy() for p in parts]
        out.extend(
            hashlib.blake2b(b"".join(a[i].tobytes() for a in arrays), digest_size=16).digest()
            for i in range(len(arrays[0]))
        )
    return out
