"""``fit_softmax_heads``: K softmax heads over one set of frozen features in one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tlplat.errors import NonFiniteError
from tlplat.ops import (
    checks,
    cuda_fit,
    curvature,
    extension,
    native_fit,
    reference,
    reference_lbfgs,
    reference_minibatch,
)
from tlplat.ops.heads import Impl, choose
from tlplat.ops.problem import HeadProblem, HeadsFit, MinibatchOptions, RowLoss, Schedule, Solver

_ROWS = 65536
"""Rows that a check looks at together."""
_WIDE = 64
"""Features from which on finding the rows' space can be worth its time."""

PerHead = float | Sequence[float] | Tensor


def fit_softmax_heads(
    z: Tensor,
    y: Tensor,
    num_classes: int,
    *,
    weight_decay: PerHead = 0.0,
    solver: Solver = "lbfgs",
    sample_weight: Tensor | None = None,
    validation_weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    max_iter: int = 500,
    tol: float = 1e-5,
    learning_rate: PerHead | None = None,
    seed: int | Sequence[int] = 0,
    batch_size: int = 256,
    momentum: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    schedule: Schedule = "constant",
    patience: int = 10,
    start: tuple[Tensor, Tensor] | None = None,
    dtype: torch.dtype | None = None,
    on_epoch: Callable[[int, Tensor], object] | None = None,
    impl: Impl = "auto",
) -> HeadsFit:
    """Fit K softmax heads at once on frozen features, reading z once for all of them.

    Head k minimises ``sum_i w_ki * loss_i / sum_i w_ki * class_weight[y_i] + 0.5 * weight_decay_k * ||W_k||^2`` with
    ``loss_i`` the cross-entropy in nats of row i (see :func:`softmax_head_loss`); without weights that is the mean
    cross-entropy plus the penalty. The bias is not penalised. K is the common length of ``weight_decay``,
    ``learning_rate``, ``seed`` and of the first axis of ``sample_weight`` and ``validation_weight``; each may also be
    one for all. Folds are rows of ``sample_weight`` in {0, 1}. scikit-learn's LogisticRegression has the same
    objective at ``C = 1 / (n * weight_decay)``, and with two classes, where it keeps one logit, at
    ``2 / (n * weight_decay)``.

    ``lbfgs`` solves the whole convex problem. Heads that differ in decay alone may follow each other, from the
    strongest decay to the weakest, each from where the one before ended; until its turn a head is where that one is.
    Folds of one sweep may follow the first of them; until its turn a fold's heads are at their start, with loss NaN.

    ``sgd`` (with momentum, decay in the gradient, as torch.optim.SGD) and ``adamw`` (decoupled decay, none on the bias,
    as torch.optim.AdamW) walk over minibatches; a batch's mean is over its own rows, and the order of rows is a
    function of (seed, epoch). Everything is deterministic for one machine, thread count and version.

    Args:
        z: (n, d) float32, float64, bfloat16 or float16. Over bfloat16, sgd and adamw round weights and row gradients
            to bfloat16 inside products where the processor multiplies it (AVX-512 BF16); sums stay float32.
        y: (n,) integers in [0, num_classes), or ``ignore_index``.
        weight_decay: penalty, a number or K of them.
        sample_weight: (n,) or (K, n), not negative; every head needs a row with weight.
        validation_weight: (n,) or (K, n): rows held out. Their loss is reported, and for sgd and adamw a head
            keeps its best epoch and stops after ``patience`` epochs without a better one.
        class_weight: (C,). label_smoothing: in [0, 1).
        max_iter: L-BFGS iterations, or epochs. tol: bound on the Euclidean norm of a head's gradient (lbfgs).
        learning_rate: a number or K of them, default 0.1 for sgd and 0.001 for adamw. seed: an integer or K of them.
        schedule: ``constant``, or ``cosine`` to zero over all steps.
        start: (K, C, d) and (K, C) to start from; default zeros.
        dtype: float32 or float64 to compute in; default float64 for float64 z, else float32.
        on_epoch: called after an iteration or epoch with its number from 1 and the losses (K,); a true result stops.

    Returns:
        :class:`HeadsFit` with weight (K, C, d), bias (K, C), loss, converged, iterations, validation_loss (K,).

    Raises:
        TypeError, ValueError, IndexError, RuntimeError: as :func:`softmax_head_loss`.
        NonFiniteError: z is not finite (TL-NUM-NONFINITE). A head that diverges raises nothing: its ``converged`` is
            False.
    """
    checks.features(z)
    n, d = z.shape
    y = checks.label_tensor(y, n)
    compute = checks.compute_dtype(z, dtype)
    checks.smoothing(label_smoothing)
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, not {num_classes}")
    if solver not in ("lbfgs", "sgd", "adamw"):
        raise ValueError(f"solver must be lbfgs, sgd or adamw, not {solver!r}")
    if max_iter < 1 or not tol >= 0:
        raise ValueError(f"max_iter must be at least 1 and tol not negative, not {max_iter} and {tol}")
    if n == 0:
        raise ValueError("z has no rows: there is nothing to fit")
    checks.same_device(
        z=z, y=y, sample_weight=sample_weight, validation_weight=validation_weight, class_weight=class_weight
    )
    checks.once(y, (num_classes, ignore_index), lambda: checks.label_range(y, num_classes, ignore_index))
    if class_weight is not None:
        checks.shape("class_weight", class_weight, (num_classes,))
        checks.weights("class_weight", class_weight)

    decay = _per_head("weight_decay", weight_decay)
    rate = _per_head("learning_rate", (0.001 if solver == "adamw" else 0.1) if learning_rate is None else learning_rate)
    seeds = [int(seed)] if isinstance(seed, int) else [int(s) for s in seed]
    rows = {"sample_weight": sample_weight, "validation_weight": validation_weight}
    heads = _head_count(
        {"weight_decay": len(decay), "learning_rate": len(rate), "seed": len(seeds)}
        | {name: 1 if w.ndim == 1 else len(w) for name, w in rows.items() if w is not None}
        | ({} if start is None else {"start": len(start[0])})
    )
    weight, bias = _start(start, z, (heads, num_classes, d), compute)
    problem = HeadProblem(
        z=z.detach(),
        y=y,
        num_classes=num_classes,
        heads=heads,
        compute=compute,
        row_loss=RowLoss(class_weight, label_smoothing, ignore_index),
        sample_weight=_row_weights("sample_weight", sample_weight, n),
        validation_weight=_row_weights("validation_weight", validation_weight, n),
        weight_decay=decay.expand(heads),
        weight=weight,
        bias=bias,
        solver=solver,
        max_iter=max_iter,
        tol=tol,
        minibatch=None
        if solver == "lbfgs"
        else MinibatchOptions(
            rate.expand(heads),
            tuple(seeds * heads if len(seeds) == 1 else seeds),
            batch_size,
            momentum,
            betas,
            eps,
            schedule,
            patience,
        ),
        from_zero=start is None,
        on_epoch=on_epoch,
    )
    _check_minibatch(problem)
    native = choose(impl, z)
    with torch.no_grad():
        _refuse_empty_heads(problem)
        basis = None
        if n < d >= _WIDE and start is None and solver != "adamw":
            problem, basis = _onto_row_space(problem)
        if solver == "lbfgs" and z.device.type == "cpu":
            problem, turn = curvature.onto_axes(problem)
            basis = turn if basis is None else basis if turn is None else basis @ turn
        found = _native(problem) if native else _reference(problem)
        if basis is not None:
            found = dataclasses.replace(found, weight=found.weight @ basis.t())
    if not bool(torch.isfinite(found.loss).any()):
        refuse_non_finite(z)
    return found


