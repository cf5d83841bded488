"""fit_softmax_heads: against scikit-learn, torch.optim, and itself one head at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tlplat.errors import NonFiniteError
from tlplat.ops import fit_softmax_heads, softmax_head_loss, softmax_head_predict
from tlplat.ops.order import epoch_order


def _problem(n: int, d: int, c: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(n + d + c)
    z = torch.randn(n, d, generator=g, dtype=torch.float64)
    y = (z @ torch.randn(d, c, generator=g, dtype=torch.float64) / d**0.5 + torch.randn(n, c, generator=g)).argmax(1)
    return z.to(dtype), y


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("decay", [1e-3, 1e-1, 10.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_scikit_learn(classes: int, decay: float, dtype: torch.dtype) -> None:
    z, y = _problem(300, 20, classes, dtype)
    fit = fit_softmax_heads(z, y, classes, weight_decay=decay)
    factor = 2 if classes == 2 else 1
    peer = LogisticRegression(C=factor / (len(z) * decay), tol=1e-9, max_iter=10000).fit(z.double().numpy(), y.numpy())
    ours = softmax_head_predict(z, fit.weight[0], fit.bias[0])
    assert fit.converged.all()
    assert np.abs(ours.numpy() - peer.predict_proba(z.double().numpy())).max() < 1e-4


def test_folds_and_decays_in_one_call_equal_single_fits() -> None:
    z, y = _problem(64, 48, 3, torch.float64)
    fold = torch.arange(64) % 4
    decays = [1e-2, 1.0]
    masks = torch.stack([fold != f for f in range(4)]).repeat_interleave(2, 0)
    fit = fit_softmax_heads(z, y, 3, weight_decay=decays * 4, sample_weight=masks, validation_weight=~masks, tol=1e-9)
    assert fit.weight.shape == (8, 3, 48)
    assert fit.bias.shape == (8, 3)
    for k, mask in enumerate(masks):
        alone = fit_softmax_heads(z[mask], y[mask], 3, weight_decay=decays[k % 2], tol=1e-9)
        torch.testing.assert_close(fit.weight[k], alone.weight[0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(fit.loss[k], alone.loss[0])
        held = softmax_head_loss(z[~mask], y[~mask], fit.weight[k], fit.bias[k])
        torch.testing.assert_close(fit.validation_loss[k], held)


def test_options_reach_a_stationary_point_of_the_stated_objective() -> None:
    z, y = _problem(80, 10, 4, torch.float64)
    y[::9] = -100
    options = {"class_weight": torch.tensor([1.0, 2, 0.5, 1]).double(), "label_smoothing": 0.1}
    rows = torch.rand(80, generator=torch.Generator().manual_seed(0)).double()
    fit = fit_softmax_heads(z, y, 4, weight_decay=0.05, sample_weight=rows, tol=1e-8, **options)
    w, b = fit.weight[0].requires_grad_(), fit.bias[0].requires_grad_()
    loss = softmax_head_loss(z, y, w, b, sample_weight=rows, **options) + 0.5 * 0.05 * w.square().sum()
    torch.testing.assert_close(loss.detach(), fit.loss[0])
    assert all(g.norm() < 1e-7 for g in torch.autograd.grad(loss, (w, b)))


@pytest.mark.parametrize("solver", ["sgd", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_minibatch_steps_are_torch_optim(solver: str, schedule: str) -> None:
    z, y = _problem(50, 8, 3, torch.float64)
    rates, decays, epochs, size = [0.1, 0.01], [0.0, 0.1], 3, 16
    fit = fit_softmax_heads(
        z,
        y,
        3,
        solver=solver,
        learning_rate=rates,
        weight_decay=decays,
        max_iter=epochs,
        batch_size=size,
        schedule=schedule,
        seed=[5, 6],
    )
    for k in range(2):
        w, b = torch.zeros(3, 8).double().requires_grad_(), torch.zeros(3).double().requires_grad_()
        groups = [{"params": [w], "weight_decay": decays[k]}, {"params": [b], "weight_decay": 0.0}]
        make = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[solver]
        optimiser = make(groups, lr=rates[k], **({"momentum": 0.9} if solver == "sgd" else {}))
        steps = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * 4) if schedule == "cosine" else None
        for epoch in range(epochs):
            for rows in epoch_order(50, 5 + k, epoch).split(size):
                optimiser.zero_grad()
                softmax_head_loss(z[rows], y[rows], w, b).backward()
                optimiser.step()
                if steps is not None:
                    steps.step()
        torch.testing.assert_close(fit.weight[k], w.detach())
        torch.testing.assert_close(fit.bias[k], b.detach())


def test_early_stopping_keeps_the_best_epoch() -> None:
    z, y = _problem(60, 40, 2)
    held = torch.arange(60) % 3 == 0
    seen: list[int] = []
    fit = fit_softmax_heads(
        z,
        y,
        2,
        solver="sgd",
        learning_rate=[0.5, 1e-4],
        sample_weight=~held,
        validation_weight=held,
        max_iter=60,
        patience=4,
        batch_size=8,
        on_epoch=lambda epoch, losses: seen.append(len(losses)),
    )
    assert fit.iterations[0] < 60
    assert fit.iterations[1] == 60
    assert seen == [2] * 60
    best = fit_softmax_heads(
        z,
        y,
        2,
        solver="sgd",
        learning_rate=0.5,
        sample_weight=~held,
        validation_weight=held,
        batch_size=8,
        max_iter=int(fit.iterations[0]) - 4,
    )
    torch.testing.assert_close(fit.weight[0], best.weight[0])


def test_callback_stops() -> None:
    z, y = _problem(60, 10, 3)
    for solver in ("lbfgs", "sgd"):
        fit = fit_softmax_heads(z, y, 3, solver=solver, on_epoch=lambda i, _: i == 3)
        assert fit.iterations.tolist() == [3]


def test_a_callback_changes_nothing() -> None:
    z, y = _problem(200, 10, 3)
    held = torch.arange(200) % 4 == 0
    options = {"weight_decay": [0.01, 0.1], "sample_weight": ~held, "validation_weight": held}
    plain = fit_softmax_heads(z, y, 3, **options)
    watched = fit_softmax_heads(z, y, 3, on_epoch=lambda i, _: False, **options)
    assert plain.converged.all()
    assert watched.iterations.tolist() == plain.iterations.tolist()
    assert torch.equal(watched.weight, plain.weight)
    assert torch.equal(watched.validation_loss, plain.validation_loss)


def test_divergence_is_reported_and_spares_the_others() -> None:
    z, y = _problem(60, 10, 3)
    fit = fit_softmax_heads(z, y, 3, solver="sgd", learning_rate=[0.1, 1e30], weight_decay=0.1, max_iter=5)
    assert fit.converged.tolist() == [True, False]


def test_refusals() -> None:
    z, y = _problem(20, 5, 3)
    z[7, 1] = torch.inf
    with pytest.raises(NonFiniteError, match="position 7"):
        fit_softmax_heads(z, y, 3)
    z[7, 1] = 0
    with pytest.raises(IndexError, match="out of range"):
        fit_softmax_heads(z, y, 2)
    with pytest.raises(ValueError, match="no rows"):
        fit_softmax_heads(z[:0], y[:0], 3)
    with pytest.raises(ValueError, match=r"heads \[1\]"):
        fit_softmax_heads(z, y, 3, sample_weight=torch.tensor([[1.0], [0.0]]).expand(2, 20))
    with pytest.raises(ValueError, match="3 heads, but seed has 2"):
        fit_softmax_heads(z, y, 3, weight_decay=[1, 2, 3], seed=[1, 2])
    with pytest.raises(TypeError, match=r"dtype.*float32"):
        fit_softmax_heads(z.to(torch.int8), y, 3)


def test_one_class_is_fitted_at_once() -> None:
    z, _ = _problem(20, 5, 3)
    fit = fit_softmax_heads(z, torch.zeros(20, dtype=torch.int64), 1, weight_decay=0.1)
    assert fit.loss.tolist() == [0]
    assert fit.converged.all()


@pytest.mark.parametrize("n", [1, 2, 5, 64, 1000])
def test_order_is_a_permutation_that_seed_and_epoch_decide(n: int) -> None:
    orders = [epoch_order(n, seed, epoch) for seed in (0, 1, 2**40) for epoch in range(3)]
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(n))
    if n >= 64:
        assert len({tuple(o.tolist()) for o in orders}) == len(orders)


def test_order_is_uniform_enough() -> None:
    where = torch.stack([epoch_order(16, 3, epoch) for epoch in range(4000)])
    counts = torch.stack([torch.bincount(where[:, i], minlength=16) for i in range(16)]).double()
    chi2 = ((counts - 250) ** 2 / 250).sum()
    assert chi2 < 2 * 15 * 15


def test_wide_features_are_solved_in_the_span_of_the_rows() -> None:
    z, y = _problem(30, 200, 3, torch.float64)
    for solver in ("lbfgs", "sgd"):
        options = {"weight_decay": [0.01, 1.0], "solver": solver, "tol": 1e-9, "max_iter": 300}
        zeros = (torch.zeros(1, 3, 200).double(), torch.zeros(1, 3).double())
        reduced, full = (fit_softmax_heads(z, y, 3, start=start, **options) for start in (None, zeros))
        torch.testing.assert_close(reduced.weight, full.weight, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(reduced.loss, full.loss)
    z[3, 5] = torch.nan
    with pytest.raises(NonFiniteError, match="position 3"):
        fit_softmax_heads(z, y, 3)
