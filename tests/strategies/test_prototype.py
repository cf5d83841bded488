"""Solved heads against other solvers, the choice among them, and rows that a domain does not let a model keep."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator

from tlplat.model import BackboneInfo
from tlplat.strategies.choice import SETTINGS, best_temperature, held_out
from tlplat.strategies.closedform import nearest_mean
from tlplat.strategies.prototypes import class_matrix, make_head, solve_head
from tlplat.tasks.classification import Classification
from tlplat.tasks.linear import dealt_folds
from tlplat.testing.workbench import toybench
from tlplat.trial import Rows

ARGS = {"classes": 3, "multi_label": False, "temperature": 1.0}


@pytest.fixture
def blobs():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    z = rng.normal(size=(60, 10)) * np.linspace(0.5, 3, 10) + rng.normal(size=(3, 10))[y] * 2 + 1
    return torch.from_numpy(z).float(), torch.from_numpy(y), torch.from_numpy(rng.normal(size=(40, 10)) * 2 + 1).float()


def outputs(blobs, variant, setting, temperature=1.0):
    z, y, new = blobs
    args = {**ARGS, "variant": variant, "setting": setting, "temperature": temperature, "rows": len(z)}
    head = make_head(z.shape[1], args)
    solve_head(head, z, class_matrix(y, 3), variant, setting, temperature)
    return head(new).double().numpy()


def standardised(blobs):
    z, y, new = (part.double().numpy() for part in blobs)
    return (z - z.mean(axis=0)) / z.std(axis=0), y.astype(int), (new - z.mean(axis=0)) / z.std(axis=0)


class Pooled(BaseEstimator):
    """Says the same covariance for each class, so that their average is the pooled one."""

    def __init__(self, covariance=None):
        self.covariance = covariance

    def fit(self, x):
        self.covariance_ = self.covariance
        return self


def gaps(scores):
    """What a softmax sees: differences to the first class."""
    return scores - scores[:, :1]


def test_nearest_mean_is_the_log_density_of_round_classes_and_their_share(blobs):
    x, y, new = standardised(blobs)
    means = np.stack([x[y == c].mean(axis=0) for c in range(3)])
    variance = sum(((x[y == c] - means[c]) ** 2).sum() for c in range(3)) / (60 - 3) / 10
    wanted = -((new[:, None] - means) ** 2).sum(axis=2) / (2 * variance) + np.log(np.bincount(y) / len(y))
    np.testing.assert_allclose(gaps(outputs(blobs, "mean", 0.0)), gaps(wanted), atol=1e-3)


def test_discriminant_equals_scikit_learns(blobs):
    from sklearn.covariance import LedoitWolf
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x, y, new = standardised(blobs)
    within = x - np.stack([x[y == c].mean(axis=0) for c in range(3)])[y]
    covariance = LedoitWolf(assume_centered=True).fit(within)
    assert 0 < covariance.shrinkage_ < 1
    pooled = Pooled(covariance.covariance_)
    model = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=pooled).fit(x, y)
    np.testing.assert_allclose(gaps(outputs(blobs, "lda", 0.0)), gaps(model.decision_function(new)), atol=2e-3)


@pytest.mark.parametrize("rows", [60, 7])
def test_ridge_equals_scikit_learns_in_both_shapes(blobs, rows):
    from sklearn.linear_model import Ridge

    blobs = (torch.cat([blobs[0][blobs[1] == c][:20] for c in range(3)])[:: 60 // rows], None, blobs[2])
    y = torch.arange(len(blobs[0])) % 3
    blobs = (blobs[0], y, blobs[2])
    x, targets, new = standardised(blobs)
    model = Ridge(alpha=0.1 * len(x)).fit(x, 2 * np.eye(3)[targets] - 1)
    np.testing.assert_allclose(outputs(blobs, "ridge", 0.1), model.predict(new), atol=1e-4)


def test_neighbours_vote_by_cosine(blobs):
    x, y, new = standardised(blobs)
    unit, query = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, new))
    similarity = query @ unit.T
    wanted = []
    for row in similarity:
        near = np.argsort(-row)[:5]
        weight = np.exp(row[near] / 0.1)
        weight = 5 * weight / weight.sum()
        votes = np.array([weight[y[near] == c].sum() for c in range(3)])
        wanted.append(np.log((votes + 1 / 3) / 6))
    np.testing.assert_allclose(outputs(blobs, "knn", 5), wanted, atol=1e-4)


def test_temperature_divides_the_outputs(blobs):
    for variant, settings in SETTINGS.items():
        np.testing.assert_allclose(
            outputs(blobs, variant, settings[0], 2.5), outputs(blobs, variant, settings[0]) / 2.5, rtol=1e-4, atol=1e-6
        )


def test_best_temperature_lowers_the_loss(blobs):
    task, (z, y, _) = Classification(["a", "b", "c"]), blobs
    scores = held_out(z, y, {**ARGS, "variant": "ridge", "setting": 0.1}, dealt_folds(y))
    temperature, loss = best_temperature(task, scores, y)
    assert loss < float(task.loss(scores, y))
    assert loss <= float(task.loss(scores / (temperature * 1.3), y))


def test_held_out_rows_are_not_in_their_own_heads(blobs):
    z, y, _ = blobs
    args = {**ARGS, "variant": "knn", "setting": 1}
    own = outputs((z, y, z), "knn", 1).argmax(axis=1)
    assert (own == y.numpy()).all()  # each row is its own nearest neighbour
    random = torch.randint(0, 3, (60,), generator=torch.Generator().manual_seed(0))
    assert (held_out(z, random, args, dealt_folds(random)).argmax(dim=1) == random).float().mean() < 0.7


def test_one_row_of_a_class_gives_finite_heads():
    z, y = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2])
    for variant, settings in SETTINGS.items():
        assert np.isfinite(outputs((z, y, z), variant, settings[0])).all(), variant


def test_the_choice_is_the_least_held_out_loss_and_is_what_is_built(registry):
    outcome = toybench(registry, labels=80).run("prototype")
    tried = outcome.measured["tried"]
    assert {t["variant"] for t in tried} == {"mean", "lda", "ridge", "knn"}
    best = min(tried, key=lambda t: t["loss"])
    head = outcome.plan["edits"][0]["args"]
    assert {k: head[k] for k in ("variant", "setting", "temperature")} == {
        k: best[k] for k in ("variant", "setting", "temperature")
    }
    assert outcome.result.trained_parameters == sum(b.numel() for b in outcome.model.head.buffers())
    assert not list(outcome.model.head.parameters())


@pytest.mark.parametrize("variant", sorted(SETTINGS))
def test_each_variant_saves_and_loads(registry, variant, tmp_path):
    from tlplat.modelio import load_model, save_model

    bench = toybench(registry)
    outcome = bench.run("prototype", variants=(variant,))
    save_model(tmp_path, outcome.model, bench.target.task.info(), {"dim": 12}, registry, {})
    again = load_model(tmp_path, registry)
    with torch.no_grad():
        found = again.task.decode(again.model(bench.target.test.inputs.tensor))
    np.testing.assert_allclose(found, outcome.predictions[0], atol=1e-6)


def test_a_domain_that_keeps_no_rows_gets_no_neighbours(registry):
    bench = toybench(registry)
    bench.bench = dataclasses.replace(bench.bench, keep_rows=False)
    measured, _ = bench.candidate("prototype").declare(bench.bench, Rows.all(bench.labelled))
    assert "knn" not in {t["variant"] for t in measured["tried"]}
    assert "refuses" in measured["left_out"]
    info = BackboneInfo.of(bench.bench.store.backbone(bench.source))
    strategy = registry.get("strategies", "prototype")
    assert strategy().unfit(bench.bench.task_info, info) is None
    assert strategy(variants=("knn",)).unfit(bench.bench.task_info, info) == (
        "knn keeps the training rows' features in model/, which this domain refuses"
    )


def test_the_domains_word_reaches_the_bench(toy, monkeypatch):
    from tlplat.config import RunConfig
    from tlplat.progress import Reporter
    from tlplat.stage import load_registry, prepare

    config = RunConfig.model_validate({"domain": "toy", "strategies": ("prototype",), "threads": 1})
    assert "keep_rows" in prepare(config, load_registry(config), Reporter()).bench.task_info.offers
    monkeypatch.setattr(toy.Toy, "keeps_rows", False)
    assert "keep_rows" not in prepare(config, load_registry(config), Reporter()).bench.task_info.offers


def test_multi_label_rows(blobs):
    z = blobs[0]
    y = torch.stack([(z[:, 0] > 0.5), (z[:, 3] > 1)], dim=1).float()
    task = Classification(["a", "b"], multi_label=True)
    for variant, setting in (("ridge", 0.1), ("knn", 3)):
        args = {"classes": 2, "multi_label": True, "temperature": 1.0, "variant": variant, "setting": setting}
        assert task.metrics[0](y.numpy(), task.decode(held_out(z, y, args, dealt_folds(y.sum(dim=1)))))[0] > 0.7


def test_nearest_mean_in_float64_has_a_bias_for_each_class():
    weight, bias = nearest_mean(torch.randn(8, 4).double(), torch.eye(2).repeat(4, 1).double())
    assert (weight.shape, bias.shape) == ((2, 4), (2,))
