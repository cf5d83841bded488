"""Rows by themselves: values that are missing, rows that stand there twice or nearly so, rows far from all others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from tlplat.checks import Issue
from tlplat.data.examples import Examples, Inputs
from tlplat.data.quality import row_digests

NEAR = 0.02
"""Rows nearer than this share of the usual distance to a nearest neighbour are near-duplicates."""
SAMPLE = 1000
REFERENCE = 4000
NEIGHBOURS = 5
FAR = 8.0
"""Deviations (of the logarithm, by the median) of the distance to the fifth neighbour at which a row is an outlier."""
LEAST = 30
"""Rows below which nothing is usual, so that nothing is said of near-duplicates and outliers."""


def missing(examples: Examples, part: str, batch: int = 1024) -> Iterator[Issue]:
    """Rows with NaN or infinite numbers among their inputs."""
    found: list[str] = []
    for start in range(0, len(examples), batch):
        index = torch.arange(start, min(start + batch, len(examples)))
        taken = examples.inputs.take(index)
        parts = [taken] if isinstance(taken, torch.Tensor) else list(taken.values())
        bad = torch.zeros(len(index), dtype=torch.bool)
        for tensor in parts:
            if tensor.is_floating_point():
                bad |= ~torch.isfinite(tensor).flatten(1).all(dim=1)
        found += [examples.ids[start + i] for i in torch.nonzero(bad).flatten().tolist()]
    if found:
        yield Issue(
            "missing",
            "error",
            f"{len(found)} of {len(examples)} rows hold values that are missing or infinite",
            "fill in the values, or leave these rows out",
            part,  # type: ignore[arg-type]
            found,
        )


def duplicates(labelled: Examples) -> Iterator[Issue]:
    """Labelled rows that equal an earlier one, apart where their targets differ."""
    first: dict[bytes, int] = {}
    same: list[tuple[int, int]] = []
    for i, digest in enumerate(row_digests(labelled.inputs)):
        if digest in first:
            same.append((first[digest], i))
        else:
            first[digest] = i
    targets = labelled.targets
    conflict = [(a, b) for a, b in same if not torch.equal(targets[a], targets[b])]
    agreed = [pair for pair in same if pair not in set(conflict)]
    if conflict:
        yield Issue(
            "conflicting_duplicates",
            "warning",
            f"{len(conflict)} labelled rows equal an earlier one and have another target",
            "decide which target is right, or leave both rows out; --clean leaves all of them out of training",
            rows=[f"{labelled.ids[b]} = {labelled.ids[a]}" for a, b in conflict],
            left_out=sorted({i for pair in conflict for i in pair}),
        )
    if agreed:
        yield Issue(
            "duplicates",
            "warning",
            f"{len(agreed)} of {len(labelled)} labelled rows repeat an earlier one",
            "leave the copies out, or give all copies of a row one group; --clean keeps one of each",
            rows=[f"{labelled.ids[b]} = {labelled.ids[a]}" for a, b in agreed],
            left_out=[b for _, b in agreed],
        )


def near_duplicates(labelled: Examples, test: Examples, space: np.ndarray) -> Iterator[Issue]:
    """Rows that nearly equal another, among the labelled ones and across the split.

    Args:
        space: (labelled + test, d) float32, where distance means likeness: numbers of the rows, or frozen features.
    """
    n = len(labelled)
    names = [*labelled.ids, *test.ids]
    inside, across = [], []
    for a, b in close_pairs(space):
        if a < n <= b:
            across.append(f"{names[b]} ~ {names[a]}")
        elif b < n:
            inside.append(f"{names[b]} ~ {names[a]}")
    if across:
        yield Issue(
            "near_duplicates_across",
            "warning",
            f"{len(across)} pairs of a test row and a labelled row are nearly equal",
            "put near-copies on one side of the split: give them one group (--group)",
            "both",
            across,
        )
    if inside:
        yield Issue(
            "near_duplicates",
            "warning",
            f"{len(inside)} pairs of labelled rows are nearly equal",
            "give near-copies one group (--group), so that no fold is trained on a copy of what it validates on",
            rows=inside,
        )


def close_pairs(space: np.ndarray, limit: int = 10_000) -> list[tuple[int, int]]:
    """(i, j), i < j, of rows that are not equal and nearer than :data:`NEAR` times the usual nearest distance.

    Rows are swept in the order of their first principal coordinate, in which no pair lies further apart than in space.
    """
    n = len(space)
    if n < LEAST:
        return []
    centred = space - space.mean(axis=0)
    rng = np.random.default_rng(0)
    few = rng.choice(n, min(n, SAMPLE), replace=False)
    nearest = np.sqrt(np.maximum(_distances(space[few], space, few)[:, 0], 0))
    usual = float(np.median(nearest[nearest > 0])) if (nearest > 0).any() else 0.0
    bound = NEAR * usual
    if bound == 0:
        return []
    axis = np.linalg.svd(centred[few], full_matrices=False)[2][0]
    along = centred @ axis
    order = np.argsort(along, kind="stable")
    ends = np.searchsorted(along[order], along[order] + bound, side="right")
    found: list[tuple[int, int]] = []
    for position in np.flatnonzero(ends > np.arange(1, n + 1)):
        i, rest = order[position], order[position + 1 : ends[position]]
        apart = np.sqrt(((space[rest] - space[i]) ** 2).sum(axis=1))
        found += [(min(int(i), int(j)), max(int(i), int(j))) for j in rest[(apart <= bound) & (apart > 0)]]
        if len(found) >= limit:
            break
    return sorted(found)


def _distances(some: np.ndarray, all_rows: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Squared distances (len(some), 1) to the nearest other row that is not equal."""
    found = np.empty((len(some), 1))
    squares = (all_rows**2).sum(axis=1)
    for k, row in enumerate(some):
        apart = squares - 2 * all_rows @ row + (row**2).sum()
        apart[own[k]] = np.inf
        apart[apart <= 1e-12 * max(1.0, float((row**2).sum()))] = np.inf
        found[k, 0] = apart.min()
    return found


