import numpy as np
import pytest

from tlplat.calibration import Calibration, apply_temperature, fit_temperature
from tlplat.metrics import log_loss_rows


def sharpened(rng, n=4000, classes=3, by=2.5):
    """Targets drawn from honest probabilities, and the same probabilities with logits times ``by``."""
    z = rng.normal(size=(n, classes)) * 1.5
    honest = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    targets = np.array([rng.choice(classes, p=p) for p in honest])
    sure = np.exp(by * z) / np.exp(by * z).sum(axis=1, keepdims=True)
    return targets, honest, sure


def test_the_temperature_that_was_put_in_comes_out():
    targets, honest, sure = sharpened(np.random.default_rng(0))
    temperature = fit_temperature(targets, sure)
    assert temperature == pytest.approx(2.5, rel=0.08)
    np.testing.assert_allclose(apply_temperature(sure, 2.5), honest, atol=1e-9)


def test_no_temperature_nearby_has_a_lower_loss():
    targets, _, sure = sharpened(np.random.default_rng(1), n=300)
    best = fit_temperature(targets, sure)

    def loss(t):
        return log_loss_rows(targets, apply_temperature(sure, t)).mean()

    assert all(loss(best) <= loss(best * f) + 1e-9 for f in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0))


def test_labels_keep_their_order_and_rows_of_two_labels_their_rank():
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.ones(4), size=200)
    scaled = apply_temperature(p, 3.3)
    np.testing.assert_array_equal(np.argsort(p, axis=1), np.argsort(scaled, axis=1))
    np.testing.assert_allclose(scaled.sum(axis=1), 1.0)
    two = rng.dirichlet(np.ones(2), size=200)
    np.testing.assert_array_equal(np.argsort(two[:, 1]), np.argsort(apply_temperature(two, 0.3)[:, 1]))


def test_multi_label_scales_every_label_by_itself():
    p = np.array([[0.9, 0.2], [0.6, 0.5]])
    odds = p / (1 - p)
    np.testing.assert_allclose(
        apply_temperature(p, 2.0, multi_label=True), np.sqrt(odds) / (1 + np.sqrt(odds)), rtol=1e-12
    )


def test_constant_predictions_and_no_rows_leave_the_temperature_at_one():
    assert fit_temperature(np.array([0, 1, 1]), np.full((3, 2), 0.5)) == 1.0
    assert fit_temperature(np.zeros(0, dtype=int), np.zeros((0, 2))) == 1.0


def test_scaling_helps_on_rows_it_did_not_see_and_both_figures_are_told():
    rng = np.random.default_rng(3)
    seen, _, sure = sharpened(rng, n=500)
    other, _, unseen = sharpened(rng, n=2000)
    found = Calibration.of((seen, sure), (other, unseen), 500)
    assert found.temperature > 1.5
    assert found.ece[1] < found.ece[0] / 2
    assert found.nll[1] < found.nll[0]
    assert found.to_json()["rows"] == 500
