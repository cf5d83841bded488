"""LEEP and NCE: how well the source's own predictions tell the target's labels."""

from __future__ import annotations

import torch
from torch import Tensor

from tlplat.errors import DataError
from tlplat.transferability import checks


def leep(*, source_probabilities: Tensor, target_labels: Tensor) -> float:
    """Log expected empirical prediction (Nguyen et al. 2020, "LEEP: A New Measure to Evaluate Transferability").

    theta(x)_z is the source's probability of its class z for a target row x. From it come the joint P(y, z) =
    (1/n) sum_i theta(x_i)_z [y_i = y] and P(y | z); the score is (1/n) sum_i log sum_z P(y_i | z) theta(x_i)_z.
    The conditional is of the *target's label given the source's*; the other way round gives another, wrong number
    without any error, hence the names in the call.

    Args:
        source_probabilities: (n, source classes), rows that sum to 1. target_labels: (n,) class indices.

    Returns:
        Nats a row, at most 0; higher is better; minus the labels' entropy where the source says the same of every row.
        Unchanged by renaming classes on either side. Trust: only as good as the source's head speaks to the task: a
        fine backbone with an unrelated head ranks low. With few rows and many source classes it flatters.
    """
    theta = checks.probabilities(source_probabilities)
    y, count = checks.classes(target_labels, len(theta))
    joint = checks.one_hot(y, count).T @ theta / len(theta)
    mass = joint.sum(dim=0)
    conditional = torch.where(mass > 0, joint / torch.where(mass > 0, mass, 1.0), 0.0)
    return float((conditional[y] * theta).sum(dim=1).log().mean())


def nce(*, source_labels: Tensor, target_labels: Tensor) -> float:
    """Negative conditional entropy -H(Y | Z) (Tran et al. 2019, "Transferability and Hardness of Supervised
    Classification Tasks").

    Args:
        source_labels: (n,) the source's label of each target row (here: what its head predicts).
        target_labels: (n,) class indices.

    Returns:
        Nats a row, between -log(target classes) and 0; higher is better; 0 where the source's label tells the
        target's. -H(Z | Y) is another quantity: hence the names in the call. Unchanged by renaming classes on either
        side. Trust: as LEEP, and coarser, since it sees only which source class is the most probable.
    """
    if source_labels.ndim != 1 or source_labels.is_floating_point() or len(source_labels) != len(target_labels):
        raise DataError(
            "TL-SCORE-INPUT",
            "NCE takes one source label for each target row",
            found=f"{tuple(source_labels.shape)} {source_labels.dtype}",
            expected=f"({len(target_labels)},) of integers",
            fix="give the most probable source class of each row, as an integer",
        )
    y, count = checks.classes(target_labels, len(source_labels))
    z = torch.unique(source_labels.cpu(), return_inverse=True)[1]
    joint = torch.zeros(count, int(z.max()) + 1, dtype=torch.float64)
    joint.index_put_((y, z), torch.full((len(y),), 1 / len(y), dtype=torch.float64), accumulate=True)
    conditional = joint / joint.sum(dim=0)
    return float(torch.special.xlogy(joint, conditional).sum())
