"""A split of the user's of rows of numbers: an array of words, or a file for each side."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from tlplat.arrays.backbone import as_source
from tlplat.arrays.domain import ArrayOptions, Arrays
from tlplat.arrays.rows import read
from tlplat.data.quality import problems
from tlplat.domain import DataOptions, DomainContext, TargetTask
from tlplat.errors import DataError
from tlplat.registry import Registry

SIDES = np.array(["train"] * 6 + ["val"] * 4 + ["Test"] * 5)
X = np.random.default_rng(0).normal(size=(15, 3)).astype(np.float32)
Y = np.array(["no", "yes", "no"] * 5)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


@pytest.fixture
def made(tmp_path):
    """The target of files of arrays: ``made({"x": ...}, {...}, split="fold") -> TargetTask``."""

    def target(*files: dict[str, np.ndarray], split: str | None = None) -> TargetTask:
        paths: list[Path] = []
        for i, arrays in enumerate(files):
            paths.append(tmp_path / f"{i}.npz")
            np.savez(paths[-1], **arrays)
        data = DataOptions(
            paths[0],
            split=split,
            val_data=paths[1] if len(paths) > 2 else None,
            test_data=paths[-1] if len(paths) > 1 else None,
        )
        source = as_source(network(), network, torch.from_numpy(X), "2", Registry())
        return Arrays().target(ArrayOptions(), data, source, DomainContext(Registry(), tmp_path))

    return target


def test_an_array_and_files_say_the_same(made):
    whole = {"x": X, "y": Y, "fold": SIDES}
    parts = [{"x": X[a:b], "y": Y[a:b]} for a, b in ((0, 6), (6, 10), (10, 15))]
    for found in (made(whole, split="fold"), made(*parts)):
        assert torch.equal(found.test.inputs.take(torch.arange(5)), torch.from_numpy(X[10:]))
        assert found.pool.validation.tolist() == [False] * 6 + [True] * 4
        assert found.task.info().labels == ("no", "yes")
        assert found.pool.targets.tolist() == [0, 1, 0] * 3 + [0]
    assert found.test.ids[0] == "2.npz, row 0"
    assert found.data_card["split"] == "5 of 15 rows set apart, as said by the files given"


def test_groups_of_one_name_are_one_group_in_all_files(made):
    """Files number them apart: a group on both sides must not slip through."""
    train = {"x": X[:10], "y": Y[:10], "groups": np.array([f"p{i // 2}" for i in range(10)])}
    test = {"x": X[10:], "y": Y[10:], "groups": np.array(["q1", "q1", "q2", "q2", "p3"])}
    found = made(train, test)
    (error,) = problems(found.pool, found.test, found.task)
    assert (error.code, "1 groups" in error.message) == ("TL-LEAK-GROUP", True)


@pytest.mark.parametrize(
    ("files", "split", "code", "said"),
    [
        ([{"x": X, "y": Y}], "fold", "TL-DATA-COLUMN", "holds no array fold"),
        ([{"x": X, "y": Y, "fold": SIDES[1:]}], "fold", "TL-DATA-COLUMN", "14 entries beside 15 rows"),
        ([{"x": X, "y": Y, "fold": np.arange(15)}], "fold", "TL-DATA-SPLIT", "in the array 'fold'"),
        ([{"x": X, "y": Y}, {"x": X + 1}], None, "TL-DATA-COLUMN", "y is words of shape .rows. and none"),
        ([{"x": X, "y": Y}, {"x": X[:, :2], "y": Y}], None, "TL-DATA-COLUMN", "x is .* .rows, 3. and .* .rows, 2."),
        ([{"x": X, "y": Y}, {"x": X, "y": np.arange(15)}], None, "TL-DATA-COLUMN", "words .* and whole numbers"),
        ([{"x": X, "y": Y}, {"x": X * np.nan, "y": Y}], None, "TL-DATA-NONFINITE", "row 0"),
    ],
)
def test_what_is_no_split(made, files, split, code, said):
    with pytest.raises(DataError) as caught:
        made(*files, split=split)
    assert caught.value.code == code
    assert re.search(said, caught.value.render()), caught.value.render()


def test_classes_that_a_file_names_are_joined_by_name_and_kept_in_its_order(tmp_path):
    y = np.array([2, 0, 2], dtype=np.int64)
    for name, classes in (("a", '["z", "y", "x"]'), ("b", '["x", "z"]')):
        save_file(
            {"x": X[:3], "y": y if name == "a" else y // 2}, tmp_path / f"{name}.safetensors", {"classes": classes}
        )
    alone = read(tmp_path / "a.safetensors")
    assert (alone.classes, alone.y.tolist()) == (("z", "y", "x"), [2, 0, 2])
    both = read(tmp_path / "a.safetensors", [tmp_path / "b.safetensors"])
    assert [both.classes[i] for i in both.y] == ["x", "z", "x", "z", "x", "z"]
    save_file({"x": X[:3], "y": y}, tmp_path / "c.safetensors", {"classes": '["x", "z"]'})
    with pytest.raises(DataError, match="numbers other classes"):
        read(tmp_path / "c.safetensors")
