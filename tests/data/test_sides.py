"""A split of the user's: by a column or by files; what names no side, and rows of one group on both sides."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tlplat.data.examples import Examples, TensorInputs
from tlplat.data.quality import problems
from tlplat.data.sides import files_given, given_sides
from tlplat.data.splits import folds
from tlplat.domain import DataOptions
from tlplat.errors import DataError
from tlplat.tasks.classification import Classification

FILES = [Path("a"), Path("b"), Path("c")]


def place(i: int) -> str:
    return f"row {i + 1}"


def test_a_column():
    data = DataOptions(Path("x"), split="fold")
    sides = given_sides(data, [5], ["train", " VAL", "test", "validation", "Training"], place)
    assert sides.side.tolist() == [0, 1, 2, 1, 0]
    assert (sides.by, sides.test.tolist()) == ("the column fold", [False, False, True, False, False])
    assert sides.validation.tolist() == [False, True, False, True, False]
    assert given_sides(data, [2], ["train", "test"], place).validation is None
    assert given_sides(DataOptions(Path("x")), [2], [], place) is None


def test_files():
    data = DataOptions(FILES[0], val_data=FILES[1], test_data=FILES[2])
    assert files_given(data) == FILES
    assert given_sides(data, [2, 1, 3], [], place).side.tolist() == [0, 0, 1, 2, 2, 2]
    data = dataclasses.replace(data, val_data=None)
    assert files_given(data) == [FILES[0], FILES[2]]
    assert given_sides(data, [2, 3], [], place).side.tolist() == [0, 0, 2, 2, 2]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["train", "test", "holdout", None], ("2 of 4 rows", "row 3", "row 4", "train, val or test")),
        (["train", "val"], ("no test row",)),
        (["test", "test"], ("no training row", "2 test rows")),
    ],
)
def test_what_is_no_split(names, said):
    with pytest.raises(DataError) as caught:
        given_sides(DataOptions(Path("x"), split="fold"), [len(names)], names, place)
    assert caught.value.code == "TL-DATA-SPLIT"
    assert not [word for word in said if word not in caught.value.render()]
    assert "holdout" not in caught.value.render()


def test_titles_are_told_of_as_titles():
    data = DataOptions(Path("x"), split="fold")
    with pytest.raises(DataError, match="a field 'fold' of their titles") as caught:
        given_sides(data, [2], ["train", None], place, "field")
    assert caught.value.fix.startswith("write fold=train, fold=val or fold=test into every title")
    assert "--test-data" in caught.value.fix
    assert given_sides(data, [2], ["train", "test"], place, "field").by == "the field fold"


def rows(groups: list[int], validation: list[bool]) -> Examples:
    n = len(groups)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(n, 3))).float()
    y = torch.arange(n) % 2
    held = torch.tensor(validation)
    return Examples(TensorInputs(x), y, [place(i) for i in range(n)], torch.tensor(groups), validation=held)


def test_validation_rows_are_the_one_fold_and_stay_marked():
    task = Classification(["a", "b"])
    made = rows(list(range(12)), [False] * 8 + [True] * 4)
    (fold,) = folds(made, 0, task)
    assert (fold.train.tolist(), fold.validation.tolist()) == (list(range(8)), [8, 9, 10, 11])
    assert made.select(torch.tensor([9, 1])).validation.tolist() == [True, False]
    with pytest.raises(DataError, match="TL-DATA-SPLIT"):
        folds(made.select(torch.arange(8)), 0, task)
    with pytest.raises(DataError, match="TL-DATA-CLASS-SMALL"):
        folds(made.select(torch.tensor([0, 1, 2, 8, 9])), 0, task)


def test_a_group_in_training_and_validation_is_a_leak():
    task = Classification(["a", "b"])
    test = rows([90, 91, 92, 93], [False] * 4)
    test = dataclasses.replace(test, inputs=TensorInputs(test.inputs.take(torch.arange(4)) + 9), validation=None)
    sound = rows([0, 0, 1, 1, 2, 2], [False] * 4 + [True] * 2)
    assert problems(sound, test, task) == []
    (error,) = problems(rows([0, 0, 1, 1, 1, 2], [False] * 4 + [True] * 2), test, task)
    assert (error.code, "row 3 and validation row row 5" in error.render()) == ("TL-LEAK-GROUP", True)
