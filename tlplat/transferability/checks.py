"""What every score demands of its input, and the quantities that several share."""

from __future__ import annotations

import torch
from torch import Tensor

from tlplat.errors import DataError, NonFiniteError


def finite(values: Tensor, name: str) -> Tensor:
    """``values`` as float64; raises NonFiniteError TL-SCORE-NONFINITE where one is NaN or infinite."""
    found = values.detach().double().cpu()
    bad = int((~torch.isfinite(found)).sum())
    if bad:
        raise NonFiniteError(
            "TL-SCORE-NONFINITE",
            f"{bad} of {found.numel()} {name} are NaN or infinite, so no score is defined",
            fix="look at the rows and at the source's weights; clean what is not finite",
        )
    return found


def features(z: Tensor) -> Tensor:
    """z (n, d) as float64, checked."""
    if z.ndim != 2 or len(z) < 2 or z.shape[1] < 1:
        raise _wrong("features", tuple(z.shape), "(n, d) with at least 2 rows and 1 column")
    return finite(z, "features")


def classes(y: Tensor, rows: int) -> tuple[Tensor, int]:
    """Class numbers (n,) from 0 on, without gaps, and how many there are; raises TL-DATA-ONE-CLASS below two."""
    if y.ndim != 1 or len(y) != rows or y.is_floating_point():
        raise _wrong("labels", f"{tuple(y.shape)} {y.dtype}", f"({rows},) of integers")
    names, inverse = torch.unique(y.cpu(), return_inverse=True)
    if len(names) < 2:
        raise DataError(
            "TL-DATA-ONE-CLASS",
            f"all {rows} rows are of one class, so no score can tell sources apart",
            fix="label rows of another class too",
        )
    return inverse, len(names)


def one_hot(y: Tensor, count: int) -> Tensor:
    """(n, count) float64."""
    return torch.nn.functional.one_hot(y, count).double()


def probabilities(theta: Tensor) -> Tensor:
    """theta (n, c) as float64 with rows that sum to 1."""
    if theta.ndim != 2 or len(theta) < 2 or theta.shape[1] < 1:
        raise _wrong("probabilities", tuple(theta.shape), "(n, source classes) with at least 2 rows")
    found = finite(theta, "probabilities")
    sums = found.sum(dim=1, keepdim=True)
    if bool((found < 0).any()) or bool((sums - 1).abs().max() > 1e-3):
        raise _wrong("probabilities", "rows that are no distribution", "non-negative rows that sum to 1")
    return found / sums


def thin_svd(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U (n, r), singular values (r,) and V^T (r, d) of z, without the directions that are zero up to rounding."""
    u, s, vt = torch.linalg.svd(z, full_matrices=False)
    kept = s > s.max() * max(z.shape) * torch.finfo(s.dtype).eps
    return u[:, kept], s[kept], vt[kept]


def centred(z: Tensor) -> Tensor:
    """z minus its column means; a column that is constant up to rounding becomes exactly zero."""
    moved = z - z.mean(dim=0)
    tiny = z.abs().amax(dim=0) * len(z) * torch.finfo(z.dtype).eps
    return torch.where(moved.abs().amax(dim=0) <= tiny, torch.zeros_like(moved), moved)


def _wrong(what: str, found: object, expected: str) -> DataError:
    return DataError(
        "TL-SCORE-INPUT",
        f"a transferability score got {what} that it cannot take",
        found=str(found),
        expected=expected,
        fix="give one feature row and one label for each target row",
    )
