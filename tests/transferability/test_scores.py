"""Transferability scores against independent derivations, their invariances, and what they do with degenerate input."""

from __future__ import annotations

import math

import derived
import numpy as np
import pytest
import torch

from tlplat.errors import DataError, NonFiniteError
from tlplat.transferability import (
    agreement,
    h_score,
    kendall_tau,
    ledoit_wolf,
    leep,
    log_me,
    mixture_posterior,
    n_leep,
    nce,
    principal_components,
    shrunk_h_score,
    transrate,
)

ON_FEATURES = [log_me, h_score, shrunk_h_score, transrate, n_leep]


def case(seed, n=60, d=7, classes=3, signal=1.0):
    """Features with a class signal, labels of unequal frequency, source probabilities that know something."""
    rng = np.random.default_rng(seed)
    y = rng.choice(classes, size=n, p=np.arange(1, classes + 1) / sum(range(1, classes + 1)))
    y[:classes] = np.arange(classes)
    z = rng.normal(size=(n, d)) @ np.diag(np.linspace(0.3, 2, d)) + signal * rng.normal(size=(classes, d))[y] + 0.5
    logits = rng.normal(size=(n, 5)) + signal * np.eye(5)[y]
    theta = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return z, y, theta


def tensors(*arrays):
    return [torch.from_numpy(np.asarray(a)) for a in arrays]


@pytest.mark.parametrize("seed", range(4))
class TestDerivedAgain:
    """Equal to 1e-6 to derivations that share nothing with the implementation."""

    def test_log_me(self, seed):
        z, y, _ = case(seed)
        assert log_me(*tensors(z, y)) == pytest.approx(derived.log_me_by_iteration(z, y), abs=1e-6)
        assert log_me(*tensors(z, y)) == pytest.approx(derived.log_me_by_search(z, y), abs=1e-6)

    def test_log_me_with_fewer_rows_than_features(self, seed):
        z, y, _ = case(seed, n=15, d=25, signal=0.3)
        assert log_me(*tensors(z, y)) >= derived.log_me_by_search(z, y) - 1e-6
        best = max(
            np.mean([derived.log_evidence(z, (y == c) * 1.0, a, 1e9) for c in range(3)]) / 15 for a in (1, 10, 100)
        )
        assert log_me(*tensors(z, y)) >= best - 1e-6

    def test_h_score(self, seed):
        z, y, _ = case(seed)
        assert h_score(*tensors(z, y)) == pytest.approx(derived.h_score(z, y), abs=1e-6)

    @pytest.mark.parametrize(("n", "d"), [(60, 7), (20, 40)])
    def test_shrunk_h_score(self, seed, n, d):
        z, y, _ = case(seed, n, d)
        assert shrunk_h_score(*tensors(z, y)) == pytest.approx(derived.shrunk_h_score(z, y), abs=1e-6)

    def test_leep_and_nce(self, seed):
        _, y, theta = case(seed)
        found = leep(source_probabilities=torch.from_numpy(theta), target_labels=torch.from_numpy(y))
        assert found == pytest.approx(derived.leep(theta, y), abs=1e-6)
        said = theta.argmax(axis=1)
        found = nce(source_labels=torch.from_numpy(said), target_labels=torch.from_numpy(y))
        assert found == pytest.approx(derived.nce(said, y), abs=1e-6)

    @pytest.mark.parametrize(("n", "d", "distortion"), [(60, 7, 1e-4), (20, 40, 1e-2)])
    def test_transrate(self, seed, n, d, distortion):
        z, y, _ = case(seed, n, d)
        found = transrate(*tensors(z, y), distortion=distortion)
        assert found == pytest.approx(derived.transrate(z, y, distortion), abs=1e-6)

    def test_n_leep(self, seed):
        """The same mixture (its parameters are scikit-learn's), its posterior and the score derived again."""
        from sklearn.decomposition import PCA
        from sklearn.mixture import GaussianMixture

        z, y, _ = case(seed)
        x = PCA(n_components=0.8, svd_solver="full").fit_transform(z)
        ours = principal_components(torch.from_numpy(z)).numpy()
        np.testing.assert_allclose(np.abs(ours), np.abs(x), atol=1e-9)
        fitted = GaussianMixture(
            6, covariance_type="diag", reg_covar=1e-3 * ours.var(axis=0).mean(), random_state=0, max_iter=200
        ).fit(ours)
        posterior = derived.mixture_posterior(ours, fitted.weights_, fitted.means_, fitted.covariances_)
        assert n_leep(*tensors(z, y)) == pytest.approx(derived.leep(posterior, y), abs=1e-6)


