"""Survival: Cox and its metrics against loops in float64, and against lifelines and scikit-survival where installed."""

import itertools
import math

import numpy as np
import pytest
import torch

from tlplat.errors import DataError
from tlplat.tasks.base import Evidence
from tlplat.tasks.cox import RiskSets, _derivatives, cumulative_hazard, newton, partial_loss
from tlplat.tasks.durations import Concordance, IntegratedBrier, brier_rows, censoring, kaplan_meier
from tlplat.tasks.linear import dealt_folds
from tlplat.tasks.survival import Survival

TIES = ("efron", "breslow")


def cohort(n=80, d=3, seed=0, tied=True):
    """Exponential times that the features drive, censored at random; whole numbers where ``tied``."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    time = rng.exponential(np.exp(-x @ np.array([0.9, -0.5, 0.0, *([0.0] * (d - 3))])) * 20)
    stop = rng.exponential(35, size=n)
    event = time <= stop
    time = np.minimum(time, stop)
    time = np.ceil(time) if tied else time
    y = np.c_[time, event].astype(np.float64)
    return torch.from_numpy(x), torch.from_numpy(y)


def looped_loss(eta, time, event, ties):
    """The definition, event by event (Cox 1972; Efron 1977, eq. 3.4)."""
    total = 0.0
    for t in sorted(set(time[event])):
        at_risk, dead = time >= t, (time == t) & event
        tied, d = np.exp(eta[dead]).sum(), dead.sum()
        for step in range(d):
            share = step / d if ties == "efron" else 0.0
            total += math.log(np.exp(eta[at_risk]).sum() - share * tied)
        total -= eta[dead].sum()
    return total / event.sum()


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("tied", [True, False])
def test_partial_loss_and_its_gradient_equal_the_loop(ties, tied):
    x, y = cohort(tied=tied)
    eta = (x @ torch.tensor([0.5, -0.2, 0.1], dtype=x.dtype)).requires_grad_(True)
    time, event = y[:, 0].numpy(), y[:, 1].numpy() > 0
    loss = partial_loss(eta, y, ties)
    assert loss.item() == pytest.approx(looped_loss(eta.detach().numpy(), time, event, ties), rel=1e-12)
    loss.backward()
    for i in (0, 17, 79):
        moved = []
        for step in (1e-6, -1e-6):
            other = eta.detach().numpy().copy()
            other[i] += step
            moved.append(looped_loss(other, time, event, ties))
        assert float(eta.grad[i]) == pytest.approx((moved[0] - moved[1]) / 2e-6, abs=1e-8)


def test_the_loss_ignores_an_offset_survives_large_scores_and_is_zero_without_events():
    x, y = cohort()
    eta = x[:, 0].float()
    assert float(partial_loss(eta + 500, y)) == pytest.approx(float(partial_loss(eta, y)), rel=1e-4)
    assert math.isfinite(float(partial_loss(eta * 300, y)))
    none = torch.stack([y[:, 0], torch.zeros(len(y), dtype=y.dtype)], dim=1)
    eta.requires_grad_(True)
    loss = partial_loss(eta, none)
    loss.backward()
    assert loss.item() == 0
    assert not eta.grad.any()


@pytest.mark.parametrize("ties", TIES)
def test_derivatives_equal_those_of_autograd(ties):
    x, y = cohort()
    w = torch.tensor([0.4, -0.3, 0.2], dtype=x.dtype)
    gradient, hessian = _derivatives(x, w, RiskSets.of(y, ties))
    wanted = torch.autograd.functional.hessian(lambda v: partial_loss(x @ v, y, ties), w)
    torch.testing.assert_close(hessian, wanted)
    torch.testing.assert_close(gradient, torch.func.grad(lambda v: partial_loss(x @ v, y, ties))(w))


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_newton_equals_lifelines(decay):
    lifelines = pytest.importorskip("lifelines")
    import pandas as pd

    x, y = cohort(n=200)
    frame = pd.DataFrame(x.numpy(), columns=list("abc")).assign(time=y[:, 0].numpy(), event=y[:, 1].numpy())
    fitter = lifelines.CoxPHFitter(penalizer=decay * float(y[:, 1].sum()) / len(y), l1_ratio=0.0)
    fitter.fit(frame, "time", "event", fit_options={"precision": 1e-10})
    # lifelines penalises standardised columns, beside the mean over rows
    spread = x.std(dim=0, correction=1)
    w = newton((x - x.mean(dim=0)) / spread, y, decay) / spread
    np.testing.assert_allclose(w.numpy(), fitter.params_.to_numpy(), rtol=2e-4, atol=1e-6)


def test_baseline_hazard_equals_lifelines():
    lifelines = pytest.importorskip("lifelines")
    import pandas as pd

    x, y = cohort(n=150, tied=False)
    frame = pd.DataFrame(x.numpy(), columns=list("abc")).assign(time=y[:, 0].numpy(), event=y[:, 1].numpy())
    fitter = lifelines.CoxPHFitter().fit(frame, "time", "event", fit_options={"precision": 1e-10})
    times = y[y[:, 1] > 0, 0].sort().values[[10, 40, 70]]  # lifelines draws lines between event times
    scores = x @ torch.from_numpy(fitter.params_.to_numpy())
    hazard = cumulative_hazard(scores, y, times)
    ours = torch.exp(-hazard * torch.exp(scores[:5, None]))
    theirs = fitter.predict_survival_function(frame[:5], times=times.numpy()).to_numpy().T
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-3)


def test_nelson_aalen_is_counted():
    y = torch.tensor([[1.0, 1], [2, 0], [3, 1], [3, 1], [5, 0]], dtype=torch.float64)
    hazard = cumulative_hazard(torch.zeros(5), y, torch.tensor([0.5, 1, 2.9, 3, 9]))
    assert hazard.tolist() == pytest.approx([0, 1 / 5, 1 / 5, 1 / 5 + 2 / 3, 1 / 5 + 2 / 3])


def test_kaplan_meier_and_censoring_by_hand():
    time, event = np.array([1.0, 2, 2, 3, 4]), np.array([True, True, False, True, False])
    at = np.array([0.5, 1, 2, 3, 9])
    assert kaplan_meier(time, event, at).tolist() == pytest.approx([1, 4 / 5, 3 / 5, 3 / 10, 3 / 10])
    assert kaplan_meier(time, event, at, before=True).tolist() == pytest.approx([1, 1, 4 / 5, 3 / 5, 3 / 10])
    # at time 2 the event leaves first: 3 rows could have been censored
    assert censoring(time, event, at).tolist() == pytest.approx([1, 1, 2 / 3, 2 / 3, 0])


def looped_concordance(y, risk, heavy):
    won = total = 0.0
    for i, j in itertools.permutations(range(len(y)), 2):
        if y[i, 1] and (y[i, 0] < y[j, 0] or (y[i, 0] == y[j, 0] and not y[j, 1])):
            total += heavy[i]
            won += heavy[i] * (0.5 if risk[i] == risk[j] else float(risk[i] > risk[j]))
    return won / total


@pytest.mark.parametrize("uno", [False, True])
def test_concordance_equals_the_loop_also_with_weights(uno, monkeypatch):
    monkeypatch.setattr("tlplat.tasks.durations.PAIRS", 500)
    x, y = cohort(n=60)
    y, risk = y.numpy(), x[:, :1].numpy().round(1)
    share = censoring(y[:, 0], y[:, 1] > 0, y[:, 0], before=True)
    heavy = 1 / share**2 if uno else np.ones(60)
    metric = Concordance(uno=uno)
    assert metric(y, risk)[0] == pytest.approx(looped_concordance(y, risk[:, 0], heavy), rel=1e-12)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(60, np.full(60, 1 / 60), size=20).astype(np.float32)
    again = np.repeat(np.arange(60), weights[3].astype(int))
    # copies of one row are no pair: of equal times both have the event or neither
    wanted = looped_concordance(y[again], risk[again, 0], heavy[again])
    assert metric(y, risk, weights)[3] == pytest.approx(wanted, rel=1e-5)
    assert np.isnan(metric(np.c_[y[:, 0], np.zeros(60)], risk)[0])


@pytest.mark.parametrize("uno", [False, True])
def test_concordance_equals_scikit_survival(uno):
    sksurv = pytest.importorskip("sksurv.metrics")
    from sksurv.util import Surv

    x, y = cohort(n=120, tied=False)
    made = Surv.from_arrays(y[:, 1].numpy() > 0, y[:, 0].numpy())
    risk = x[:, 0].numpy()
    if uno:
        wanted = sksurv.concordance_index_ipcw(made, made, risk)[0]
    else:
        wanted = sksurv.concordance_index_censored(made["event"], made["time"], risk)[0]
    assert Concordance(uno=uno)(y.numpy(), risk[:, None])[0] == pytest.approx(wanted, rel=1e-9)


def test_integrated_brier_equals_scikit_survival():
    sksurv = pytest.importorskip("sksurv.metrics")
    from sksurv.util import Surv

    x, y = cohort(n=120, tied=False)
    made = Surv.from_arrays(y[:, 1].numpy() > 0, y[:, 0].numpy())
    times = np.quantile(y[:, 0].numpy(), np.linspace(0.1, 0.8, 12))
    survival = np.exp(-np.exp(x[:, :1].numpy()) * times / 40)
    wanted = sksurv.integrated_brier_score(made, made, survival, times)
    metric = IntegratedBrier(tuple(times))
    predictions = np.c_[x[:, 0].numpy(), survival]
    assert metric(y.numpy(), predictions)[0] == pytest.approx(wanted, rel=1e-9)
    weights = np.random.default_rng(0).multinomial(120, np.full(120, 1 / 120), size=50).astype(np.float32)
    rows = np.trapezoid(brier_rows(y.numpy(), survival, times), times, axis=1) / (times[-1] - times[0])
    np.testing.assert_allclose(metric(y.numpy(), predictions, weights), weights @ rows / 120, rtol=1e-5)


def test_trivial_is_kaplan_meier_and_scores_chance():
    _, y = cohort()
    task = Survival.over(y)
    row = task.trivial(y)
    assert row.shape == task.prediction_shape
    predictions = np.repeat(row[None], len(y), axis=0)
    assert Concordance()(y.numpy(), predictions)[0] == 0.5
    assert 0.1 < IntegratedBrier(task.times)(y.numpy(), predictions)[0] < 0.25


@pytest.mark.parametrize("method", ["cox", "discrete"])
@pytest.mark.parametrize("d", [3, 150])
def test_fit_head_finds_the_risk(method, d):
    z, y = cohort(n=120, d=d)
    task = Survival.over(y, points=6, method=method).settled(y)
    fit = task.fit_head(z.float() * 4 + 1, y, {"weight_decays": [0.01, 0.1, 1.0]})
    outputs = (z.float() * 4 + 1) @ fit.weight.T + fit.bias
    assert outputs.shape == (120, task.info().outputs)
    assert math.isfinite(fit.validation_loss)
    done = task.concluded(outputs, y)
    predictions = done.decode(outputs)
    assert Concordance()(y.numpy(), predictions)[0] > 0.65
    assert (np.diff(predictions[:, 1:], axis=1) <= 1e-12).all()
    kept = IntegratedBrier(task.times)
    assert kept(y.numpy(), predictions)[0] < kept(y.numpy(), np.repeat(task.trivial(y)[None], 120, axis=0))[0]


def test_wide_features_are_solved_as_in_all_their_columns():
    z, y = cohort(n=40, d=60)
    x = (z - z.mean(dim=0)) / z.std(dim=0, correction=0)
    fit = Survival.over(y).fit_head(z, y, {"weight_decays": [0.1]})
    whole = newton(x, y, 0.1)
    torch.testing.assert_close(
        (z @ fit.weight[0].double()), z @ (whole / z.std(dim=0, correction=0)), atol=1e-4, rtol=0
    )


def test_held_out_loss_is_that_of_all_minus_that_of_training():
    z, y = cohort(n=60)
    task = Survival.over(y)
    fit = task.fit_head(z, y, {"weight_decays": [0.1, 1.0]})
    x = (z - z.mean(dim=0)) / z.std(dim=0, correction=0)
    fold = dealt_folds(task.strata(y))
    totals = {}
    for decay in (0.1, 1.0):
        total = 0.0
        for f in range(5):
            w = newton(x[fold != f], y[fold != f], decay)
            part = fold != f
            total += looped_sum(x @ w, y) - looped_sum(x[part] @ w, y[part])
        totals[decay] = total / float(y[:, 1].sum())
    assert fit.validation_loss == pytest.approx(min(totals.values()), rel=1e-6)
    assert fit.chosen["weight_decay"] == min(totals, key=totals.get)


def looped_sum(eta, y):
    time, event = y[:, 0].numpy(), y[:, 1].numpy() > 0
    return looped_loss(eta.numpy(), time, event, "efron") * event.sum()


def test_discrete_loss_is_the_likelihood_of_hazards():
    task = Survival(times=[1.0, 2.0, 4.0], method="discrete")
    y = torch.tensor([[0.5, 1], [2.0, 1], [3.0, 0], [9.0, 1], [4.0, 0]], dtype=torch.float64)
    z = torch.randn(5, 3, dtype=torch.float64)
    h = 1 / (1 + np.exp(-z.numpy()))
    keep = 1 - h
    wanted = [
        h[0, 0],
        keep[1, 0] * h[1, 1],
        keep[2, 0] * keep[2, 1],
        keep[3].prod(),
        keep[4].prod(),
    ]
    assert float(task.loss(z, y)) == pytest.approx(-np.mean(np.log(wanted)))
    np.testing.assert_allclose(task.decode(z)[:, 1:], np.cumprod(keep, axis=1))
    assert task.loss_unit == "row"
    assert "row_loss" in task.info().offers
    assert Survival(times=[1.0]).loss_unit == "set"
    assert "row_loss" not in Survival(times=[1.0]).info().offers


def test_heads_strata_residuals_and_rebuild():
    _, y = cohort()
    task = Survival.over(y).settled(y)
    assert Survival(**task.info().options).info() == task.info()
    assert task.takes_head(Survival(times=[1.0]).info())
    assert not task.takes_head(Survival(times=[1.0], method="discrete").info())
    discrete = Survival(times=[1.0, 2.0], method="discrete")
    assert not discrete.takes_head(Survival(times=[1.0], method="discrete").info())
    assert float(task.regressands(y).sum()) == pytest.approx(0, abs=1e-9)
    assert set(task.strata(y).tolist()) == {0, 1}
    assert set(task.strata(torch.tensor([[1.0, 1], [2, 0], [3, 0]])).tolist()) == {0}
    assert task.facts(y)["events"] == int(y[:, 1].sum())
    assert Survival(times=[1.0], metric="integrated_brier").metrics[0].name == "integrated_brier"
    for wrong in ({"times": [2.0, 1.0]}, {"times": []}, {"times": [1.0], "method": "weibull"}):
        with pytest.raises(ValueError, match="Survival"):
            Survival(**wrong)


def test_bad_targets_are_refused():
    task = Survival(times=[1.0])
    with pytest.raises(DataError, match="TL-DATA-TARGET") as error:
        task.check(torch.tensor([[1.0, 1], [0.0, 1], [2.0, 3]]), ["a", "b", "c"])
    assert len(error.value.findings) == 2
    with pytest.raises(DataError, match="TL-DATA-EVENTS"):
        task.check_labelled(torch.tensor([[1.0, 1], [2.0, 0]]))


def test_predictions_and_detail():
    x, y = cohort(n=90)
    task = Survival.over(y).settled(y)
    predictions = task.decode(x[:, :1])
    row = task.prediction_rows(predictions, None)[0]
    assert list(row) == ["prediction", "median", "survival"]
    assert len(row["survival"]) == len(task.times)
    evidence = Evidence(y.numpy(), predictions, y.numpy(), predictions, 90, 11)
    detail = task.detail(evidence)
    low, _, high = (s["points"][-1][1] for s in detail["charts"][0]["series"])
    assert low > high
    assert [r[1] for r in detail["tables"][0]["rows"]] == [30, 30, 30]
    assert task.detail(Evidence(y.numpy(), predictions, y.numpy(), predictions, 90, 31)) == {}
    flat = np.repeat(task.trivial(y)[None], 90, axis=0)
    assert task.detail(Evidence(y.numpy(), flat, y.numpy(), flat, 90)) == {}
