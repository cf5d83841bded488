"""Patients and sites are kept whole, in proportion; what cannot be split is refused."""

from __future__ import annotations

import numpy as np
import pytest
from tlplat_medicine.split import check_given, linked, numbered, split_patients, split_sites

from tlplat.errors import DataError


def cohort(n=300, visits=3, sites=8, seed=0):
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(n // visits), visits)
    strata = (rng.random(n // visits) < 0.3).astype(np.int64)[patients]
    return patients, patients % sites, strata


def test_patients_are_whole_and_classes_in_proportion():
    patients, _, strata = cohort()
    split = split_patients(patients, strata, 0)
    assert not set(patients[split.test]) & set(patients[~split.test])
    assert split.test.mean() == pytest.approx(0.3, abs=0.02)
    assert strata[split.test].mean() == pytest.approx(strata[~split.test].mean(), abs=0.03)
    assert (split.groups == patients).all()
    assert (split_patients(patients, strata, 0).test == split.test).all()
    assert (split_patients(patients, strata, 1).test != split.test).any()


def test_a_patient_with_rows_of_two_classes_counts_for_the_rarer():
    patients = np.array([0, 0, 1, 1, 2, 2, *range(3, 40)])
    strata = np.array([1, 0, 1, 0, 1, 0, *[0] * 37])
    split = split_patients(patients, strata, 0)
    assert strata[split.test].sum() == 1
    assert strata[~split.test].sum() == 2


def test_sites_are_whole_and_kept_whole_in_folds_where_there_are_enough():
    patients, sites, strata = cohort()
    split = split_sites(sites, patients, strata, 0)
    assert not set(sites[split.test]) & set(sites[~split.test])
    assert split.test.mean() == pytest.approx(0.3, abs=0.1)
    assert len(np.unique(split.groups)) == 8
    assert split.report["folds_keep_whole"] == "sites"
    few = split_sites(patients % 3, patients, strata, 0)
    assert few.report["folds_keep_whole"] == "patients"
    assert (few.groups == patients).all()


def test_sites_that_share_a_patient_are_one():
    patients = np.array([0, 0, 1, 2, 3, 4, 5, 6, 7, 8])
    sites = np.array([0, 1, 0, 1, 2, 2, 2, 3, 3, 3])
    assert linked(sites, patients).tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert numbered(["b", "a", "b"]).tolist() == [0, 1, 0]
    with pytest.raises(DataError, match="TL-DATA-SITE"):
        split_sites(np.array([0, 1] * 5), np.zeros(10, dtype=np.int64), np.array([0, 1] * 5), 0)


def test_a_class_that_one_site_holds_alone_cannot_be_split():
    sites = np.repeat([0, 1, 2], 20)
    with pytest.raises(DataError, match="TL-DATA-SITE"):
        split_sites(sites, np.arange(60), (sites == 0).astype(np.int64), 0)


def test_a_given_split_is_checked():
    strata = np.array([0, 1, 0, 1, 0, 1])
    last, places = np.arange(6) >= 4, [f"row {i + 1}" for i in range(6)]
    split = check_given(np.array([0, 1, 2, 3, 4, 5]), last, strata, places)
    assert split.test.tolist() == [False] * 4 + [True] * 2
    with pytest.raises(DataError, match=r"TL-LEAK-GROUP[\s\S]*count 1[\s\S]*row 2 and row 5"):
        check_given(np.array([0, 1, 2, 3, 1, 5]), last, strata, places)
    with pytest.raises(DataError, match="TL-DATA-CLASS-SMALL"):
        check_given(np.arange(6), last, np.array([0, 1, 0, 1, 0, 0]), places)
    with pytest.raises(DataError, match="TL-DATA-CLASS-SMALL"):
        split_patients(np.arange(10), np.array([1, 1, *[0] * 8]), 0)
