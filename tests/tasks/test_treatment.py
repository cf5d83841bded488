"""Treatment: doubly robust scores in a planted trial, learners against their definitions, overlap."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from tlplat.errors import DataError
from tlplat.tasks.base import Evidence
from tlplat.tasks.policy import Nuisances, cross_fitted, fitted, robust_scores, scores_of
from tlplat.tasks.treatment import Treatment

ARMS = ["none", "drug"]


def trial(n=2000, seed=0, confounded=True):
    """The drug helps where x0 > 0 and harms elsewhere; the sicker (x1) get it more often."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    chance = 1 / (1 + np.exp(-1.2 * x[:, 1])) if confounded else np.full(n, 0.5)
    arm = (rng.random(n) < chance).astype(np.int64)
    effect = 2 * x[:, 0]
    y = 30 - 3 * x[:, 1] + effect * arm + rng.normal(size=n)
    known = torch.from_numpy(np.c_[1 - chance, chance])
    return torch.from_numpy(x), torch.from_numpy(arm), torch.from_numpy(y), torch.from_numpy(effect), known


def task_and_targets(n=2000, learner="dr", seed=0, **more):
    x, arm, y, effect, _ = trial(n, seed)
    targets = Treatment.targets(x, arm, y, 2)
    return Treatment(ARMS, learner=learner, **more), x, targets, effect


def test_robust_scores_by_hand():
    made = Nuisances(torch.tensor([[0.75, 0.25], [0.5, 0.5]]).double(), torch.tensor([[1.0, 3.0], [2.0, 2.0]]).double())
    scores = robust_scores(torch.tensor([1, 0]), torch.tensor([4.0, 1.0]), made)
    assert scores.tolist() == [[1.0, 3 + 4 * (4 - 3)], [2 + 2 * (1 - 2), 2.0]]


@pytest.mark.parametrize("right", ["propensity", "outcome"])
def test_means_are_right_where_either_nuisance_is(right):
    _, arm, y, effect, known = trial(40_000)
    exact = torch.stack([y - effect * arm, y - effect * arm + effect], dim=1)
    truth = exact if right == "outcome" else y.mean().expand(len(y), 2)
    share = known if right == "propensity" else torch.full((len(y), 2), 0.5)
    scores = robust_scores(arm, y, Nuisances(share.double(), truth.double()))
    naive = y[arm == 1].mean() - y[arm == 0].mean()
    gain = (scores[:, 1] - scores[:, 0]).mean()
    assert abs(float(gain - effect.mean())) < 0.15
    assert abs(float(naive - effect.mean())) > 1


def test_a_rows_own_outcome_has_no_part_in_its_nuisances():
    x, arm, y, _, _ = trial(60)
    before = cross_fitted(x, arm, y, 2, seed=3)
    y[7] += 1000
    after = cross_fitted(x, arm, y, 2, seed=3)
    assert torch.equal(before.outcome[7], after.outcome[7])
    assert not torch.allclose(before.outcome[8:], after.outcome[8:])


def test_without_features_nuisances_are_frequencies_and_means():
    _, arm, y, _, _ = trial(100)
    made = fitted(torch.zeros(100, 0), arm, y, 2)(torch.zeros(3, 0))
    assert made.propensity[0].tolist() == pytest.approx([(int((arm == a).sum()) + 1) / 102 for a in (0, 1)])
    assert made.outcome[0].tolist() == pytest.approx([float(y[arm == a].mean()) for a in (0, 1)])


@pytest.mark.parametrize("learner", ["t", "dr"])
def test_learners_find_whom_the_drug_helps(learner):
    task, x, targets, _ = task_and_targets(1500, learner)
    task = task.settled(targets)
    y = task.prepare((x, targets), (), 0)[0] if task.prepares else targets
    fit = task.fit_head(x.float(), y, {})
    _, new, held, truth = task_and_targets(1500, learner, seed=1)
    p = task.decode(new.float() @ fit.weight.T + fit.bias)
    assert np.corrcoef(p[:, 1] - p[:, 0], truth)[0, 1] > 0.95
    value, error = task.metrics[0], task.metrics[1]
    model = value(held.numpy(), p)[0]
    for arm in (0, 1):
        fixed = np.zeros_like(p)
        fixed[:, arm] = 1
        assert model > value(held.numpy(), fixed)[0] + 0.5
    best = float((30 + truth.clamp(min=0)).mean())
    assert model == pytest.approx(best, abs=0.35)
    assert error(held.numpy(), p)[0] < error(held.numpy(), np.zeros_like(p))[0]