def test_ledoit_wolf_is_scikit_learns():
    from sklearn.covariance import LedoitWolf

    for n, d in ((60, 7), (20, 40)):
        z = case(0, n, d)[0]
        x = z - z.mean(axis=0)
        wanted = LedoitWolf(assume_centered=True).fit(x).shrinkage_
        assert ledoit_wolf(torch.from_numpy(x)) == pytest.approx(wanted, abs=1e-9)


def test_the_arguments_of_leep_and_nce_have_an_order_that_matters():
    """P(target | source) is not P(source | target): the trap is real, and positional calls are refused."""
    y = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
    z = torch.tensor([0, 1, 2, 3, 4, 4, 5, 5])
    assert nce(source_labels=z, target_labels=y) == 0
    assert nce(source_labels=y, target_labels=z) == pytest.approx(-0.5 * math.log(4))
    theta = torch.eye(6, dtype=torch.float64)[z]
    assert leep(source_probabilities=theta, target_labels=y) == pytest.approx(0)
    with pytest.raises(TypeError):
        leep(theta, y)
    with pytest.raises(TypeError):
        nce(z, y)


@pytest.mark.parametrize("score", ON_FEATURES)
def test_renaming_classes_changes_nothing(score):
    z, y, _ = tensors(*case(5))
    renamed = torch.tensor([7, 2, 40])[y]
    assert score(z, renamed) == pytest.approx(score(z, y), abs=1e-9)


def test_renaming_classes_changes_nothing_in_leep_and_nce():
    _, y, theta = tensors(*case(5))
    order, renamed = torch.tensor([3, 0, 4, 1, 2]), torch.tensor([7, 2, 40])[y]
    first = leep(source_probabilities=theta, target_labels=y)
    assert leep(source_probabilities=theta[:, order], target_labels=renamed) == pytest.approx(first)
    first = nce(source_labels=theta.argmax(1), target_labels=y)
    assert nce(source_labels=order[theta.argmax(1)], target_labels=renamed) == pytest.approx(first)


@pytest.mark.parametrize("score", ON_FEATURES)
def test_rotating_the_features_changes_nothing(score):
    z, y, _ = tensors(*case(6))
    rotation = torch.linalg.qr(torch.randn(7, 7, generator=torch.Generator().manual_seed(1)).double())[0]
    assert score(z @ rotation, y) == pytest.approx(score(z, y), abs=1e-6)


def test_scaling_the_features_is_seen_by_transrate_alone():
    z, y, _ = tensors(*case(7))
    for score in (log_me, h_score, shrunk_h_score, n_leep):
        assert score(10 * z, y) == pytest.approx(score(z, y), abs=1e-6)
    assert transrate(0.01 * z, y) < 0.9 * transrate(z, y)


@pytest.mark.parametrize("score", ON_FEATURES)
@pytest.mark.parametrize("seed", range(5))
def test_a_planted_source_ranks_below_a_useful_one(score, seed):
    """The same features with their rows shuffled keep every marginal and lose the labels."""
    z, y, _ = case(seed, n=80)
    shuffled = np.random.default_rng(seed).permutation(80)
    useful, planted = (score(*tensors(features, y)) for features in (z, z[shuffled]))
    assert useful > planted


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_head_ranks_below_a_useful_one(seed):
    _, y, theta = tensors(*case(seed, n=80))
    shuffled = theta[torch.from_numpy(np.random.default_rng(seed).permutation(80))]
    assert leep(source_probabilities=theta, target_labels=y) > leep(source_probabilities=shuffled, target_labels=y)
    said, other = theta.argmax(1), shuffled.argmax(1)
    assert nce(source_labels=said, target_labels=y) > nce(source_labels=other, target_labels=y)


