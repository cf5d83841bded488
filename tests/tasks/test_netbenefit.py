"""Net benefit against what its definition says, by hand; and what the report is given."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tlplat.tasks.base import Evidence
from tlplat.tasks.classification import Classification
from tlplat.tasks.netbenefit import by_time, decision_curve, net_benefit, observed
from tlplat.tasks.survival import Survival


def test_by_hand():
    """100 rows, 30 with the event; 40 are acted on, 25 of them rightly, at a threshold of 20 %."""
    event = np.arange(100) < 30
    acted = (np.arange(100) >= 5) & (np.arange(100) < 45)
    assert net_benefit(acted, observed(event), 0.2) == pytest.approx(25 / 100 - 15 / 100 * 0.2 / 0.8)
    assert net_benefit(np.ones(100, bool), observed(event), 0.5) == pytest.approx(0.3 - 0.7)
    assert net_benefit(np.zeros(100, bool), observed(event), 0.5) == 0.0


def lines(chart):
    return {s["name"]: dict(map(tuple, s["points"])) for s in chart["series"]}


def test_a_perfect_model_gains_the_prevalence_and_all_meets_none_there():
    event = np.arange(200) % 4 == 0
    found = lines(decision_curve(event.astype(float), observed(event), "x"))
    assert set(found["by the model"].values()) == {0.25}
    assert found["act on all"][0.25] == pytest.approx(0.0, abs=1e-12)
    assert min(found["act on all"].values()) >= -0.05
    assert set(found["act on none"].values()) == {0.0}


def test_thresholds_that_few_rows_pass_are_not_shown():
    event, probability = np.arange(100) >= 50, np.arange(100) / 100
    whole = lines(decision_curve(probability, observed(event), "x"))["by the model"]
    shown = lines(decision_curve(probability, observed(event), "x", least=11))["by the model"]
    assert max(shown) == 0.89
    assert max(whole) > max(shown)
    assert all(whole[t] == v for t, v in shown.items())


def test_without_censoring_time_is_as_good_as_the_event_and_censoring_is_allowed_for():
    rng = np.random.default_rng(0)
    time = rng.exponential(2.0, 20000)
    acted = rng.random(20000) < 0.4
    event = np.ones(20000, bool)
    truth = net_benefit(acted, observed(time <= 1.0), 0.3)
    assert net_benefit(acted, by_time(time, event, 1.0), 0.3) == pytest.approx(truth)
    watched = rng.exponential(2.0, 20000)
    seen, known = np.minimum(time, watched), time <= watched
    assert net_benefit(acted, by_time(seen, known, 1.0), 0.3) == pytest.approx(truth, abs=0.01)
    assert abs(net_benefit(acted, observed((seen <= 1.0) & known), 0.3) - truth) > 0.02


def evidence(y, p, least=1):
    return Evidence(y, p, y, p, len(y), least)


def test_reports_get_it_where_the_task_says_that_somebody_acts():
    y = np.arange(80) % 2
    p = np.stack([1 - (0.2 + 0.6 * y), 0.2 + 0.6 * y], axis=1)
    asked = Classification(["well", "ill"], decisions=True)
    (chart,) = asked.detail(evidence(y, p))["charts"]
    assert "ill" in chart["title"]
    assert "charts" not in Classification(["well", "ill"]).detail(evidence(y, p))
    assert "decisions" not in Classification(["well", "ill"]).info().options
    assert Classification(**asked.info().options).decisions


def test_survival_draws_it_at_its_horizon():
    torch.manual_seed(0)
    x = torch.randn(90, 1)
    time = torch.exp(-x[:, 0]) * torch.rand(90) + 0.01
    y = torch.stack([time, torch.ones(90)], dim=1).double()
    task = Survival(times=[0.2, 0.5, 1.0], horizon=0.5).settled(y)
    titles = [c["title"] for c in task.detail(evidence(y.numpy(), task.decode(x)))["charts"]]
    assert titles[1:] == ["Decision curve: the event within 0.5 days"]
    assert Survival(**task.info().options).horizon == 0.5
    with pytest.raises(ValueError, match="horizon"):
        Survival(times=[1.0], horizon=2.0)
