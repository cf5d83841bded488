"""Any number of labels a row: columns of yes and no, lists, a separator; and what is none of these."""

from __future__ import annotations

import pytest
import torch

from tlplat.data.labelsets import (
    LabelReader,
    guessed_separator,
    label_sets,
    named_columns,
    need_sound_flag,
    read_apart,
)
from tlplat.domain import DataOptions, title_of
from tlplat.errors import DataError, UsageError
from tlplat.tasks.classification import Classification
from tlplat.testing.toy import Toy


def made(reader, cells, known=(), told=None):
    """What the reader makes of rows, each a mapping, or a cell of its one column."""
    rows = [cell if isinstance(cell, dict) else {reader.columns[0]: cell} for cell in cells]
    labels = [reader.read(row, f"a.csv, row {i}") for i, row in enumerate(rows, 1)]
    warn = (lambda sentence: None) if told is None else told.append
    return label_sets(labels, [f"row {i}" for i in range(1, len(rows) + 1)], reader, warn, known)


def test_a_column_of_that_name_wins_over_several():
    assert named_columns("a,b", ["text", "a", "b"]) == ("a", "b")
    assert named_columns("a,b", ["text", "a", "b", "a,b"]) == ("a,b",)
    assert named_columns("a, b,a", ["a", "b"]) == ("a", "b")
    assert named_columns("a,", ["a"]) == ("a,",)


def test_columns_of_yes_and_no():
    reader = LabelReader.of("war,love", ["war", "love"])
    cells = [("1", "no"), ("TRUE", "yes"), (0, 1.0), (False, "false"), ("0.0", "1.0")]
    found = made(reader, [{"war": a, "love": b} for a, b in cells])
    assert found.names == ("war", "love")
    assert found.targets.tolist() == [[1, 0], [1, 1], [0, 1], [0, 0], [0, 1]]
    assert reader.read({"war": "1", "love": ""}, "row 1") is None
    assert reader.read({"war": None, "love": "1"}, "row 1") is None


def test_another_word_is_refused_by_row_and_column():
    reader = LabelReader.of("war,love", ["war", "love"])
    with pytest.raises(DataError, match=r"(?s)row 2, column love.*found: maybe") as caught:
        made(reader, [{"war": "1", "love": "0"}, {"war": "1", "love": "maybe"}])
    assert caught.value.code == "TL-DATA-LABEL-TYPE"
    with pytest.raises(DataError) as caught:
        LabelReader.of("war,love", [], private=True).read({"war": "1", "love": "maybe"}, "row 2")
    assert "maybe" not in caught.value.render()


def test_lists_and_a_separator_say_the_same():
    told: list[str] = []
    lists = made(LabelReader.of("tags", []), [["b", "a", "b"], [], ["a"], ["c"]], told=told)
    cells = made(LabelReader.of("tags", [], ";"), ["b; a;b;", "", "a", " c "], told=told)
    assert lists.names == cells.names == ("a", "b", "c")
    assert lists.targets.tolist() == cells.targets.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert told == ["1 of 4 rows have none of the labels in 'tags', and stay"] * 2
    made(LabelReader.of("tags", [], ";", private=True), ["b; a", "", "a", "c"], told=told)
    assert told[2] == "some rows have none of the labels in 'tags', and stay"


def test_a_sources_order_is_kept_and_numbers_are_sorted_as_numbers():
    reader = LabelReader.of("tags", [])
    assert made(reader, [["b"], ["a", "b"]], known=("b", "a")).names == ("b", "a")
    assert made(reader, [["b"], ["a", "b"]], known=("b", "a", "c")).names == ("a", "b")
    assert made(reader, [[10, 2.0], ["9"]]).names == ("2", "9", "10")
    columns = LabelReader.of("x,y", [])
    assert made(columns, [{"x": "0", "y": "1"}], known=("y", "x")).names == ("y", "x")


@pytest.mark.parametrize(
    ("cells", "code", "said"),
    [
        ([["a"], "b", ["a", "b"]], "TL-DATA-LABEL-TYPE", "row 2"),
        ([["a"], [["b"]]], "TL-DATA-LABEL-TYPE", "holds a list"),
        ([["a"], [{"name": "b"}]], "TL-DATA-LABEL-TYPE", "row 2"),
        ([["a", None]], "TL-DATA-LABEL-MISSING", "row 1"),
        ([[0.25, 1], [1, 0.5]], "TL-DATA-LABEL-TYPE", "2 labels are no integer"),
        ([[0, 1, 1], [1, 0, 0]], "TL-DATA-LABEL-TYPE", "by position"),
        ({"a": 1}, "TL-DATA-LABEL-TYPE", "holds a dict"),
    ],
)
def test_what_is_no_list_of_names(cells, code, said):
    with pytest.raises(DataError) as caught:
        made(LabelReader.of("tags", []), cells if isinstance(cells, list) else [{"tags": cells}])
    assert caught.value.code == code
    assert said in caught.value.render()


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["a;b", "b", "a|b", "b;a"], ("1 of 4 cells", "row 3", "'|'")),
        (["a", "b", "a"], ("no cell", "one name a row", "leave out")),
        (["a|b", "b|c", "c|a", "a"], ("no cell", "--label-separator '|'")),
        (["['a'; 'b']", "['b']"], ("written as text", "without brackets")),
        ([["a", "b"]], ("needs no separator", "leave out")),
    ],
)
def test_a_separator_that_is_not_the_one(cells, said):
    with pytest.raises(DataError) as caught:
        made(LabelReader.of("tags", [], ";"), cells)
    assert caught.value.code == "TL-DATA-LABEL-SEPARATOR"
    text = caught.value.render().replace("need no", "needs no")
    assert not [word for word in said if word not in text], text


def test_cells_that_look_like_lists_are_spoken_of():
    told: list[str] = []
    assert made(LabelReader.of("tags", []), ["a;b", "b;c", "a", "c;a"], told=told) is None
    assert "look like lists" in told[0]
    assert "--label-separator ';'" in told[0]
    assert guessed_separator(["good", "bad; really", "good", "bad"]) is None
    assert guessed_separator(["Smith, J", "Doe, A"]) is None
    assert read_apart(["['a', 'b']", "['b', 'c']", "['a']"]).startswith("write names alone")
    with pytest.raises(DataError, match="--label-separator"):
        Classification(["a;b", "b;c", "c;a"]).check_labelled(torch.tensor([0, 1, 2]))


def test_the_flag_where_it_has_no_use(tmp_path):
    need_sound_flag(DataOptions(tmp_path), Toy())
    with pytest.raises(UsageError, match="needs --data"):
        need_sound_flag(DataOptions(label_separator=";"), Toy())
    with pytest.raises(UsageError, match="one label a row"):
        need_sound_flag(DataOptions(tmp_path, label_separator=";"), Toy())
    with pytest.raises(UsageError, match="2 columns"):
        LabelReader.of("a,b", ["a", "b"], ";")


def test_titles(tmp_path):
    names = [*"abcdef"]
    assert title_of(tmp_path / "x.csv", Classification(names)) == "x.csv: a / b / c / d and 2 more"
    several = title_of(tmp_path / "x.csv", Classification(names[:3], multi_label=True))
    assert several == "x.csv: any of a, b, c"
