"""KS and costs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp
from tlplat_finance.scoring import bayes_cut, closer_look, expected_cost, ks


def test_ks_is_that_of_scipy():
    rng = np.random.default_rng(0)
    bad = rng.random(300) < 0.3
    risk = np.round(np.where(bad, rng.beta(3, 2, 300), rng.beta(2, 3, 300)), 2)
    assert ks(bad, risk) == pytest.approx(ks_2samp(risk[bad], risk[~bad]).statistic)
    assert ks(bad, bad.astype(float)) == 1.0
    assert np.isnan(ks(np.ones(3, dtype=bool), np.arange(3.0)))


def test_costs_of_decisions():
    bad, risk = np.array([True, True, False, False]), np.array([0.9, 0.1, 0.6, 0.2])
    assert expected_cost(bad, risk, 0.5, 5) == (5 + 1) / 4
    assert expected_cost(bad, risk, 0.0, 5) == 2 / 4
    assert expected_cost(bad, risk, 1.1, 5) == 10 / 4
    assert bayes_cut(5) == pytest.approx(1 / 6)


def test_the_bayes_cut_is_cheapest_for_true_probabilities():
    rng = np.random.default_rng(0)
    risk = rng.random(200_000)
    bad = rng.random(200_000) < risk
    costs = {c: expected_cost(bad, risk, c, 4) for c in (0.1, 0.2, 0.3)}
    assert min(costs, key=costs.__getitem__) == 0.2


def test_the_report_says_what_all_alike_would_cost():
    bad, risk = np.arange(10) < 3, np.linspace(0.9, 0.1, 10)
    found = closer_look(bad, risk, 5, "bad")
    (table,) = found["tables"]
    (values,) = table["rows"]
    row = dict(zip(table["columns"], values, strict=True))
    assert row["all alike"] == pytest.approx(0.7)
    assert row["bad"] == pytest.approx(0.3)
    assert row["KS"] == 1.0
    assert row["bad if accepted"] == 0.0
    assert max(y for _, y in found["charts"][1]["series"][0]["points"]) == pytest.approx(1.0)