def _onto_row_space(p: HeadProblem) -> tuple[HeadProblem, Tensor]:
    """The same problem in n features instead of d > n, and the basis (d, n) that takes the weights back.

    From a start at zero, L-BFGS and SGD never leave the span of the rows, and rotations change neither the objective
    nor the steps, so that the fit is the same one at n / d of the cost.
    """
    basis, triangle = torch.linalg.qr(p.z.to(p.compute).t())
    weight = p.weight.new_zeros(p.heads, p.num_classes, len(p.z))
    return dataclasses.replace(p, z=triangle.t().contiguous(), weight=weight), basis


def _native(p: HeadProblem) -> HeadsFit:
    if p.z.device.type == "cpu":
        return native_fit.fit(p)
    library = extension.load_cuda().library
    if library is None:
        raise RuntimeError("the CUDA library is not loaded")
    return cuda_fit.fit(p, library)


def _reference(p: HeadProblem) -> HeadsFit:
    objective = reference.Objective(p)
    if p.solver == "lbfgs":
        x, loss, converged, iterations = reference_lbfgs.minimise(
            p, objective, objective.mean_targets().expand(p.heads, -1)
        )
    else:
        x, loss, converged, iterations = reference_minibatch.minimise(p, objective)
    weight, bias = x[..., :-1].contiguous(), x[..., -1].contiguous()
    return HeadsFit(weight, bias, loss, converged, iterations, reference.held_out_loss(p, weight, bias))


