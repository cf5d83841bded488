"""Tables as dictionaries: what is read, and what is refused by its place."""

from __future__ import annotations

import pytest

from tlplat.data.tables import need_column, read_table
from tlplat.errors import DataError


@pytest.fixture
def read(tmp_path):
    def make(content: str | bytes, name: str = "t.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return list(read_table(path))

    return make


def test_rows_by_column_with_their_lines(read):
    assert read("\ufeffa, b\n1, x\n\n2,y\n") == [(2, {"a": "1", "b": "x"}), (4, {"a": "2", "b": "y"})]
    assert read("a\tb\n1\tx,y\n", "t.tsv") == [(2, {"a": "1", "b": "x,y"})]
    assert read("a,b\r1,2\r\n3,4") == [(2, {"a": "1", "b": "2"}), (3, {"a": "3", "b": "4"})]


def test_line_breaks_are_kept_where_texts_may_hold_them(tmp_path):
    (tmp_path / "t.csv").write_bytes(b'a,b\n1,"x\r\ny"\n2,z\n')
    found = list(read_table(tmp_path / "t.csv", line_breaks=True))
    assert found == [(2, {"a": "1", "b": "x\r\ny"}), (4, {"a": "2", "b": "z"})]


@pytest.mark.parametrize(
    ("content", "separator", "line"),
    [
        ("\ufeffa;b\r\n1E+05;1,5\r\n", ";", 2),
        ("a\tb\n1E+05\t1,5\n", "\t", 2),
        ("sep=;\na;b\n1E+05;1,5\n", ";", 3),
        ('"a";"b"\n1E+05;1,5\n', ";", 2),
    ],
)
def test_what_excel_writes_is_read_where_the_caller_is_told(tmp_path, content, separator, line):
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode())
    told: list[str] = []
    assert list(read_table(path, told=told.append)) == [(line, {"a": "1E+05", "b": "1,5"})]
    assert told == [separator]


def test_the_usual_separator_is_not_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b;c\n1,2;3\n", encoding="utf-8")
    told: list[str] = []
    assert list(read_table(path, told=told.append)) == [(2, {"a": "1", "b;c": "2;3"})]
    assert not told


@pytest.mark.parametrize(
    ("content", "code", "place"),
    [
        ("a,b\nCanary\n", "TL-DATA-CSV", "line 2"),
        ("a,a\n1,2\n", "TL-DATA-CSV", "line 1"),
        ("Canary,0,0\nCanary,1,1\n", "TL-DATA-CSV", "1 repeated"),
        ("a,b\n", "TL-DATA-CSV", "0 rows"),
        ('a,b\n"Canary\n,2\n3,4\n', "TL-DATA-CSV", "t.csv"),
        ('a,b\n1,2\n"Canary\n', "TL-DATA-CSV", "line 3"),
        ('a,b\n"Canary,2\n' + "words,3\n" * 1_800_000, "TL-DATA-CSV", "quote that is never closed"),
        ("a,b\nCanary\0,2\n", "TL-DATA-CSV", "NUL byte in row 2"),
        ("a,b\n" + "Canary" * 9_000_000, "TL-DATA-CSV", "row 2 is a line of more than 48 MB"),
        (b"a,b\n\xff,2\n", "TL-DATA-ENCODING", "0xff"),
        ("a,b\nCanary,2\n".encode("utf-16"), "TL-DATA-ENCODING", "UTF-16"),
    ],
)
def test_bad_tables_are_placed_and_their_values_not_shown(read, content, code, place):
    with pytest.raises(DataError) as error:
        read(content)
    said = error.value.render()
    assert code in said
    assert place in said
    assert "Canary" not in said


def test_no_file(tmp_path):
    with pytest.raises(DataError, match="TL-DATA-READ"):
        list(read_table(tmp_path / "none.csv"))


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path):
    with pytest.raises(DataError, match=r"TL-DATA-COLUMN[\s\S]*did you mean 'label'[\s\S]*--target"):
        need_column({"label": "x", "text": "y"}, "labell", tmp_path / "t.csv", "--target for labels")
