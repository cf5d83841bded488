"""Rows of several labels: a rare label, and one that nearly all rows have, is on every side in its share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tlplat.data.examples import Examples, TensorInputs
from tlplat.data.setsplits import dealt_sets, held_out_sets
from tlplat.data.splits import draw_labels, folds, inner_folds, partition
from tlplat.errors import DataError
from tlplat.tasks.classification import Classification

SHARES = (0.02, 0.1, 0.4, 0.98)
TASK = Classification(["rare", "some", "many", "most"], multi_label=True)


def sets(n=400, seed=0):
    """Labels of these shares: 8 rows have the rarest, 8 lack the commonest; they come together as they please."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(n) < round(share * n) for share in SHARES], axis=1).astype(np.int64)


def examples(n=400, groups=None, seed=0):
    y = torch.from_numpy(sets(n, seed)).float()
    return Examples(TensorInputs(torch.arange(n).float()[:, None]), y, [f"r{i}" for i in range(n)], groups=groups)


@pytest.mark.parametrize("seed", range(5))
def test_parts_have_their_size_and_their_share_of_every_label(seed):
    y = sets(seed=seed)
    part = dealt_sets(y, None, [100, 240, 60], seed)
    assert np.bincount(part).tolist() == [100, 240, 60]
    for size, inside in ((100, part == 0), (240, part == 1), (60, part == 2)):
        found, wanted = y[inside].sum(axis=0), y.sum(axis=0) * size / 400
        assert (np.abs(found - wanted) < (1, 1, 2, 2)).all(), (found, wanted)
    assert part.tolist() == dealt_sets(y, None, [100, 240, 60], seed).tolist()
    assert part.tolist() != dealt_sets(y, None, [100, 240, 60], seed + 1).tolist()


def test_groups_stay_whole_and_two_rows_of_a_label_part():
    rng = np.random.default_rng(1)
    y, groups = sets(300), rng.integers(0, 150, 300)
    y[:, 0] = 0
    y[[10, 200], 0] = 1
    groups[10], groups[200] = 500, 501
    for seed in range(10):
        test = held_out_sets(y, groups, 0.3, seed, TASK.labels)
        assert not set(groups[test]) & set(groups[~test])
        assert test[10] != test[200]
        assert abs(test.mean() - 0.3) < 0.03
    groups[200] = 500
    with pytest.raises(DataError, match=r"(?s)1 of 4 labels.*'rare'.*2 rows, 1 clusters") as caught:
        held_out_sets(y, groups, 0.3, 0, TASK.labels)
    assert caught.value.code == "TL-DATA-CLASS-SMALL"


@pytest.mark.parametrize("grouped", [False, True])
def test_folds_have_the_rare_label_each(grouped):
    data = examples(120, torch.arange(120) // 2 if grouped else None)
    data.targets[:, 0] = 0
    data.targets[3:40:9, 0] = 1
    made = folds(data, 0, TASK)
    assert sorted(torch.cat([f.validation for f in made]).tolist()) == list(range(120))
    assert [len(f.validation) for f in made] == [30] * 4
    assert all(int(data.targets[f.validation, 0].sum()) in (1, 2) for f in made)
    if grouped:
        for fold in made:
            assert not set(data.groups[fold.train].tolist()) & set(data.groups[fold.validation].tolist())


def test_the_hold_out_has_its_share_of_rare_labels():
    data = examples(400)
    (fold,) = folds(data, 3, TASK)
    assert len(fold.validation) == 80
    assert int(data.targets[fold.validation, 0].sum()) in (1, 2)
    assert int((1 - data.targets[fold.validation, 3]).sum()) in (1, 2)


def test_one_combination_of_its_own_does_not_make_folds_fewer():
    data = examples(60)
    assert len(torch.unique(data.targets, dim=0, return_counts=True)[1]) > 4
    assert len(partition(data, 0, TASK, 4)) == 4


def test_labels_are_drawn_in_their_share_and_over_groups():
    data = examples(400, torch.arange(400) // 2)
    drawn = draw_labels(data, 100, 0, TASK)
    assert len(set(drawn.ids)) == len(set(drawn.groups.tolist())) == 100
    assert int(drawn.targets[:, 0].sum()) in (2, 3)
    assert draw_labels(data, 100, 0, TASK).ids == drawn.ids
    assert draw_labels(data, 100, 1, TASK).ids != drawn.ids
    with pytest.raises(DataError, match=r"(?s)fewer than 2 rows.*label 'rare'.*raise --labels") as caught:
        draw_labels(data, 30, 0, TASK)
    assert caught.value.code == "TL-DATA-CLASS-SMALL"


def test_a_label_of_all_rows_is_refused():
    data = examples(60)
    data.targets[:, 2] = 1
    with pytest.raises(DataError, match=r"at 60 of 60 rows"):
        draw_labels(data, None, 0, TASK)


def test_inner_folds_keep_groups_and_spread_labels():
    data = examples(200, torch.arange(200) // 4)
    fold = inner_folds(data, TASK)["fold"]
    assert all(len(fold[data.groups == g].unique()) == 1 for g in range(50))
    assert torch.bincount(fold).tolist() == [40] * 5
    assert int(torch.bincount(fold[data.targets[:, 1] > 0], minlength=5).max()) <= 6