def test_the_t_learner_is_a_ridge_for_each_arm():
    task, x, targets, _ = task_and_targets(300, "t")
    task = task.settled(targets)
    fit = task.fit_head(x, targets, {"weight_decays": [0.2]})
    z = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    p = task.decode(x.float() @ fit.weight.T + fit.bias)
    for a in (0, 1):
        mine = targets[:, 0].numpy() == a
        wanted = Ridge(alpha=0.2 * mine.sum()).fit(z[mine], targets[:, 1].numpy()[mine]).predict(z)
        np.testing.assert_allclose(p[:, a], wanted, rtol=1e-4)


def test_losses():
    task, x, targets, _ = task_and_targets(50, "t")
    task = task.settled(targets)
    outputs = torch.randn(50, 2)
    arm, y = targets[:, 0].long(), targets[:, 1]
    given = outputs[torch.arange(50), arm].double()
    assert float(task.loss(outputs, targets)) == pytest.approx(
        float(0.5 * (given - (y - y.mean()) / y.std(correction=0)).square().mean()), rel=1e-5
    )
    robust = Treatment(ARMS, learner="dr").settled(targets)
    prepared = robust.prepare((x, targets), [(x[:5], targets[:5])], 0)
    assert [p.shape for p in prepared] == [(50, 8), (5, 8)]
    wanted = (prepared[0][:, 6:] - y.mean()) / y.std(correction=0)
    assert float(robust.loss(outputs, prepared[0])) == pytest.approx(
        float(0.5 * (outputs - wanted).square().mean()), rel=1e-5
    )
    given_along = torch.from_numpy(scores_of(targets.numpy(), 2))
    wanted = (given_along - y.mean()) / y.std(correction=0)
    assert float(robust.loss(outputs, targets)) == pytest.approx(
        float(0.5 * (outputs - wanted).square().mean()), rel=1e-5
    )


def test_less_may_be_better():
    task, _, targets, _ = task_and_targets(400, maximise=False)
    p = np.tile([1.0, 2.0], (400, 1))
    assert task.metrics[0].higher_is_better is False
    assert task.metrics[0](targets.numpy(), p)[0] == pytest.approx(scores_of(targets.numpy(), 2)[:, 0].mean())
    assert task.prediction_rows(p[:1], None)[0]["prediction"] == "none"


def test_predictions_detail_facts_and_heads():
    task, _, targets, _ = task_and_targets(400)
    task = task.settled(targets)
    p = np.c_[np.full(400, 30.0), 30 + np.linspace(-1, 2, 400)]
    row = task.prediction_rows(p[-1:], None)[0]
    assert row == {"prediction": "drug", "outcome": {"none": 30.0, "drug": 32.0}, "effect": {"drug": 2.0}}
    detail = task.detail(Evidence(targets.numpy(), p, targets.numpy(), p, 400, 11))
    assert detail["charts"][0]["bars"] == ["as the model recommends", "none for all", "drug for all"]
    assert detail["tables"][0]["rows"] == [["none", 134], ["drug", 266]]
    assert len(detail["charts"][1]["series"][0]["points"]) == 5
    assert sum(task.facts(targets)["arms"].values()) == 400
    assert 0.5 < task.facts(targets)["overlap"]["share"] <= 1
    assert Treatment(**task.info().options).info() == task.info()
    assert task.takes_head(Treatment(ARMS, scale=(1.0, 2.0)).info())
    assert not task.takes_head(Treatment(["a", "b"]).info())
    assert task.trivial(targets)[1] == pytest.approx(float(targets[targets[:, 0] == 1, 1].mean()))


def test_refusals():
    task, _, targets, _ = task_and_targets(100)
    ids = [str(i) for i in range(100)]
    task.check(targets, ids)
    bad = targets.clone()
    bad[0, 0] = 2
    with pytest.raises(DataError, match="TL-DATA-TARGET"):
        task.check(bad, ids)
    bad = targets.clone()
    bad[:60, 2], bad[:60, 3] = 0.99, 0.01
    with pytest.raises(DataError, match="TL-DATA-OVERLAP"):
        task.check(bad, ids)
    with pytest.raises(DataError, match="TL-DATA-ARM-SMALL"):
        task.check_labelled(targets[targets[:, 0] == 0])