class TestDegenerate:
    """A clear error, or the value that the docstring names."""

    @pytest.mark.parametrize("score", ON_FEATURES)
    def test_one_class(self, score):
        with pytest.raises(DataError, match="TL-DATA-ONE-CLASS"):
            score(torch.randn(9, 3), torch.zeros(9, dtype=torch.int64))

    @pytest.mark.parametrize("score", ON_FEATURES)
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_not_finite(self, score, value):
        z, y, _ = tensors(*case(0))
        z[3, 2] = value
        with pytest.raises(NonFiniteError, match="TL-SCORE-NONFINITE"):
            score(z, y)

    @pytest.mark.parametrize("score", ON_FEATURES)
    @pytest.mark.parametrize(
        ("z", "y"),
        [
            (torch.randn(9), torch.arange(9)),
            (torch.randn(1, 3), torch.zeros(1, dtype=torch.int64)),
            (torch.randn(9, 3), torch.arange(8)),
            (torch.randn(9, 0), torch.arange(9)),
        ],
    )
    def test_shapes(self, score, z, y):
        with pytest.raises(DataError, match="TL-SCORE-INPUT"):
            score(z, y)

    @pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
    def test_constant_features(self, constant):
        y = torch.tensor([0, 1] * 10)
        z = torch.full((20, 4), constant)
        assert h_score(z, y) == shrunk_h_score(z, y) == 0
        assert transrate(z, y) == 0
        assert n_leep(z, y) == pytest.approx(-math.log(2))
        assert math.isfinite(log_me(z, y))
        informed = torch.cat([z, y[:, None] + 0.1 * torch.randn(20, 1)], dim=1)
        assert log_me(informed, y) > log_me(z, y)

    @pytest.mark.parametrize("score", ON_FEATURES)
    def test_fewer_rows_than_features(self, score):
        z, y, _ = tensors(*case(1, n=12, d=50))
        assert math.isfinite(score(z, y))

    def test_plain_h_score_says_nothing_of_wide_features(self):
        """Its docstring's warning: at d >= n - 1 every source of full rank scores classes - 1."""
        y = tensors(case(1, n=12)[1])[0]
        for seed in range(3):
            noise = torch.randn(12, 50, generator=torch.Generator().manual_seed(seed))
            assert h_score(noise, y) == pytest.approx(2.0)
            assert shrunk_h_score(noise, y) < 1.5

    def test_features_that_are_the_label(self):
        """Unbounded evidence ends at the edge of the search, finite and above all others."""
        y = torch.tensor([0, 1] * 10)
        exact = log_me(torch.stack([y, 1 - y], dim=1).float(), y)
        assert math.isfinite(exact)
        assert exact > log_me(torch.stack([y, 1 - y], dim=1) + 1e-3 * torch.randn(20, 2), y)

    def test_probabilities_that_are_none(self):
        y = torch.tensor([0, 1, 0])
        for theta in (torch.ones(3, 2), torch.tensor([[2.0, -1.0]] * 3), torch.ones(3)):
            with pytest.raises(DataError, match="TL-SCORE-INPUT"):
                leep(source_probabilities=theta, target_labels=y)
        with pytest.raises(DataError, match="TL-SCORE-INPUT"):
            nce(source_labels=torch.rand(3), target_labels=y)

    def test_a_source_class_that_is_never_given(self):
        y = torch.tensor([0, 1, 0, 1])
        theta = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]])
        assert leep(source_probabilities=theta, target_labels=y) == pytest.approx(0)

    def test_regression_targets(self):
        rng = np.random.default_rng(0)
        z = rng.normal(size=(50, 4))
        y = z @ [1.0, 0, 2, 0] + 0.1 * rng.normal(size=50)
        assert log_me(*tensors(z, y)) > log_me(*tensors(z[rng.permutation(50)], y))
        with pytest.raises(DataError, match="TL-SCORE-INPUT"):
            log_me(torch.from_numpy(z), torch.ones(50))


def test_no_source_says_what_the_labels_entropy_says():
    """The value that the docstrings name for a source that says the same of every row."""
    y = torch.tensor([0, 0, 0, 1])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    theta = torch.tensor([[0.2, 0.8]] * 4)
    assert leep(source_probabilities=theta, target_labels=y) == pytest.approx(-entropy)
    assert nce(source_labels=torch.ones(4, dtype=torch.int64), target_labels=y) == pytest.approx(-entropy)


def test_mixture_posterior_is_deterministic_in_the_seed():
    x = principal_components(torch.from_numpy(case(0)[0]))
    assert torch.equal(mixture_posterior(x, 4, 1), mixture_posterior(x, 4, 1))
    assert mixture_posterior(x[:, :0], 4).shape == (60, 1)


def test_kendall_tau_is_scipys():
    from scipy.stats import kendalltau

    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.integers(0, 4, size=(2, 8)).astype(float)
        assert kendall_tau(a, b) == pytest.approx(kendalltau(a, b).statistic)
    assert kendall_tau([1, 2, None, 3], [1, 2, 0, 3]) == 1
    assert math.isnan(kendall_tau([1, None], [1, 2]))
    assert math.isnan(kendall_tau([1, 1], [1, 2]))
    assert agreement({"a": [1, 2], "b": [2, 1], "c": [0, 1]}) == {("a", "b"): -1, ("a", "c"): 1, ("b", "c"): -1}
