"""Regression: ridge against scikit-learn, metrics against SciPy and scikit-learn, heads of another scale."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from tlplat.errors import DataError
from tlplat.tasks.base import Evidence
from tlplat.tasks.linear import dealt_folds, ranked_strata, solve_head
from tlplat.tasks.numbers import MAE, R2, Rmse, Spearman, conformal_radius
from tlplat.tasks.regression import Regression


def line(n=120, d=8, seed=0, noise=0.5, shift=300.0, wide=40.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * 3 + 1
    y = shift + wide * (x @ rng.normal(size=d) / 3 + noise * rng.normal(size=n))
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y)


@pytest.mark.parametrize("d", [8, 200])
def test_fit_head_is_ridge_on_standardised_features(d):
    z, y = line(d=d)
    task = Regression().settled(y)
    fit = task.fit_head(z, y, {"weight_decays": [0.3]})
    x = z.double().numpy()
    x = (x - x.mean(0)) / x.std(0)
    wanted = Ridge(alpha=0.3 * len(y)).fit(x, y.numpy()).predict(x)
    np.testing.assert_allclose(task.decode(z @ fit.weight.T + fit.bias), wanted, rtol=2e-5, atol=1e-2)


def test_the_penalty_is_chosen_by_held_out_error():
    z, y = line(n=60, d=50, noise=2.0)
    task = Regression().settled(y)
    fit = task.fit_head(z, y, {})
    x = z.double().numpy()
    x = (x - x.mean(0)) / x.std(0)
    t = (y.numpy() - y.numpy().mean()) / y.numpy().std()
    fold = dealt_folds(ranked_strata(y)).numpy()
    losses = {}
    for decay in (1e-3, 1e-2, 1e-1, 1.0, 10.0):
        total = 0.0
        for f in range(5):
            inside = fold != f
            model = Ridge(alpha=decay * inside.sum()).fit(x[inside], t[inside])
            total += ((model.predict(x[~inside]) - t[~inside]) ** 2).sum() / 2
        losses[decay] = total / len(t)
    assert fit.chosen["weight_decay"] == min(losses, key=losses.get)
    assert fit.validation_loss == pytest.approx(min(losses.values()), rel=1e-6)


def test_l_bfgs_reaches_the_closed_form():
    z, y = line()
    task = Regression().settled(y)
    closed = task.fit_head(z, y, {"weight_decays": [0.1]})
    stepped = solve_head(task.loss, z, y, 1, {"weight_decays": [0.1]}, task.strata(y))
    torch.testing.assert_close(stepped.weight, closed.weight, rtol=1e-3, atol=1e-5)


def test_metrics_equal_their_definitions_and_weights_equal_repeated_rows():
    rng = np.random.default_rng(3)
    t = rng.normal(size=50).round(1)
    p = (t + rng.normal(size=50)).round(1)
    assert Rmse()(t, p)[0] == pytest.approx(root_mean_squared_error(t, p))
    assert MAE(t, p)[0] == pytest.approx(mean_absolute_error(t, p))
    assert R2()(t, p)[0] == pytest.approx(r2_score(t, p))
    assert Spearman()(t, p)[0] == pytest.approx(stats.spearmanr(t, p).statistic)
    weights = rng.multinomial(50, np.full(50, 1 / 50), size=300).astype(np.float32)
    for metric in (Rmse(), MAE, R2(), Spearman()):
        drawn = metric(t, p, weights)
        assert drawn.shape == (300,)
        for b in (0, 299):
            again = np.repeat(np.arange(50), weights[b].astype(int))
            assert drawn[b] == pytest.approx(metric(t[again], p[again])[0], rel=1e-5)


def test_metrics_are_undefined_where_nothing_varies():
    same, p = np.full(9, 1e6), np.arange(9.0)
    assert np.isnan(R2()(same, p)[0])
    assert np.isnan(Spearman()(same, p)[0])


def test_loss_is_in_deviations_of_the_training_rows():
    _, y = line()
    task = Regression().settled(y)
    outputs = torch.randn(len(y), 1)
    wanted = 0.5 * np.mean((outputs[:, 0].numpy() - (y.numpy() - y.numpy().mean()) / y.numpy().std()) ** 2)
    assert float(task.loss(outputs, y)) == pytest.approx(wanted, rel=1e-5)
    np.testing.assert_allclose(task.decode(outputs), outputs[:, 0].numpy() * y.numpy().std() + y.numpy().mean())
    huber = Regression(loss="huber").settled(y)
    assert float(huber.loss(outputs, y)) < float(task.loss(outputs, y))


def test_a_head_of_another_scale_predicts_the_same_numbers():
    _, theirs = line(shift=10.0, wide=2.0)
    _, ours = line(seed=1)
    source, target = Regression("price", "EUR").settled(theirs), Regression("price", "EUR").settled(ours)
    weight, bias, z = torch.randn(1, 8), torch.randn(1), torch.randn(30, 8)
    wanted = source.decode(z @ weight.T + bias)
    assert target.takes_head(source.info())
    adopted = target.adopt_head(weight, bias, source.info())
    np.testing.assert_allclose(target.decode(z @ adopted[0].T + adopted[1]), wanted, rtol=1e-5, atol=1e-3)
    assert not target.takes_head(Regression("price", "USD").info())
    assert not target.takes_head(Regression("age", "EUR").info())


def test_intervals_hold_what_they_say():
    rng = np.random.default_rng(0)
    held, new = rng.normal(size=400), rng.normal(size=20_000)
    radius = conformal_radius(held, 0.9, 400)
    assert np.mean(np.abs(new) <= radius) == pytest.approx(0.9, abs=0.03)
    assert conformal_radius(held[:5], 0.9, 5) is None
    assert conformal_radius(held[:9], 0.9, 9) == np.abs(held[:9]).max()


def evidence(least=1, n=400):
    rng = np.random.default_rng(1)
    t = rng.normal(size=n) * 5 + 50
    p = t + rng.normal(size=n)
    return Evidence(t, p, t[:100], p[:100] + 0.1, 100, least)


def test_predictions_and_detail():
    task = Regression("age", "years")
    found = task.calibration(evidence())
    assert found["coverage"] == pytest.approx(0.9, abs=0.06)
    row = task.prediction_rows(np.array([3.0]), found)[0]
    assert row["high"] - row["low"] == pytest.approx(2 * found["radius"])
    assert task.prediction_rows(np.array([3.0]), None) == [{"prediction": 3.0}]
    detail = task.detail(evidence())
    assert detail["charts"][0]["kind"] == "scatter"
    assert len(detail["charts"][0]["series"][0]["points"]) == 400
    assert "age (years)" in detail["charts"][0]["x"]
    assert detail["tables"][0]["rows"][0][1] == 400


def test_no_single_row_is_shown_where_counts_are_suppressed():
    detail = Regression().detail(evidence(least=11))
    values = set(evidence().targets.round(9).tolist())
    for chart in detail["charts"]:
        assert chart["kind"] == "lines"
        assert len(chart["series"][0]["points"]) == 10
        assert not {round(y, 9) for _, y in chart["series"][0]["points"]} & values


def test_bad_targets_are_refused():
    _, y = line(n=12)
    with pytest.raises(DataError, match="TL-DATA-TARGET"):
        Regression().check(torch.cat([y, torch.tensor([float("nan")], dtype=y.dtype)]), [str(i) for i in range(13)])
    with pytest.raises(DataError, match="TL-DATA-CONSTANT"):
        Regression().check_labelled(torch.ones(10))
    with pytest.raises(DataError, match="at least 4"):
        Regression().check_labelled(torch.arange(3.0))


def test_rebuild_from_info_and_facts():
    _, y = line()
    task = Regression("age", loss="huber", metric="mae").settled(y)
    again = Regression(**task.info().options)
    assert again.info() == task.info()
    assert again.metrics[0].name == "mae"
    assert task.facts(y)["target"]["mean"] == pytest.approx(float(y.mean()))
    assert float(Regression().trivial(y)) == pytest.approx(float(y.mean()))
