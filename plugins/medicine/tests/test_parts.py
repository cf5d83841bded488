"""Pseudo-observations of time, columns that give the outcome away, and what is not kept of a table."""

from __future__ import annotations

import numpy as np
import pytest
from tlplat_medicine.leaks import check_leaks
from tlplat_medicine.outcomes import Outcome
from tlplat_medicine.privacy import naming_columns, private_encoder, rare_columns
from tlplat_medicine.restricted import restricted_means

from tlplat.errors import DataError
from tlplat.tasks.durations import kaplan_meier


def area(time, event, horizon):
    """The area under the Kaplan-Meier curve up to the horizon, on a fine grid."""
    moments = np.unique(np.r_[0.0, time[event & (time < horizon)], horizon])
    return float((kaplan_meier(time, event, moments[:-1]) * np.diff(moments)).sum())


def watched(n, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    time, until = rng.exponential(2.0, n), rng.uniform(0.5, 5.0, n)
    seen = np.minimum(time, until)
    return (np.ceil(seen * 3) / 3 if ties else seen), time <= until


@pytest.mark.parametrize("ties", [False, True])
def test_pseudo_observations_are_those_of_leaving_each_row_out(ties):
    time, event = watched(60, ties=ties)
    found = restricted_means(time, event, 2.5)
    whole = area(time, event, 2.5)
    for i in range(60):
        others = np.arange(60) != i
        assert found[i] == pytest.approx(60 * whole - 59 * area(time[others], event[others], 2.5))


def test_without_censoring_they_are_the_times_and_with_it_their_mean_is_right():
    rng = np.random.default_rng(1)
    time = rng.exponential(2.0, 4000)
    np.testing.assert_allclose(restricted_means(time, np.ones(4000, bool), 3.0), np.minimum(time, 3.0), atol=1e-8)
    seen, event = watched(4000, seed=2)
    truth = 2.0 * (1 - np.exp(-3.0 / 2.0))
    assert restricted_means(seen, event, 3.0).mean() == pytest.approx(truth, abs=0.05)
    assert abs(np.minimum(seen, 3.0).mean() - truth) > 0.2


def outcome(n=60, **more):
    strata = np.arange(n) % 2
    return Outcome(("y",), strata, names=("well", "ill"), **more)


def refused(values, found):
    with pytest.raises(DataError, match="TL-LEAK-TARGET"):
        check_leaks({"x": values}, found, lambda said: None)


def test_the_outcome_in_other_words_is_found():
    y = outcome()
    refused(np.array(["a", "b"] * 30, dtype=object), y)
    refused(np.where(np.arange(60) % 2 == 1, 3.0, -1.0), y)
    holes = np.array(["a", "b"] * 30, dtype=object)
    holes[:3] = None
    refused(holes, y)
    time = np.linspace(1, 9, 60)
    refused(time / 7 + 2, outcome(time=time))
    refused(-time, outcome(value=time))


def test_columns_that_only_tell_much_are_left_and_perfect_ones_are_told():
    rng = np.random.default_rng(0)
    said: list[str] = []
    y = outcome()
    noisy = np.array(["a", "b"] * 30, dtype=object)
    noisy[0] = "b"
    check_leaks({"noisy": noisy, "age": rng.normal(size=60), "flat": np.ones(60)}, y, said.append)
    assert said == []
    check_leaks({"marker": rng.random(60) + 5 * y.strata}, y, said.append)
    assert "marker" in said[0]
    with pytest.raises(DataError, match="TL-DATA-OVERLAP"):
        check_leaks({"marker": rng.random(60) + 5 * y.strata}, outcome(arm=y.strata), said.append)


def test_columns_that_name_a_person_are_found_by_name_and_by_content():
    numbers = [str(i) for i in range(40)]
    texts = {
        "Patient Name": ["x"] * 40,
        "DOB": ["1949-02-17"] * 40,
        "zip": ["1"] * 40,
        "visit_id": numbers,
        "platelets": numbers,
        "nodes": ["1"] * 40,
        "number": ["1"] * 40,
    }
    assert set(naming_columns(texts)) == {"Patient Name", "DOB", "zip", "visit_id"}


def test_what_fewer_than_eleven_patients_have_is_not_kept():
    stage = np.array(["I"] * 20 + ["II"] * 11 + ["IV"] * 10, dtype=object)
    words = np.array([f"w{i % 9}" for i in range(41)], dtype=object)
    rare = np.full(41, np.nan)
    rare[:10] = 1.0
    assert set(rare_columns({"stage": stage, "words": words, "rare": rare})) == {"words", "rare"}
    encoder = private_encoder({"stage": stage})
    assert encoder.columns[0].categories == ("I", "II")
    assert encoder.encode({"stage": np.array(["IV"], dtype=object)}).tolist() == [[0.0, 0.0]]
