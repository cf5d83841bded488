"""A softmax-head problem after its checks: everything broadcast, typed and on one device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

Solver = Literal["lbfgs", "sgd", "adamw"]
Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class RowLoss:
    """The loss of a row, in nats: ``sum_c t_c * -log p_c`` with soft targets ``t_c = a_y [c = y] + b_c``.

    This is ``torch.nn.functional.cross_entropy`` with ``weight`` and ``label_smoothing`` e:
    ``a_y = (1 - e) * class_weight[y]`` and ``b_c = e / C * class_weight[c]``. A mean divides by the sum of
    ``class_weight[y]``, times the rows' weights where given.

    Attributes:
        class_weight: (C,) or None for ones.
        label_smoothing: e in [0, 1).
        ignore_index: rows with this label count nothing.
    """

    class_weight: Tensor | None = None
    label_smoothing: float = 0.0
    ignore_index: int = -100

    def targets(self, y: Tensor, num_classes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``(label, a, b, mass)``: (n,) labels with 0 for ignored rows, (n,) a, (C,) b, (n,) a row's part in a mean."""
        kept = y != self.ignore_index
        label = torch.where(kept, y, 0)
        weight = y.new_ones(num_classes, dtype=dtype) if self.class_weight is None else self.class_weight.to(dtype)
        mass = kept.to(dtype) if self.class_weight is None else weight[label] * kept
        return label, (1 - self.label_smoothing) * mass, self.label_smoothing / num_classes * weight, mass

    def by_class(self, num_classes: int, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """``(a, mass, b)`` of every class, (C,) on the CPU, each None where it is all ones, all ones, and all zeros."""
        if self.class_weight is None and not self.label_smoothing:
            return None, None, None
        weight = torch.ones(num_classes, dtype=dtype) if self.class_weight is None else self.class_weight.to(dtype)
        a = (1 - self.label_smoothing) * weight
        b = self.label_smoothing / num_classes * weight if self.label_smoothing else None
        return a, None if self.class_weight is None else weight.contiguous(), b


@dataclass(frozen=True)
class MinibatchOptions:
    """Options of sgd and adamw.

    Attributes:
        learning_rate: (K,) peak rates. seed: K integers; the order of rows is a function of (seed, epoch).
        batch_size: rows a step; the last batch of an epoch may be smaller.
        momentum: of sgd. betas, eps: of adamw.
        schedule: ``cosine`` decays the rate to zero over all steps.
        patience: epochs without a better held-out loss after which a head stops.
    """

    learning_rate: Tensor
    seed: tuple[int, ...]
    batch_size: int = 256
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    schedule: Schedule = "constant"
    patience: int = 10


@dataclass(frozen=True)
class Moments:
    """Of features along orthonormal axes.

    Attributes:
        centre: (d,) float64, mean. spectrum: (d,) float64, positive, mean square about it.
        axes: (d, d) of the compute dtype, an axis a row; None for the features themselves.
    """

    centre: Tensor
    spectrum: Tensor
    axes: Tensor | None = None


@dataclass(frozen=True)
class HeadProblem:
    """K softmax heads over the rows of one z.

    Attributes:
        z: (n, d), any storage dtype. y: (n,) int64. num_classes: C. heads: K.
        compute: float32 or float64, of weights and sums.
        row_loss: class weights, smoothing, ignore index.
        sample_weight: (K, n), (1, n) or None for ones. validation_weight: likewise, or None for no held-out rows.
        weight_decay: (K,) float64 on the CPU.
        weight, bias: (K, C, d) and (K, C) at the start. from_zero: they are zeros.
        max_iter: L-BFGS iterations, or epochs. tol: bound on the gradient's Euclidean norm.
        minibatch: options of sgd and adamw, None for lbfgs.
        moments: of z along axes that L-BFGS is to look along, or None for the features' own.
        on_epoch: called with (iteration, losses (K,)); a true result stops the fit.
    """

    z: Tensor
    y: Tensor
    num_classes: int
    heads: int
    compute: torch.dtype
    row_loss: RowLoss
    sample_weight: Tensor | None
    validation_weight: Tensor | None
    weight_decay: Tensor
    weight: Tensor
    bias: Tensor
    solver: Solver
    max_iter: int
    tol: float
    minibatch: MinibatchOptions | None = None
    from_zero: bool = True
    moments: Moments | None = None
    on_epoch: Callable[[int, Tensor], object] | None = None


@dataclass(frozen=True)
class HeadsFit:
    """K fitted heads.

    Attributes:
        weight: (K, C, d). bias: (K, C), in the compute dtype.
        loss: (K,) the objective at the result, decay term included; for sgd and adamw that of the last epoch's steps.
        converged: (K,) the gradient's norm reached ``tol`` (or no smaller loss can be represented); for sgd and adamw,
            the loss is finite.
        iterations: (K,) iterations or epochs that the head used.
        validation_loss: (K,) mean held-out cross-entropy in nats at the result; NaN where no rows were held out.
    """

    weight: Tensor
    bias: Tensor
    loss: Tensor
    converged: Tensor
    iterations: Tensor
    validation_loss: Tensor = field(default_factory=lambda: torch.empty(0))