def outliers(labelled: Examples, space: np.ndarray) -> Iterator[Issue]:
    """Labelled rows that are far from all others: the distance to the fifth neighbour, against that of other rows."""
    n = len(labelled)
    if n < LEAST:
        return
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(0)
    reference = space if n <= REFERENCE else space[rng.choice(n, REFERENCE, replace=False)]
    apart, _ = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(reference).kneighbors(space)
    distance = np.log(np.maximum(apart[:, -1], 1e-12))
    middle = np.median(distance)
    spread = 1.4826 * np.median(np.abs(distance - middle))
    if spread <= 0:
        return
    score = (distance - middle) / spread
    far = np.flatnonzero(score > FAR)
    far = far[np.argsort(-score[far])]
    if len(far):
        yield Issue(
            "outliers",
            "warning",
            f"{len(far)} of {n} labelled rows lie far from all others",
            "look at these rows: wrong units, wrong files or another kind of record; leave out what does not belong",
            rows=[labelled.ids[int(i)] for i in far],
            figures={"score": [round(float(score[i]), 1) for i in far[:20]]},
        )


def flat_space(inputs: Sequence[Inputs]) -> np.ndarray | None:
    """Rows (n, d) float32 as standardised numbers, where they are float tensors of up to 4096 numbers; else None."""
    parts = []
    for each in inputs:
        taken = each.take(torch.arange(len(each)))
        if not isinstance(taken, torch.Tensor) or not taken.is_floating_point():
            return None
        parts.append(taken.flatten(1))
    whole = torch.cat(parts).float()
    if whole.shape[1] > 4096:
        return None
    spread = whole.std(dim=0, correction=0)
    standard: np.ndarray = ((whole - whole.mean(dim=0)) / torch.where(spread > 0, spread, torch.inf)).numpy()
    return standard
