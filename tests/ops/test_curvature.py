"""The curvature that L-BFGS starts from, and heads that start where others ended."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from tlplat.ops import curvature, fit_softmax_heads
from tlplat.ops.problem import HeadProblem, HeadsFit, Moments, RowLoss

DECAYS = [10.0**e for e in (-3, -2.5, -2, -1.5, -1, -0.5, 0, 1)]


def _correlated(n: int, d: int, c: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(n + d + c)
    axes = torch.linalg.qr(torch.randn(d, d, generator=g))[0]
    z = (torch.randn(n, d, generator=g) * torch.arange(1, d + 1) ** -0.7) @ axes * 4 + torch.randn(d, generator=g)
    return z, ((z - z.mean(0)) @ torch.randn(d, c, generator=g) + torch.randn(n, c, generator=g)).argmax(1)


def _problem(z: Tensor, y: Tensor, c: int, moments: Moments | None = None) -> HeadProblem:
    zeros = z.new_zeros(1, c, z.shape[1])
    decay = torch.tensor([0.1], dtype=torch.float64)
    return HeadProblem(
        z, y, c, 1, z.dtype, RowLoss(), None, None, decay, zeros, zeros[..., 0], "lbfgs", 500, 1e-5, moments=moments
    )  # fmt: skip


@pytest.mark.parametrize("turned", [False, True])
def test_solve_inverts_the_curvature_of_rows_that_are_alike(turned: bool) -> None:
    """Against the Hessian that autograd finds where all rows have the same probabilities."""
    z, y = _correlated(50, 4, 3)
    z, decay = z.double(), 0.1
    if not turned:  # features whose moments have no other axes than the features
        z = torch.linalg.qr(z - z.mean(0))[0] * torch.tensor([30.0, 20, 10, 5]) + 1
    centre = z.mean(0)
    moments = (z - centre).t() @ (z - centre) / len(z)
    spectrum, basis = torch.linalg.eigh(moments)
    found = Moments(centre @ basis, spectrum, basis.t().contiguous()) if turned else Moments(centre, moments.diagonal())
    start = curvature.Curvature(_problem(z, y, 3, found))
    bias = torch.tensor([0.3, -1, 0.2], dtype=torch.float64)
    q = bias.softmax(0)[None]

    def loss(at: Tensor) -> Tensor:
        p = start.leave(at.view(1, 3, 5))[0]
        logits = z @ p[:, :-1].t() + p[:, -1]
        return torch.nn.functional.cross_entropy(logits, y) + 0.5 * decay * p[:, :-1].square().sum()

    at = start.enter(torch.cat([torch.zeros(3, 4), bias[:, None]], dim=1)[None].double())
    hessian = torch.autograd.functional.hessian(loss, at.flatten())
    v = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(1)).double()
    v = v - v.mean(dim=1, keepdim=True)
    one, decays = torch.ones(1).double(), torch.full((1,), decay).double()
    solved = start.solve((hessian @ v.flatten()).view(1, 3, 5), q, one, decays)
    torch.testing.assert_close(solved, v, rtol=1e-6, atol=1e-8)
    known = start.quadratic(v, q) + decay * v[..., :-1].square().sum()
    torch.testing.assert_close(known, (v.flatten() @ hessian @ v.flatten())[None])
    torch.testing.assert_close(start.leave(start.enter(v)), v)


@pytest.mark.parametrize("n", [900, 1100])  # z turned, and points turned
def test_axes_of_correlated_features_save_most_iterations(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    z, y = _correlated(n, 64, 5)
    options: dict[str, Any] = {"weight_decay": DECAYS * 6, "tol": 1e-4}
    found = fit_softmax_heads(z, y, 5, **options)
    seen: list[HeadProblem] = []
    onto_axes = curvature.onto_axes

    def watched(p: HeadProblem) -> tuple[HeadProblem, Tensor | None]:
        seen.append(onto_axes(p)[0])
        return onto_axes(p)

    monkeypatch.setattr(curvature, "onto_axes", watched)
    again = fit_softmax_heads(z, y, 5, **options)
    assert torch.equal(found.weight, again.weight)
    assert seen[0].moments is not None
    assert (seen[0].moments.axes is None) == (n == 900)
    monkeypatch.setattr(curvature, "onto_axes", lambda p: (p, None))
    plain = fit_softmax_heads(z, y, 5, **options)
    assert found.converged.all()
    torch.testing.assert_close(found.loss, plain.loss, rtol=1e-5, atol=1e-5)
    assert 2 * int(found.iterations.sum()) < int(plain.iterations.sum())


def test_columns_of_any_scale_and_place_converge() -> None:
    z, y = _correlated(300, 12, 3)
    wild = z * torch.logspace(-3, 3, 12) + torch.linspace(-30, 30, 12) * torch.logspace(-3, 3, 12)
    wild[:, 3] = 7.0
    found = fit_softmax_heads(wild.double(), y, 3, weight_decay=[1e-2, 1e-9])
    assert found.converged.all()
    assert int(found.iterations.max()) < 150


def test_a_class_that_some_folds_lack_does_not_hold_them_up() -> None:
    z, y = _correlated(400, 10, 6)
    y[y == 5] = 4
    y[:2] = 5
    folds = torch.stack([torch.ones(400), (torch.arange(400) >= 2).float()])
    found = fit_softmax_heads(z, y, 6, weight_decay=10.0, sample_weight=folds, tol=1e-4)
    assert found.converged.all()
    assert int(found.iterations.max()) < 60


def test_one_call_takes_fewer_iterations_than_a_call_a_head(implementation: str) -> None:
    if implementation != "native":
        pytest.skip("the reference walks with every head alone")
    z, y = _correlated(200, 30, 4)
    folds = torch.stack([torch.arange(200) % 5 != f for f in range(10)])
    folds[5:] = folds[:5].roll(1, dims=1)
    rows = folds.repeat_interleave(8, dim=0)
    found = fit_softmax_heads(z, y, 4, weight_decay=DECAYS * 10, sample_weight=rows, validation_weight=~rows)
    alone = [fit_softmax_heads(z[m], y[m], 4, weight_decay=decay) for m in folds for decay in DECAYS]
    assert found.converged.all()
    torch.testing.assert_close(found.loss, torch.cat([one.loss for one in alone]), rtol=1e-4, atol=1e-6)
    assert int(found.iterations.sum()) < 0.75 * sum(int(one.iterations.sum()) for one in alone)


def _folds(n: int, shuffles: int) -> Tensor:
    """(5 * shuffles, n): the rows that each fold trains on."""
    orders = [torch.randperm(n, generator=torch.Generator().manual_seed(s)) for s in range(shuffles)]
    return torch.stack([order % 5 != f for order in orders for f in range(5)])


def test_folds_follow_those_before_them(implementation: str) -> None:
    if implementation != "native":
        pytest.skip("the reference walks with every head alone")
    z, y = _correlated(600, 40, 6)
    z, folds = z.double(), _folds(600, 2)

    def fit(folds: Tensor, tol: float) -> HeadsFit:
        return fit_softmax_heads(
            z, y, 6, weight_decay=DECAYS * 10, sample_weight=folds.repeat_interleave(8, dim=0), tol=tol
        )

    found, flipped = fit(folds, 1e-8), fit(folds.flip(0), 1e-8)
    alone = [fit_softmax_heads(z, y, 6, weight_decay=DECAYS, sample_weight=m, tol=1e-8) for m in folds]
    assert found.converged.all()
    torch.testing.assert_close(found.weight, torch.cat([one.weight for one in alone]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(flipped.loss.view(10, 8).flip(0).flatten(), found.loss)
    # At a bound that sweeps take, the folds at the ends when they go first and when they follow.
    its, back = (fit(f, 1e-3).iterations.view(10, 8).sum(dim=1) for f in (folds, folds.flip(0)))
    first, later = its[:2].sum() + back[:2].sum(), its[-2:].sum() + back[-2:].sum()
    assert int(later) < 0.9 * int(first)


def test_rows_that_folds_do_not_share_hold_nobody_up() -> None:
    z, y = _correlated(400, 30, 4)
    folds = torch.stack([torch.arange(400) % 10 == f for f in range(10)])
    y = (y + torch.arange(400) % 10) % 4  # and what one tells of another is wrong
    options: dict[str, Any] = {"weight_decay": DECAYS * 10, "sample_weight": folds.repeat_interleave(8, dim=0)}
    found = fit_softmax_heads(z, y, 4, tol=1e-4, **options)
    alone = [fit_softmax_heads(z[m], y[m], 4, weight_decay=DECAYS, tol=1e-4) for m in folds]
    assert found.converged.all()
    torch.testing.assert_close(found.loss, torch.cat([one.loss for one in alone]), rtol=1e-4, atol=1e-5)
    assert int(found.iterations.sum()) < 1.1 * sum(int(one.iterations.sum()) for one in alone)


def test_a_fold_whose_turn_has_not_come_is_at_its_start(implementation: str) -> None:
    if implementation != "native":
        pytest.skip("the reference begins with all heads")
    z, y = _correlated(200, 30, 4)
    options: dict[str, Any] = {"weight_decay": DECAYS * 10, "sample_weight": _folds(200, 2).repeat_interleave(8, dim=0)}
    found = fit_softmax_heads(z, y, 4, on_epoch=lambda i, _: i >= 3, **options)
    assert torch.isfinite(found.loss[:16]).all()
    assert torch.isnan(found.loss[16:]).all()
    assert not found.weight[16:].any()
    assert not found.converged.any()
    short = fit_softmax_heads(z, y, 4, max_iter=2, **options)
    assert int(short.iterations.max()) == 2
    assert torch.isfinite(short.loss).all()


def test_a_fit_that_is_stopped_leaves_every_head_where_its_path_is(implementation: str) -> None:
    z, y = _correlated(200, 30, 4)
    seen: list[Tensor] = []

    def stop(i: int, losses: Tensor) -> bool:
        seen.append(losses)
        return i >= 4

    found = fit_softmax_heads(z, y, 4, weight_decay=DECAYS, on_epoch=stop)
    assert torch.isfinite(seen[-1]).all()
    loss = torch.nn.functional.cross_entropy
    for k, decay in enumerate(DECAYS):
        value = loss(z @ found.weight[k].t() + found.bias[k], y) + 0.5 * decay * found.weight[k].square().sum()
        torch.testing.assert_close(found.loss[k], value, rtol=1e-4, atol=1e-5)


def test_a_start_of_its_own_keeps_a_head_alone() -> None:
    z, y = _correlated(900, 64, 5)
    cold = fit_softmax_heads(z, y, 5, weight_decay=DECAYS * 6, tol=1e-4)
    warm = fit_softmax_heads(z, y, 5, weight_decay=DECAYS * 6, tol=1.01e-4, start=(cold.weight, cold.bias))
    assert int(warm.iterations.max()) <= 1
    torch.testing.assert_close(warm.loss, cold.loss, rtol=1e-5, atol=1e-6)


def test_weights_tell_the_moments() -> None:
    z, y = _correlated(60, 5, 3)
    weight = torch.arange(60) % 3
    several = _problem(z.repeat_interleave(weight, 0), y.repeat_interleave(weight), 3)
    weighted = dataclasses.replace(_problem(z, y, 3), sample_weight=weight.float()[None])
    for a, b in zip(*(dataclasses.astuple(curvature.column_moments(p))[:2] for p in (several, weighted)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