def _refuse_empty_heads(p: HeadProblem) -> None:
    if p.sample_weight is None and p.row_loss.class_weight is None:
        checks.once(p.y, ("heads", p.row_loss.ignore_index), lambda: _refuse_heads_without_rows(p))
    else:
        _refuse_heads_without_rows(p)


def _refuse_heads_without_rows(p: HeadProblem) -> None:
    totals = torch.zeros((), dtype=p.compute, device=p.z.device)
    for at in range(0, len(p.y), _ROWS):  # in pieces: nothing as long as z is kept
        mass = p.row_loss.targets(p.y[at : at + _ROWS], p.num_classes, p.compute)[3]
        rows = None if p.sample_weight is None else p.sample_weight[:, at : at + _ROWS].to(p.compute)
        totals = totals + (mass.sum().reshape(1) if rows is None else rows @ mass)
    empty = torch.nonzero(totals <= 0).flatten().tolist()
    if empty:
        raise ValueError(f"no row has weight for heads {empty[:10]}: there is nothing to fit")


def refuse_non_finite(z: Tensor) -> None:
    """Raise NonFiniteError where z holds NaN or infinity."""
    wrong = torch.nonzero(~torch.isfinite(z).all(dim=1)).flatten()
    if len(wrong):
        raise NonFiniteError(
            "TL-NUM-NONFINITE",
            f"{len(wrong)} of {len(z)} feature rows hold NaN or infinity",
            where=f"row at position {int(wrong[0])}",
            fix="drop or repair these rows before the fit; torch.isfinite(z).all(dim=1) finds them",
        )


def _per_head(name: str, value: PerHead) -> Tensor:
    """(1,) or (K,) float64 on the CPU, finite and not negative."""
    t = torch.as_tensor(value, dtype=torch.float64).cpu().reshape(-1)
    if not len(t) or not bool((torch.isfinite(t) & (t >= 0)).all()):
        raise ValueError(f"{name} must be finite and not negative, one number or one a head")
    return t


def _head_count(lengths: dict[str, int]) -> int:
    heads = max(lengths.values())
    wrong = [f"{name} has {length}" for name, length in lengths.items() if length not in (1, heads)]
    if wrong:
        raise ValueError(f"{heads} heads, but {', '.join(wrong)}: give one value, or one a head")
    return heads


def _row_weights(name: str, w: Tensor | None, n: int) -> Tensor | None:
    if w is None:
        return None
    if w.dtype == torch.bool:
        w = w.float()
    checks.weights(name, w)
    if w.ndim not in (1, 2) or w.shape[-1] != n:
        raise ValueError(f"{name} must be (n,) or (K, n) with n = {n}, not {tuple(w.shape)}")
    return w.reshape(-1, n)


def _start(
    start: tuple[Tensor, Tensor] | None, z: Tensor, shape: tuple[int, int, int], dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    if start is None:
        return z.new_zeros(shape, dtype=dtype), z.new_zeros(shape[:2], dtype=dtype)
    weight, bias = (t.detach() for t in start)
    checks.same_device(z=z, weight=weight, bias=bias)
    checks.floating("start weight", weight, checks.COMPUTE)
    checks.floating("start bias", bias, checks.COMPUTE)
    checks.shape("start weight", weight, (len(weight), *shape[1:]))
    checks.shape("start bias", bias, (len(weight), shape[1]))
    return weight.to(dtype).expand(shape).clone(), bias.to(dtype).expand(shape[:2]).clone()


def _check_minibatch(p: HeadProblem) -> None:
    m = p.minibatch
    if m is None:
        return
    if m.batch_size < 1 or m.patience < 1:
        raise ValueError(f"batch_size and patience must be at least 1, not {m.batch_size} and {m.patience}")
    if not (0 <= m.momentum < 1 and all(0 <= b < 1 for b in m.betas) and m.eps > 0):
        raise ValueError("momentum and betas must be in [0, 1) and eps positive")
    if m.schedule not in ("constant", "cosine"):
        raise ValueError(f"schedule must be constant or cosine, not {m.schedule!r}")
