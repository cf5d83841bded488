"""Rows of numbers from memory and from files; what is refused names the row."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tlplat.arrays.rows import keep, read, rows_of
from tlplat.errors import DataError

X = np.arange(12.0).reshape(4, 3)


def test_labels_and_groups_are_numbered_and_kept(tmp_path) -> None:
    rows = rows_of(X, ["b", "a", "b", "a"], ["p2", "p1", "p1", "p9"])
    assert rows.classes == ("a", "b")
    assert rows.y is not None
    assert rows.y.tolist() == [1, 0, 1, 0]
    assert rows.groups is not None
    assert rows.groups.tolist() == [1, 0, 0, 2]
    path = keep(rows, tmp_path)
    again = read(path)
    assert again.classes == rows.classes
    assert torch.equal(again.x, rows.x)
    assert keep(rows, tmp_path) == path
    assert keep(rows_of(X + 1, ["b", "a", "b", "a"]), tmp_path) != path


def test_npz_is_read_without_pickle(tmp_path) -> None:
    np.savez(tmp_path / "rows.npz", x=X, y=np.array(["u", "v", "u", "v"]))
    rows = read(tmp_path / "rows.npz")
    assert rows.classes == ("u", "v")
    assert rows.x.dtype == torch.float32
    np.savez(tmp_path / "evil.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="cannot be read as arrays") as caught:
        read(tmp_path / "evil.npz")
    assert "pickled" in (caught.value.fix or "")


def test_numbers_keep_their_kind() -> None:
    assert rows_of(X.astype(np.uint8)).x.dtype == torch.uint8
    assert rows_of(X.astype(np.int32)).x.dtype == torch.int64
    assert rows_of(X, [0.5, 1, 2, 3]).y.dtype == torch.float64


@pytest.mark.parametrize(
    ("x", "y", "code", "said"),
    [
        ([[1.0, np.nan], [0, 1]], None, "TL-DATA-NONFINITE", "1 of 2 rows"),
        ([["a"]], None, "TL-DATA-TYPE", "not numbers"),
        ([1.0, 2.0], None, "TL-DATA-TYPE", "shape"),
        (np.zeros((0, 3)), None, "TL-DATA-EMPTY", "shape"),
        (X, [1, 2], "TL-DATA-COLUMN", "beside 4 rows"),
        (X, [1j] * 4, "TL-DATA-TYPE", "complex"),
    ],
)
def test_refusals(x, y, code, said) -> None:
    with pytest.raises(DataError, match=said) as caught:
        rows_of(x, y)
    assert caught.value.code == code


def test_files_without_rows(tmp_path) -> None:
    for name, content in (("a.npz", b""), ("b.npz", b"PK\x03\x04junk"), ("c.safetensors", b"\xff" * 20)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            read(tmp_path / name)
    np.savez(tmp_path / "d.npz", z=X)
    with pytest.raises(DataError, match="holds no array x"):
        read(tmp_path / "d.npz")
    with pytest.raises(DataError, match="is no file"):
        read(tmp_path / "absent.npz")


SETS = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0], [0, 1, 1]])


def test_a_column_a_label_is_any_number_of_labels(tmp_path) -> None:
    for y in (SETS, SETS.astype(bool), SETS.astype(np.float32), torch.from_numpy(SETS)):
        made = rows_of(X, y)
        assert made.y.dtype == torch.float32
        assert (made.y.tolist(), made.classes) == (SETS.tolist(), ())
    named = rows_of(X, SETS, classes=["a", "b", "c"])
    again = read(keep(named, tmp_path))
    assert (again.y.tolist(), again.classes) == (SETS.tolist(), ("a", "b", "c"))
    for name, classes in (("a", ["r", "g", "b"]), ("b", ["r", "g", "b"]), ("c", ["g", "r", "b"])):
        np.savez(tmp_path / f"{name}.npz", x=X, y=SETS, classes=classes)
    both = read(tmp_path / "a.npz", [tmp_path / "b.npz"])
    assert (both.classes, both.y.shape) == (("r", "g", "b"), (8, 3))
    with pytest.raises(DataError, match="other labels, or in another order"):
        read(tmp_path / "a.npz", [tmp_path / "c.npz"])
    pandas = pytest.importorskip("pandas")
    assert rows_of(X, pandas.DataFrame(SETS, columns=["u", "v", "w"])).classes == ("u", "v", "w")


@pytest.mark.parametrize(
    ("y", "classes", "code", "said"),
    [
        (SETS * 2, (), "TL-DATA-LABEL-RANGE", r"(?s)3 of 4 rows.*row 0"),
        (SETS + 0.5, (), "TL-DATA-LABEL-RANGE", "zeros and ones"),
        (SETS[:3], (), "TL-DATA-COLUMN", "beside 4 rows"),
        (SETS[:, :1], (), "TL-DATA-COLUMN", "one entry of y"),
        (SETS, ("a", "b"), "TL-DATA-COLUMN", "2 different names"),
        (SETS, ("a", "b", "a"), "TL-DATA-COLUMN", "2 different names"),
        ([["a"], ["a", "b"], [], ["b"]], (), "TL-DATA-TYPE", "MultiLabelBinarizer"),
    ],
)
def test_columns_that_are_no_labels(y, classes, code, said) -> None:
    with pytest.raises(DataError, match=said) as caught:
        rows_of(X, y, classes=classes)
    assert caught.value.code == code
