import pytest
import torch

from tlplat.athand import AtHand
from tlplat.batches import Batches
from tlplat.tasks.classification import Classification

TASK, CPU = Classification(["in", "out"]), torch.device("cpu")


def lent(toy, seed=0, **more):
    return AtHand(TASK, toy.rows(40, 1), toy.rows(100, 2).inputs, toy.rows(70, 3), seed, 16, **more)


def test_batches_are_functions_of_seed_and_step(toy):
    first, again = lent(toy), lent(toy)
    later = first.unlabeled_batch(17, CPU)
    for step in range(5):
        assert torch.equal(first.unlabeled_batch(step, CPU), again.unlabeled_batch(step, CPU))
        for a, b in zip(first.source_batch(step, CPU), again.source_batch(step, CPU), strict=True):
            assert torch.equal(a, b)
    assert torch.equal(again.unlabeled_batch(17, CPU), later)
    assert not torch.equal(lent(toy, seed=1).unlabeled_batch(17, CPU), later)


def test_each_epoch_covers_all_unlabelled_rows(toy):
    rows = lent(toy)
    seen = torch.cat([rows.unlabeled_batch(step, CPU) for step in range(6)])  # 100 rows in 6 parts
    assert torch.equal(seen.sort(dim=0).values, rows.unlabeled.tensor.sort(dim=0).values)


def test_labelled_rows_are_those_that_the_loop_trains_on(toy):
    rows = lent(toy, seed=5)
    order = Batches(rows.labelled, 16, 5)
    for step in (0, 1, 9):
        assert torch.equal(rows.labelled_batch(step, CPU), rows.labelled.inputs.take(order.index(step)))


def test_what_is_not_at_hand_is_said(toy):
    bare = AtHand(TASK, toy.rows(10, 1))
    with pytest.raises(ValueError, match="no unlabelled rows"):
        bare.unlabeled_batch(0, CPU)
    with pytest.raises(ValueError, match="no source rows"):
        bare.source_batch(0, CPU)
