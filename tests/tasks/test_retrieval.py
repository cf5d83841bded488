"""Retrieval: recall and mAP against loops, the contrastive loss by its definition, spaces that are never mixed."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from tlplat.errors import DataError
from tlplat.tasks.base import Evidence
from tlplat.tasks.ranks import MeanAveragePrecision, RecallAt, hits
from tlplat.tasks.retrieval import TEMPERATURE, Retrieval


def things(n=120, kinds=8, d=20, seed=0):
    """Kinds differ in four directions, and all rows vary much more in the others."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, kinds, n)
    centres = np.random.default_rng(9).normal(size=(kinds, 4))
    x = rng.normal(size=(n, d)) * 6
    x[:, :4] = centres[y] * 2 + rng.normal(size=(n, 4)) * 0.6
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y)


def embedded(n=40, seed=1):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 5, n), np.c_[np.zeros(n), rng.normal(size=(n, 6))]


def test_recall_and_map_equal_the_loop():
    y, p = embedded()
    unit = p[:, 1:] / np.linalg.norm(p[:, 1:], axis=1, keepdims=True)
    near = unit @ unit.T
    recall, precision = {1: [], 5: []}, []
    for i in range(40):
        others = np.delete(np.arange(40), i)
        same = (y[others] == y[i]).astype(int)
        if not same.any():
            continue
        order = np.argsort(-near[i, others])
        for k in recall:
            recall[k].append(same[order[:k]].any())
        precision.append(average_precision_score(same, near[i, others]))
    for k, each in recall.items():
        assert RecallAt(f"recall_at_{k}", k=k)(y, p)[0] == pytest.approx(np.mean(each))
    assert MeanAveragePrecision("map")(y, p)[0] == pytest.approx(np.mean(precision))


def test_weights_draw_queries_and_lonely_kinds_ask_nothing():
    y, p = embedded()
    y[3] = 99
    metric = RecallAt("recall_at_1", k=1)
    rows = metric.rows(y, p)
    assert np.isnan(rows[3])
    assert np.isnan(rows).sum() == 1
    weights = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=4).astype(np.float32)
    again = np.repeat(rows, weights[1].astype(int))
    assert metric(y, p, weights)[1] == pytest.approx(np.nanmean(again), rel=1e-6)
    assert np.isnan(metric(np.arange(40), p)[0])


def test_rows_of_another_space_are_never_neighbours():
    y, p = embedded()
    apart = p.copy()
    apart[20:, 0] = 7
    found, total = hits(y, apart)
    for i in range(40):
        mates = [j for j in range(40) if j != i and y[j] == y[i] and (j < 20) == (i < 20)]
        assert total[i] == len(mates)
        assert found[i].sum() == len(mates)
    one = RecallAt("r", k=1)
    halves = [one.rows(y[s], p[s]) for s in (slice(0, 20), slice(20, 40))]
    np.testing.assert_array_equal(one.rows(y, apart), np.concatenate(halves))


def test_equal_embeddings_score_chance():
    y = np.repeat(np.arange(4), 250)
    p = np.tile(Retrieval(6).trivial(torch.from_numpy(y)), (1000, 1))
    assert RecallAt("r", k=1)(y, p)[0] == pytest.approx(0.25, abs=0.03)


def test_loss_by_its_definition():
    z, y = torch.randn(12, 5, dtype=torch.float64), torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 4, 4])
    unit = (z / z.norm(dim=1, keepdim=True)).numpy()
    total = []
    for i in range(12):
        mates = [j for j in range(12) if j != i and y[j] == y[i]]
        if mates:
            below = sum(np.exp(unit[i] @ unit[j] / TEMPERATURE) for j in range(12) if j != i)
            total.append(-np.mean([np.log(np.exp(unit[i] @ unit[j] / TEMPERATURE) / below) for j in mates]))
    outputs = z.clone().requires_grad_(True)
    loss = Retrieval(5).loss(outputs, y)
    assert loss.item() == pytest.approx(np.mean(total))
    loss.backward()
    assert bool(torch.isfinite(outputs.grad).all())
    assert Retrieval(5).loss(outputs, torch.arange(12)).item() == 0


def test_fit_head_finds_the_directions_that_tell_kinds_apart():
    z, y = things()
    new, kinds = things(seed=3)
    task = Retrieval(8)
    fit = task.fit_head(z, y, {})
    metric = task.metrics[0]
    solved = metric(kinds.numpy(), task.decode(new @ fit.weight.T + fit.bias))[0]
    raw = metric(kinds.numpy(), np.c_[np.zeros(len(new)), new.numpy()])[0]
    assert solved > raw + 0.3
    losses = [float(Retrieval(8).fit_head(z, y, {"weight_decays": [d, d]}).validation_loss) for d in (1e-3, 1.0, 10.0)]
    assert fit.validation_loss <= min(losses) + 1e-9


def test_more_dimensions_than_directions():
    z, y = things(d=5)
    fit = Retrieval(32).fit_head(z, y, {"weight_decays": [1.0]})
    assert fit.weight.shape == (32, 5)
    assert not fit.weight[5:].any()


def test_each_fit_has_a_space_of_its_own():
    z, y = things()
    task = Retrieval(4)
    one, two = task.concluded(z[:, :4], y), task.concluded(z[:, 4:8], y)
    assert one.space != two.space
    assert one.space == task.concluded(z[:, :4], y).space
    assert Retrieval(**one.info().options).info() == one.info()
    assert one.decode(z[:3, :4])[:, 0].tolist() == [one.space] * 3
    assert task.takes_head(one.info())
    assert not task.takes_head(Retrieval(5).info())


def test_strata_checks_predictions_and_detail():
    task = Retrieval(4)
    assert task.strata(torch.tensor([5, 5, 7, 8])).tolist() == [0, 0, 3, 3]
    assert task.strata(torch.tensor([5, 5, 7])).tolist() == [0, 0, 0]
    with pytest.raises(DataError, match="TL-DATA-NO-PAIR"):
        task.check(torch.arange(5), ["a"] * 5)
    assert task.facts(torch.tensor([1, 1, 2])) == {"kinds": 2, "kinds_of_several_rows": 1}
    z, y = things()
    p = task.decode(z[:, :4])
    assert len(task.prediction_rows(p, None)[0]["prediction"]) == 4
    points = task.detail(Evidence(y.numpy(), p, y.numpy(), p, 120))["charts"][0]["series"][0]["points"]
    assert [k for k, _ in points] == [1, 2, 5, 10, 20]
    assert points == sorted(points)
    assert points[0][1] == pytest.approx(task.metrics[0](y.numpy(), p)[0])


def test_wide_features_are_solved_as_in_all_their_columns():
    """The rows' span holds the solution: embeddings are those of the whole scatter."""
    z, y = things(n=40, d=90)
    fit = Retrieval(6).fit_head(z, y, {"weight_decays": [0.5]})
    x = z.double()
    x = (x - x.mean(0)) / x.std(0, correction=0)
    whole = Retrieval(6)._whitening(x, y, 0.5 * float(x.square().mean()))
    new = things(n=30, d=90, seed=5)[0].double()
    wanted = ((new - z.double().mean(0)) / z.double().std(0, correction=0)) @ whole.T
    found = new @ fit.weight.double().T + fit.bias.double()
    torch.testing.assert_close(found.abs(), wanted.abs(), rtol=1e-3, atol=1e-3)
