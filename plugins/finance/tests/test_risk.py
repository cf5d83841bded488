"""Value at risk: the tests of Kupiec and Christoffersen against hand-made cases, and how often they reject."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2, norm
from tlplat_finance.risk import LEVELS, christoffersen, closer_look, kupiec, tail, tails_of


def test_kupiec_against_the_formula():
    """9 of 250 at 1 %: the statistic is 10.23, as in textbooks' tables of traffic lights."""
    hits = np.arange(250) < 9
    share = 9 / 250
    statistic = 2 * (241 * np.log((1 - share) / 0.99) + 9 * np.log(share / 0.01))
    assert kupiec(hits, 0.01) == pytest.approx(chi2.sf(statistic, 1))
    assert kupiec(hits, 0.01) < 0.01
    assert kupiec(np.arange(100) < 5, 0.05) == pytest.approx(1.0)
    assert 0 < kupiec(np.zeros(250, dtype=bool), 0.01) < 0.05


def test_christoffersen_against_the_formula():
    hits = np.array([0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0], dtype=bool)
    n00, n01, n10, n11 = 10, 3, 3, 3
    p01, p11, p = n01 / (n00 + n01), n11 / (n10 + n11), (n01 + n11) / 19
    free = n00 * np.log(1 - p01) + n01 * np.log(p01) + n10 * np.log(1 - p11) + n11 * np.log(p11)
    tied = (n00 + n10) * np.log(1 - p) + (n01 + n11) * np.log(p)
    independent, conditional = christoffersen(hits, 0.3)
    assert independent == pytest.approx(chi2.sf(2 * (free - tied), 1))
    covered = 2 * (13 * np.log((1 - p) / 0.7) + 6 * np.log(p / 0.3))
    assert conditional == pytest.approx(chi2.sf(2 * (free - tied) + covered, 2))


def test_days_in_a_row_are_found():
    spread, lumped = np.zeros(400, dtype=bool), np.zeros(400, dtype=bool)
    spread[10::20] = True
    lumped[100:120] = True
    assert kupiec(spread, 0.05) == pytest.approx(kupiec(lumped, 0.05))
    assert christoffersen(spread, 0.05)[0] > 0.1
    assert christoffersen(lumped, 0.05)[0] < 1e-6


def test_right_models_are_rarely_rejected():
    rng = np.random.default_rng(0)
    hits = rng.random((400, 1000)) < 0.05
    assert 0.02 < np.mean([kupiec(h, 0.05) < 0.05 for h in hits]) < 0.09
    assert np.mean([christoffersen(h, 0.05)[1] < 0.05 for h in hits]) < 0.1


def test_tails_are_quantiles_and_means_below_them():
    returns = np.random.default_rng(0).standard_normal(200_000)
    found = tails_of(returns)
    for level in LEVELS:
        assert tail(found, level).quantile == pytest.approx(norm.ppf(level), abs=0.03)
        assert tail(found, level).shortfall == pytest.approx(-norm.pdf(norm.ppf(level)) / level, abs=0.03)


def test_the_table_counts_days_of_each_series():
    rng = np.random.default_rng(0)
    sigma = np.full(1000, 0.01)
    returns = sigma * rng.standard_normal(1000)
    series = np.array(["A", "B"] * 500, dtype=object)
    found = closer_look(series, np.arange(1000), returns, sigma, tails_of(rng.standard_normal(10_000)))
    (table,) = found["tables"]
    assert [row[0] for row in table["rows"]] == ["A, 95 %", "B, 95 %", "A, 99 %", "B, 99 %"]
    assert all(row[1] == 500 for row in table["rows"])
    assert 10 <= table["rows"][0][3] <= 45
    doubled = closer_look(series, np.arange(1000), returns, 2 * sigma, tails_of(rng.standard_normal(10_000)))
    assert doubled["tables"][0]["rows"][0][3] < table["rows"][0][3]
