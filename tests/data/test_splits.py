import dataclasses

import numpy as np
import pytest
import torch

from tlplat.data import splits
from tlplat.data.examples import Examples, TensorInputs
from tlplat.data.splits import draw_labels, folds, inner_folds, stratified
from tlplat.errors import DataError, UsageError
from tlplat.tasks.classification import Classification
from tlplat.tasks.regression import Regression

TASK = Classification(["a", "b"])


def pool(n=300, groups=None, share=0.25, seed=0):
    y = torch.zeros(n, dtype=torch.int64)
    y[: int(n * share)] = 1
    y = y[torch.from_numpy(np.random.default_rng(seed).permutation(n))]
    return Examples(TensorInputs(torch.arange(n).float()[:, None]), y, [f"r{i}" for i in range(n)], groups=groups)


def test_labels_are_stratified_unique_and_a_function_of_data_seed():
    drawn = draw_labels(pool(), 40, 3, TASK)
    assert len(drawn) == len(set(drawn.ids)) == 40
    assert int(drawn.targets.sum()) == 10
    assert draw_labels(pool(), 40, 3, TASK).ids == drawn.ids
    assert draw_labels(pool(), 40, 4, TASK).ids != drawn.ids
    assert len(draw_labels(pool(), None, 0, TASK)) == 300


def test_groups_are_spread_before_one_is_used_twice():
    groups = torch.arange(300) // 3
    drawn = draw_labels(pool(groups=groups), 60, 0, TASK)
    assert len(set(drawn.groups.tolist())) >= 55


def test_too_many_labels_and_too_small_classes_are_refused():
    with pytest.raises(UsageError, match="TL-LABELS-TOO-MANY"):
        draw_labels(pool(), 301, 0, TASK)
    with pytest.raises(DataError, match=r"class 'b' has 1 sample.*needs"):
        draw_labels(pool(share=1 / 300), None, 0, TASK)


@pytest.mark.parametrize("grouped", [False, True])
def test_folds_partition_the_rows_and_keep_groups_together(grouped):
    data = pool(64, groups=torch.arange(64) // 2 if grouped else None)
    made = folds(data, 1, TASK)
    assert sorted(torch.cat([f.validation for f in made]).tolist()) == list(range(64))
    for fold in made:
        assert not set(fold.train.tolist()) & set(fold.validation.tolist())
        assert len(fold.train) + len(fold.validation) == 64
        assert data.targets[fold.validation].sum() > 0
        if grouped:
            assert not set(data.groups[fold.train].tolist()) & set(data.groups[fold.validation].tolist())


def test_from_200_rows_on_there_is_one_hold_out_of_a_fifth():
    made = folds(pool(200), 0, TASK)
    assert len(made) == 1
    assert len(made[0].validation) == 40
    assert len(folds(pool(199), 0, TASK)) == 4


def test_folds_depend_on_the_seed_alone():
    a, b, c = (folds(pool(64), s, TASK)[0].validation for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def series(n, window=5, horizon=2):
    """Rows in shuffled order, each of ``window`` past and ``horizon`` coming moments."""
    start = torch.from_numpy(np.random.default_rng(0).permutation(n))
    spans = torch.stack([start, start + window + horizon - 1], dim=1)
    return dataclasses.replace(pool(n), spans=spans)


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_of_time_are_parted_in_blocks_without_shared_moments(seed):
    data = series(100)
    made = folds(data, seed, TASK)
    assert len(made) == 4
    assert sorted(torch.cat([f.validation for f in made]).tolist()) == list(range(100))
    latest = data.spans[made[0].validation, 0].min()
    for fold in made:
        inside, outside = data.spans[fold.validation], data.spans[fold.train]
        assert len(inside) == 25
        assert int(inside[:, 0].max() - inside[:, 0].min()) == 24
        overlap = (outside[:, :1] <= inside[:, 1]) & (outside[:, 1:] >= inside[:, 0])
        assert not overlap.any()
        gone = 100 - len(fold.validation) - len(fold.train)
        assert gone == (6 if fold is made[0] or fold is made[-1] else 12)
        assert latest >= inside[:, 0].min()


def test_the_hold_out_of_a_series_is_its_end():
    data = series(300)
    (fold,) = folds(data, 0, TASK)
    assert len(fold.validation) == 60
    assert int(data.spans[fold.validation, 0].min()) == 240
    assert int(data.spans[fold.train, 1].max()) < 240


def test_a_series_whose_rows_all_overlap_is_refused():
    with pytest.raises(DataError, match="TL-DATA-SPANS"):
        folds(series(20, window=40), 0, TASK)
    assert series(20).select(torch.tensor([3])).spans.shape == (1, 2)


def test_a_head_is_chosen_on_blocks_of_time_not_on_neighbours():
    """A slow wave that the features do not hold: neighbours give it away, later blocks do not."""
    data = series(240)
    assert inner_folds(pool(40), TASK) == {}
    fold = inner_folds(data, TASK)["fold"]
    ends = data.spans[:, 1]
    assert [int(ends[fold == k].max()) + 1 for k in range(4)] == [int(ends[fold == k].min()) for k in range(1, 5)]
    moment = data.spans[:, 0].double()
    wave = torch.sin(moment / 12)
    features = torch.stack([torch.cos(moment * k / 40 + k) for k in range(30)], dim=1)
    task = Regression().settled(wave)
    dealt, blocks = (task.fit_head(features, wave, options) for options in ({}, {"fold": fold}))
    assert blocks.chosen["weight_decay"] > dealt.chosen["weight_decay"]
    assert blocks.validation_loss > 2 * dealt.validation_loss


def visits(patients, rows_each, seed=0):
    """Rows of patients, in shuffled order, with each patient's own number as the group."""
    member = torch.arange(patients).repeat_interleave(rows_each)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(member)))
    return dataclasses.replace(pool(len(member)), groups=member[order])


