"""Labels from titles and tables; what is wrong with them is named."""

from __future__ import annotations

import pytest
from tlplat_genomics.labels import encode_labels, header_value, need_labels, table_labels
from tlplat_genomics.sequence import Record
from tlplat_genomics.strict import Limits

from tlplat.errors import DataError


@pytest.mark.parametrize(
    ("title", "label"),
    [
        (("a", "label=start rest"), "start"),
        (("a|start", ""), "start"),
        (("a", "start"), "start"),
        (("a", ""), None),
        (("a", "two words"), None),
        (("a", "label="), None),
        (("a", "organism=x"), None),
    ],
)
def test_header_forms(title, label):
    assert header_value(Record(*title, b"ACGT")) == label


def test_header_key():
    assert header_value(Record("a", "label=x group=7", b"A"), "group") == "7"
    assert header_value(Record("a", "x", b"A"), "group") is None


@pytest.mark.parametrize(
    ("text", "target"),
    [("id,label\na,x\nb,y\n", None), ("name,kind\na,x\nb,y\n", None), ("k,id,j\n0,a,x\n0,b,y\n", "j")],
)
def test_table(write, text, target):
    assert table_labels(write("l.csv", text), target, Limits())[0] == {"a": "x", "b": "y"}


def test_table_clash_and_column(write):
    with pytest.raises(DataError, match="two labels"):
        table_labels(write("l.csv", "id,label\na,x\na,y\n"), None, Limits())
    with pytest.raises(DataError) as caught:
        table_labels(write("l.csv", "id,label\na,x\n"), "labl", Limits())
    assert caught.value.code == "TL-DATA-COLUMN"
    assert "did you mean 'label'" in str(caught.value)


def test_missing():
    with pytest.raises(DataError) as caught:
        need_labels(["x"] * 97 + [None] * 3, [f"s{i}" for i in range(100)], "labels.csv")
    assert caught.value.code == "TL-DATA-LABEL-MISSING"
    assert "3 of 100" in str(caught.value)
    assert "s97" in str(caught.value)


def ids(labels) -> list[str]:
    return [f"row {i}" for i in range(len(labels))]


def test_names_numbers_and_known_order():
    task, targets = encode_labels(["b", "a", "b"], ids("aba"))
    assert (task.labels, targets.tolist()) == (("a", "b"), [1, 0, 1])
    task, targets = encode_labels(["10", "2", "10"], ids("aba"))
    assert (task.labels, targets.tolist()) == (("2", "10"), [1, 0, 1])
    task, targets = encode_labels(["1.0", "0", "1"], ids("aba"))
    assert (task.labels, targets.tolist()) == (("0", "1"), [1, 0, 1])
    task, targets = encode_labels(["start", "decoy"], ids("ab"), known=("start", "decoy"))
    assert (task.labels, targets.tolist()) == (("start", "decoy"), [0, 1])


@pytest.mark.parametrize(
    ("labels", "classes", "code", "words"),
    [
        ([str(i) for i in range(10)], 9, "TL-DATA-LABEL-RANGE", ["9", "[0, 9)", "row"]),
        (["0", "-1", "1"], None, "TL-DATA-LABEL-RANGE", ["-1", "row"]),
        (["-100", "-100"], None, "TL-DATA-EMPTY", ["ignore_index"]),
        (["0.0", "1.5"], None, "TL-DATA-LABEL-TYPE", ["1.5", "integer"]),
        (["nan", "1"], None, "TL-DATA-LABEL-TYPE", ["nan"]),
        (["a", "a"], None, "TL-DATA-ONE-CLASS", ["at least two classes"]),
    ],
)
def test_refusals(labels, classes, code, words):
    with pytest.raises(DataError) as caught:
        encode_labels(labels, ids(labels), classes=classes)
    assert caught.value.code == code
    assert all(word in str(caught.value) for word in words)
