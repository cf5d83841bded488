"""TransRate: the coding rate that knowing the labels saves."""

from __future__ import annotations

import torch
from torch import Tensor

from tlplat.transferability import checks

DISTORTION = 1e-4


def transrate(z: Tensor, y: Tensor, *, distortion: float = DISTORTION) -> float:
    """R(Z) - R(Z | Y), an estimate of the mutual information (Huang et al. 2022, "Frustratingly Easy
    Transferability Estimation").

    R(Z) is the coding rate of all rows, R(Z | Y) the mean of the classes' rates weighted by their share of the rows
    (the paper's listing divides by the number of classes, which is the same where classes are equally large). Rows
    are centred once, over all classes.

    Args:
        z: (n, d) features. y: (n,) class indices. distortion: epsilon.

    Returns:
        Nats; higher is better; 0 for constant features. Unchanged by rotations and by renaming classes, *not* by
        scale: features that are small against epsilon lose, and wider ones win, so sources of different architectures
        are compared with care. Trust: low below n = d, where it mostly counts directions.
    """
    x = checks.centred(checks.features(z))
    inverse, count = checks.classes(y, len(x))
    parts = [x[inverse == c] for c in range(count)]
    conditional = sum(len(part) / len(x) * coding_rate(part, distortion) for part in parts)
    return coding_rate(x, distortion) - conditional


def coding_rate(x: Tensor, distortion: float = DISTORTION) -> float:
    """1/2 log det(I + X^T X / (n epsilon)) in nats, of x (n, d) (Ma et al. 2007; Huang et al. 2022)."""
    s = torch.linalg.svdvals(x)
    return float(0.5 * torch.log1p(s**2 / (len(x) * distortion)).sum())
