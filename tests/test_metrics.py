import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, log_loss, roc_auc_score

from tlplat.metrics import (
    ACCURACY,
    BRIER,
    LOG_LOSS,
    Auroc,
    AveragePrecision,
    BalancedAccuracy,
    MacroF1,
    expected_calibration_error,
)


def binary(n=200, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    p = rng.random(n) * 0.6 + y * 0.3
    p = np.round(p, 1) if ties else p
    return y, np.stack([1 - p, p], axis=1)


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_equals_scikit_learn_also_with_weights_and_ties(ties):
    y, p = binary(ties=ties)
    assert Auroc()(y, p)[0] == pytest.approx(roc_auc_score(y, p[:, 1]), abs=1e-12)
    weights = np.random.default_rng(1).integers(0, 4, (300, len(y))).astype(np.float32)
    expected = [roc_auc_score(y, p[:, 1], sample_weight=w) for w in weights]
    np.testing.assert_allclose(Auroc()(y, p, weights), expected, atol=1e-6)


def test_auroc_of_one_class_is_nan_and_of_constant_scores_is_half():
    y, p = binary()
    assert np.isnan(Auroc()(np.zeros_like(y), p)[0])
    assert Auroc()(y, np.full_like(p, 0.5))[0] == 0.5


def test_macro_auroc_over_classes_and_over_labels():
    rng = np.random.default_rng(2)
    y = rng.integers(0, 3, 150)
    p = rng.dirichlet(np.ones(3), 150) + np.eye(3)[y] * 0.3
    p /= p.sum(axis=1, keepdims=True)
    expected = roc_auc_score(y, p, multi_class="ovr", average="macro")
    assert Auroc()(y, p)[0] == pytest.approx(expected)
    hot = (rng.random((150, 4)) < 0.4).astype(float)
    q = rng.random((150, 4))
    assert Auroc()(hot, q)[0] == pytest.approx(roc_auc_score(hot, q, average="macro"))
    hot[:, 1] = 0
    kept = [roc_auc_score(hot[:, c], q[:, c]) for c in (0, 2, 3)]
    assert Auroc()(hot, q)[0] == pytest.approx(np.mean(kept))


def test_row_metrics_by_hand_and_weighted():
    y = np.array([0, 1, 1])
    p = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]])
    assert ACCURACY(y, p)[0] == pytest.approx(2 / 3)
    assert BRIER(y, p)[0] == pytest.approx((0.04 + 0.36 + 0.01) / 3)
    assert LOG_LOSS(y, p)[0] == pytest.approx(log_loss(y, p))
    assert ACCURACY(y, p, np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])).tolist() == [1.0, 0.0]


def test_scikit_learn_metrics_accept_weights():
    y, p = binary()
    weights = np.ones((2, len(y)))
    for metric in (AveragePrecision(), MacroF1()):
        np.testing.assert_allclose(metric(y, p, weights), metric(y, p)[0])


def test_calibration_error_is_zero_for_calibrated_and_large_for_overconfident():
    y = np.array([1] * 7 + [0] * 3)
    p = np.tile([0.3, 0.7], (10, 1))
    assert expected_calibration_error(y, p) == pytest.approx(0.0, abs=1e-9)
    assert expected_calibration_error(y, np.tile([0.01, 0.99], (10, 1))) == pytest.approx(0.29)


@pytest.mark.parametrize("classes", [2, 4])
def test_metrics_of_choices_equal_scikit_learn_with_weights(classes):
    rng = np.random.default_rng(3)
    y = rng.integers(0, classes, 90)
    p = rng.dirichlet(np.ones(classes), 90).round(1)
    weights = rng.integers(0, 4, (300, 90)).astype(np.float32)
    hard = p.argmax(axis=1)
    recalls = [balanced_accuracy_score(y, hard, sample_weight=w) for w in weights]
    np.testing.assert_allclose(BalancedAccuracy()(y, p, weights), recalls, rtol=1e-9)
    scores = [f1_score(y, hard, average="macro", sample_weight=w, zero_division=0) for w in weights]
    np.testing.assert_allclose(MacroF1()(y, p, weights), scores, rtol=1e-9)
    hot = np.arange(classes) == y[:, None]
    shown = [1] if classes == 2 else range(classes)
    precision = [
        np.mean([average_precision_score(hot[:, c], p[:, c], sample_weight=w) for c in shown]) for w in weights
    ]
    np.testing.assert_allclose(AveragePrecision()(y, p, weights), precision, rtol=1e-9)


def test_metrics_of_sets_equal_scikit_learn_and_leave_out_what_is_undefined():
    rng = np.random.default_rng(4)
    y, p = (rng.random((60, 3)) < 0.3).astype(float), rng.random((60, 3))
    y[:, 2] = 0
    hard = (p >= 0.5).astype(int)
    assert MacroF1()(y, p)[0] == pytest.approx(f1_score(y, hard, average="macro", zero_division=0))
    recalls = [r for c in (0, 1) for r in (recall(y[:, c], hard[:, c], 1), recall(y[:, c], hard[:, c], 0))]
    assert BalancedAccuracy()(y, p)[0] == pytest.approx(np.mean([*recalls, recall(y[:, 2], hard[:, 2], 0)]))
    assert np.isnan(AveragePrecision()(np.zeros(5, dtype=int), np.full((5, 2), 0.5))[0])


def recall(y, said, label):
    return (said[y == label] == label).mean()
