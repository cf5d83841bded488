"""Rows with any number of labels dealt out so that every label, a rare one too, is in every part in its share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlplat.errors import DataError, Finding


def dealt_sets(sets: np.ndarray, groups: np.ndarray | None, sizes: Sequence[float], seed: int) -> np.ndarray:
    """(n,) part numbers for rows with labels (n, c): iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011).

    The label of which fewest rows are left comes first; each of its rows, or whole groups (n,), largest first, goes to
    the part that lacks most rows with it, then most rows. A label that most rows have is dealt by the rows without it.

    Args:
        sizes: wanted rows of each part, n in all; without groups, whole numbers are met exactly.
    """
    rng = np.random.default_rng([seed, 0x5E75])
    rare = np.where(2 * sets.sum(axis=0) > len(sets), 1 - sets, sets)
    member = np.arange(len(sets)) if groups is None else np.unique(groups, return_inverse=True)[1]
    held = np.zeros((int(member.max()) + 1, rare.shape[1] + 1))
    np.add.at(held, member, np.c_[rare, np.ones(len(rare))])
    lacks = np.outer(np.asarray(sizes) / len(sets), held.sum(axis=0))
    waiting = rng.permutation(len(held))
    waiting = waiting[np.argsort(-held[waiting, -1], kind="stable")]
    part = np.full(len(held), -1)
    while len(waiting):
        left = held[waiting, :-1].sum(axis=0)
        label = int(np.where(left > 0, left, np.inf).argmin()) if left.any() else -1
        for unit in waiting[held[waiting, label] > 0].tolist():
            room = lacks[:, -1] > held[unit, -1] - 0.5
            wanted = np.where(room | ~room.any(), np.round(lacks[:, label], 6), -np.inf)
            best = int(np.lexsort((rng.random(len(lacks)), np.round(lacks[:, -1], 6), wanted))[-1])
            part[unit] = best
            lacks[best] -= held[unit]
        waiting = waiting[part[waiting] < 0]
    return np.asarray(part[member])


def held_out_sets(sets: np.ndarray, groups: np.ndarray, share: float, seed: int, names: Sequence[str]) -> np.ndarray:
    """(n,) True for about ``share`` of the rows, by whole groups (n,), each of the labels (n, c) on both sides.

    Raises:
        DataError TL-DATA-CLASS-SMALL: a label whose rows are all in one group.
    """
    counts = [len(np.unique(groups[column > 0])) for column in sets.T]
    if min(counts) < 2:
        raise DataError(
            "TL-DATA-CLASS-SMALL",
            f"{sum(n < 2 for n in counts)} of {len(names)} labels have all their rows in one group or cluster of "
            "near-copies; a split into training and test needs at least 2",
            findings=[
                Finding(f"{int(rows)} rows, {n} clusters", f"label {name!r}")
                for name, rows, n in zip(names, sets.sum(axis=0), counts, strict=True)
                if n < 2
            ],
            fix="add rows with these labels that are not near-copies of each other, or leave the labels out",
        )
    wanted = share * len(sets)
    return np.asarray(dealt_sets(sets, groups, [wanted, len(sets) - wanted], seed) == 0)
