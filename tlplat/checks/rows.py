"""Rows by themselves: values that are missing, rows that stand there twice or nearly so, rows far from all others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from tlplat.checks import Issue
from tlplat.data.columns import Column
from tlplat.data.examples import Examples, Inputs
from tlplat.data.quality import row_digests
from tlplat.tabular import TableInputs

NEAR = 0.02
"""Rows nearer than this share of the usual distance to a nearest neighbour are near-duplicates."""
SAMPLE = 1000
AXES = 6
"""Principal coordinates in which near pairs are proposed."""
REFERENCE = 4000
NEIGHBOURS = 5
FAR = 8.0
"""Deviations (of the logarithm, by the median) of the distance to the fifth neighbour at which a row is an outlier."""
BEYOND = 12.0
"""Quartile ranges between a number and the median of its column from which on it is extreme."""
RARE, FEW_FAR = 0.001, 3
"""Share of rows, or rows, of a column that may be extreme; where more are, the column is like that."""
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

    Pairs are proposed by a tree over a few principal coordinates, in which no pair lies further apart than in space.
    Of rows that equal each other the first stands for all.
    """
    n = len(space)
    if n < LEAST:
        return []
    centred = space - space.mean(axis=0)
    rng = np.random.default_rng(0)
    few = rng.choice(n, min(n, SAMPLE), replace=False)
    nearest = _nearest(centred, few)
    if not np.isfinite(nearest).any():
        return []
    bound = NEAR * float(np.median(nearest[np.isfinite(nearest)]))
    first: dict[bytes, int] = {}
    own = np.array([first.setdefault(row.tobytes(), i) == i for i, row in enumerate(np.ascontiguousarray(space))])
    rows = np.flatnonzero(own)
    axes = np.linalg.svd(centred[few], full_matrices=False)[2][:AXES]
    found: list[tuple[int, int]] = []
    for pairs in _proposed(centred[rows] @ axes.T, bound * 1.001, limit):
        i, j = rows[pairs[:, 0]], rows[pairs[:, 1]]
        apart = np.sqrt(((centred[i] - centred[j]) ** 2).sum(axis=1))
        near = apart <= bound
        found += list(zip(np.minimum(i, j)[near].tolist(), np.maximum(i, j)[near].tolist(), strict=True))
        if len(found) >= limit:
            break
    return sorted(found)


def _proposed(places: np.ndarray, bound: float, limit: int, block: int = 4096) -> Iterator[np.ndarray]:
    """(m, 2) numbers i < j of rows of ``places`` that are no further apart than ``bound``, some thousand at a time."""
    from scipy.spatial import cKDTree

    tree = cKDTree(places)
    for start in range(0, len(places), block):
        part = places[start : start + block]
        counts = tree.query_ball_point(part, bound, return_length=True)
        crowded = counts > limit  # a heap of like rows: no pair of it says anything
        around = tree.query_ball_point(part[~crowded], bound)
        numbers = start + np.flatnonzero(~crowded)
        i = np.repeat(numbers, [len(a) for a in around])
        j = np.concatenate([np.asarray(a, dtype=np.int64) for a in around]) if len(around) else np.zeros(0, np.int64)
        yield np.stack([i, j], axis=1)[j > i]


def _nearest(space: np.ndarray, some: np.ndarray, block: int = 8192) -> np.ndarray:
    """Distances (len(some),) from the rows ``some`` to the nearest other row of ``space`` that is not equal."""
    few = space[some]
    squares = (few**2).sum(axis=1)
    floor = 1e-6 * np.maximum(1.0, squares)  # float32: below it, rows are equal or nothing can be told
    least = np.full(len(some), np.inf, dtype=np.float32)
    for start in range(0, len(space), block):
        part = space[start : start + block]
        apart = squares[:, None] - 2 * few @ part.T + (part**2).sum(axis=1)
        own = (some >= start) & (some < start + len(part))
        apart[np.flatnonzero(own), some[own] - start] = np.inf
        apart[apart <= floor[:, None]] = np.inf
        least = np.minimum(least, apart.min(axis=1))
    return np.sqrt(least)


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


def extremes(labelled: Examples) -> Iterator[Issue]:
    """Rows of a table with a number far beyond all that is usual in its column: a slip of the decimal point, a code.

    Measured from the median in quartile ranges, of the logarithm where the column is skewed and not negative.
    """
    if not isinstance(labelled.inputs, TableInputs) or len(labelled) < LEAST:
        return
    found: dict[int, list[str]] = {}
    for name, values in labelled.inputs.table.items():
        if values.dtype.kind not in "fiu" or len(np.unique(values[np.isfinite(values)])) < LEAST:
            continue
        numbers = np.log1p(values) if Column.fit(name, values).log else values
        low, middle, high = np.nanquantile(numbers, (0.25, 0.5, 0.75))
        far = np.abs(numbers - middle) > BEYOND * (high - low)
        if high == low or far.sum() > max(FEW_FAR, RARE * len(far)):
            continue  # a column of such numbers: most of it is one value, or it has two parts
        for row in np.flatnonzero(far).tolist():
            found.setdefault(row, []).append(name)
    if found:
        yield Issue(
            "extreme_values",
            "warning",
            f"{len(found)} of {len(labelled)} labelled rows hold a number far beyond all that is usual in its column",
            "check units and decimal points; leave the value empty where it stands for a missing one (such as 99999)",
            rows=[f"{labelled.ids[row]}: {', '.join(names)}" for row, names in sorted(found.items())],
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
