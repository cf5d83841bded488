"""Forecasting: quantile regression against scikit-learn, CRPS against its integral, coverage, baselines."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import QuantileRegressor
from sklearn.metrics import mean_pinball_loss

from tlplat.data.examples import Examples, TensorInputs
from tlplat.errors import DataError
from tlplat.tasks.base import Evidence
from tlplat.tasks.forecasting import CoverageError, Forecasting, LastValue, Pinball
from tlplat.tasks.regression import Regression

LEVELS = (0.1, 0.5, 0.9)


def series(n=300, steps=2, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    base = 20 + 3 * x[:, :1] + (0.5 + np.abs(x[:, 1:2])) * rng.normal(size=(n, steps))
    return torch.from_numpy(x), torch.from_numpy(base)


def test_fit_head_reaches_the_quantile_regression_of_scikit_learn():
    z, y = series(steps=1)
    task = Forecasting(quantiles=LEVELS).settled(y)
    fit = task.fit_head(z, y, {"weight_decays": [1e-6]})
    p = task.decode(z.float() @ fit.weight.T + fit.bias)[:, 0]
    for i, q in enumerate(LEVELS):
        best = QuantileRegressor(quantile=q, alpha=0.0).fit(z.numpy(), y[:, 0].numpy()).predict(z.numpy())
        ours, theirs = (mean_pinball_loss(y[:, 0].numpy(), v, alpha=q) for v in (p[:, i], best))
        assert ours <= theirs * 1.01


def test_loss_and_metric_are_pinball():
    _, y = series()
    task = Forecasting(2, LEVELS).settled(y)
    outputs = torch.randn(300, 6)
    wide = float(y.std(correction=0))
    raw = outputs.view(300, 2, 3).double() * wide + y.mean()
    wanted = np.mean([mean_pinball_loss(y[:, s], raw[:, s, i], alpha=q) for s in (0, 1) for i, q in enumerate(LEVELS)])
    assert float(task.loss(outputs, y)) * wide == pytest.approx(wanted, rel=1e-4)
    ordered = task.decode(outputs)
    assert (np.diff(ordered, axis=2) >= 0).all()
    by_metric = Pinball(LEVELS)(y.numpy(), raw.numpy())[0]
    assert by_metric == pytest.approx(wanted, rel=1e-6)
    assert Pinball(LEVELS)(y.numpy(), ordered)[0] <= by_metric + 1e-9


def test_crps_of_many_quantiles_is_the_integral():
    from scipy.stats import norm

    levels = tuple((np.arange(999) + 0.5) / 999)
    levels = tuple(sorted({*levels, 0.5}))
    targets = np.array([[0.3], [-1.2]])
    predictions = np.tile(norm.ppf(levels), (2, 1, 1))
    z = targets[:, 0]
    wanted = z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi)
    np.testing.assert_allclose(Pinball(levels, "crps", crps=True).rows(targets, predictions), wanted, atol=2e-3)


def test_coverage_error_and_weights():
    _, y = series()
    p = np.tile(np.quantile(y.numpy(), LEVELS), (300, 2, 1))
    assert CoverageError(LEVELS)(y.numpy(), p)[0] < 0.02
    weights = np.random.default_rng(0).multinomial(300, np.full(300, 1 / 300), size=5).astype(np.float32)
    again = np.repeat(np.arange(300), weights[2].astype(int))
    for metric in Forecasting(2, LEVELS).metrics:
        assert metric(y.numpy(), p, weights)[2] == pytest.approx(metric(y.numpy()[again], p[again])[0], rel=1e-5)


def test_trivial_is_climatology_and_last_value_follows_the_row():
    z, y = series()
    task = Forecasting(2, LEVELS)
    assert task.trivial(y).shape == (2, 3)
    assert task.trivial(y)[1, 1] == pytest.approx(np.median(y[:, 1]))
    rows = Examples(TensorInputs(z), y, [str(i) for i in range(300)])
    baseline = LastValue(lambda inputs: 20 + 3 * inputs.tensor[:, 0].numpy())
    p = baseline.fit_predict(rows, [TensorInputs(z[:50])], task, 0)[0]
    assert p.shape == (50, 2, 3)
    metric = task.metrics[0]
    assert metric(y[:50].numpy(), p)[0] < metric(y[:50].numpy(), np.tile(task.trivial(y), (50, 1, 1)))[0]
    with pytest.raises(TypeError, match="regression"):
        baseline.fit_predict(rows, [], Regression(), 0)


def test_heads_predictions_detail_and_refusals():
    _, y = series()
    task = Forecasting(2, LEVELS, "volatility").settled(y)
    again = Forecasting(**task.info().options)
    assert again.info() == task.info()
    assert task.takes_head(again.info())
    assert not task.takes_head(Forecasting(1, LEVELS, "volatility").info())
    weight, bias, z = torch.randn(6, 4), torch.randn(6), torch.randn(9, 4)
    other = Forecasting(2, LEVELS, "volatility", scale=(3.0, 0.2))
    moved = task.adopt_head(weight, bias, other.info())
    np.testing.assert_allclose(task.decode(z @ moved[0].T + moved[1]), other.decode(z @ weight.T + bias), atol=1e-4)
    p = np.tile(task.trivial(y), (300, 1, 1))
    row = task.prediction_rows(p, None)[0]
    assert list(row["quantiles"]) == ["0.1@1", "0.5@1", "0.9@1", "0.1@2", "0.5@2", "0.9@2"]
    detail = task.detail(Evidence(y.numpy(), p, y.numpy(), p, 300, 1))
    assert detail["charts"][0]["series"][0]["points"][1] == [0.5, pytest.approx(0.5, abs=0.02)]
    assert [r[0] for r in detail["tables"][0]["rows"]] == ["step 1", "step 2"]
    with pytest.raises(DataError, match="TL-DATA-TARGET"):
        task.check(torch.tensor([[1.0, float("inf")]]), ["a"])
    with pytest.raises(ValueError, match="quantiles"):
        Forecasting(quantiles=[0.9, 0.1])
