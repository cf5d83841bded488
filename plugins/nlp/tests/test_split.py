"""Splits keep near-copies and groups on one side."""

from __future__ import annotations

import numpy as np
import pytest
from tlplat_nlp.folder import read_folder
from tlplat_nlp.preprocess import TextPreprocess
from tlplat_nlp.rows import Rows
from tlplat_nlp.split import check_split, split_rows

from tlplat.errors import DataError


@pytest.fixture
def encoded(encoder_folder):
    found = read_folder(encoder_folder)
    return lambda texts, width=64: TextPreprocess(found.tokenizer, found.pad, width).encode(texts)[0]


def rows_of(reviews, groups=None):
    texts, labels = [t for t, _ in reviews], [label for _, label in reviews]
    return Rows([f"row {i}" for i in range(len(texts))], texts, labels, groups or [None] * len(texts))


def strata(rows):
    return np.array([label == "pos" for label in rows.labels], dtype=np.int64)


def test_share_and_classes_are_kept(reviews, encoded):
    rows = rows_of(reviews(200))
    split = split_rows(rows, encoded(rows.texts), strata(rows), 0.3, 0)
    assert abs(split.test.mean() - 0.3) < 0.02
    assert abs(strata(rows)[split.test].mean() - 0.5) < 0.03
    assert split.report["near_copies_across_the_split"] == 0
    again = split_rows(rows, encoded(rows.texts), strata(rows), 0.3, 0)
    assert np.array_equal(split.test, again.test)
    assert not np.array_equal(split.test, split_rows(rows, encoded(rows.texts), strata(rows), 0.3, 1).test)


def test_copies_groups_and_texts_equal_once_cut_stay_together(reviews, encoded):
    texts = reviews(120)
    texts += [(text.upper() + "!", label) for text, label in texts[:40]]
    rows = rows_of(texts, [str(i % 40) for i in range(120)] + [f"new {i}" for i in range(40)])
    for seed in range(3):
        split = split_rows(rows, encoded(rows.texts), strata(rows), 0.5, seed)
        assert np.array_equal(split.test[:40], split.test[120:])
        for number in range(40):
            assert len(set(split.test[number:120:40].tolist())) == 1
    long = [("film " * 10 + word, label) for word, label in (("superb", "pos"), ("dull", "pos"))] + reviews(20)
    rows = rows_of(long)
    split = split_rows(rows, encoded(rows.texts, 8), strata(rows), 0.5, 0)
    assert split.groups[0] == split.groups[1]


def test_a_class_in_one_cluster_is_refused(reviews, encoded):
    rows = rows_of([*[r for r in reviews(40) if r[1] == "neg"], ("superb film", "pos"), ("Superb film!", "pos")])
    with pytest.raises(DataError) as caught:
        split_rows(rows, encoded(rows.texts), strata(rows), 0.3, 0)
    assert caught.value.code == "TL-DATA-CLASS-SMALL"
    assert "class 'pos' has its 2 rows" in caught.value.message


def test_a_given_split_that_leaks_is_refused(reviews, encoded):
    texts = reviews(30)
    rows = rows_of([*texts, (texts[3][0] + " !", "neg"), ("superb music", "pos")])
    test = np.arange(32) >= 30
    with pytest.raises(DataError) as caught:
        check_split(rows, encoded(rows.texts), test)
    assert caught.value.code == "TL-LEAK-DUP"
    assert "row 3" in str(caught.value.findings[0].message)
    assert check_split(rows, encoded(rows.texts), np.arange(32) >= 31).report["near_copies_across_the_split"] == 0


def test_groups_for_some_rows_only_are_refused(reviews, encoded):
    rows = rows_of(reviews(20), ["g"] * 19 + [None])
    with pytest.raises(DataError, match="no group"):
        split_rows(rows, encoded(rows.texts), strata(rows), 0.3, 0)