def test_a_patients_rows_are_in_one_inner_fold_and_folds_are_stratified():
    data = visits(30, 4)
    fold = inner_folds(data, TASK)["fold"]
    assert all(len(fold[data.groups == g].unique()) == 1 for g in range(30))
    assert torch.bincount(fold).tolist() == [24] * 5
    positive = torch.bincount(fold[data.targets == 1], minlength=5)
    assert int(positive.max() - positive.min()) <= 4
    assert torch.equal(fold, inner_folds(data, TASK)["fold"])
    assert inner_folds(data.select(torch.nonzero(data.groups == 3).flatten()), TASK) == {}
    alone = dataclasses.replace(data, groups=torch.arange(120))
    assert inner_folds(alone, TASK) == {}
    assert int(inner_folds(visits(3, 8), TASK)["fold"].max()) == 2


def test_a_head_is_chosen_on_other_patients_not_on_other_rows_of_the_same():
    """Features that tell patients apart, and targets that are each patient's own: rows dealt out give them away."""
    data = visits(24, 5)
    rng = np.random.default_rng(1)
    z = torch.from_numpy(rng.normal(size=(24, 60)))[data.groups] + 0.1 * torch.from_numpy(rng.normal(size=(120, 60)))
    own = torch.from_numpy(rng.normal(size=24))[data.groups]
    task = Regression().settled(own)
    dealt, whole = (task.fit_head(z, own, options) for options in ({}, inner_folds(data, task)))
    assert whole.chosen["weight_decay"] > dealt.chosen["weight_decay"]
    assert whole.validation_loss > 2 * dealt.validation_loss


def test_many_groups_are_dealt_out_at_once_whole_and_alike(monkeypatch):
    monkeypatch.setattr(splits, "MANY_GROUPS", 100)
    rng = np.random.default_rng(0)
    strata = (rng.random(2000) < 0.2).astype(np.int64)
    groups = np.arange(2000)
    groups[1500:] = rng.integers(0, 60, 500)
    made = stratified(strata, groups, 5, 3)
    assert sorted(np.concatenate([fold.validation for fold in made]).tolist()) == list(range(2000))
    for fold in made:
        assert not set(groups[fold.train]) & set(groups[fold.validation])
        assert abs(len(fold.validation) - 400) < 20
        assert abs(strata[fold.validation].mean() - strata.mean()) < 0.02
    assert torch.equal(made[4].validation, stratified(strata, groups, 5, 3)[4].validation)
    assert not torch.equal(made[0].validation, stratified(strata, groups, 5, 4)[0].validation)
