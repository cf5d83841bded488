"""Columns that a user did not name."""

from __future__ import annotations

import json

import pytest

from tlplat.data.guess import (
    BYTES,
    could_be,
    first_rows,
    input_and_target,
    named,
    of_classes,
    of_texts,
    only,
    target_of,
)

WORDS = ["a fine film", "dull as rain", "worth the queue", "no one laughed"]


def texts(n: int = 20) -> list[str]:
    return [f"{WORDS[i % 4]} number {i}" for i in range(n)]


def table(path, columns):
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_first_rows_of_a_table(tmp_path):
    path = table(tmp_path / "t.csv", {"a": range(1500), "b": ["x", ""] * 750})
    found = first_rows(path)
    assert len(found["a"]) == 1000
    assert found["b"][:2] == ["x", ""]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'a,b\n"x', b">id\nACGT\n"])
def test_what_cannot_be_read_is_left_to_the_reader(tmp_path, content):
    for name in ("t.csv", "t.jsonl", "t.parquet", "t.fasta"):
        (tmp_path / name).write_bytes(content)
        assert first_rows(tmp_path / name) == {}
    assert first_rows(tmp_path / "none.csv") == {}
    assert first_rows(tmp_path) == {}


def test_a_few_rows_tell_nothing(tmp_path):
    assert first_rows(table(tmp_path / "t.csv", {"text": range(4)})) == {}
    assert list(first_rows(table(tmp_path / "t.csv", {"text": range(5)}))) == ["text"]


def test_a_usual_name_in_any_case():
    assert named(["Age", "LABEL", "y"], ("label", "y")) == "LABEL"
    assert named(["Survival Time"], ("survival_time",)) == "Survival Time"
    assert named(["label", "Label"], ("label",)) is None
    assert named(["age"], ("label",)) is None


def test_classes_are_few_values_of_several_rows_each():
    columns = {
        "id": ["a", "b"] * 10,
        "amount": [str(i) for i in range(20)],
        "home": ["own", "rent"] * 10,
        "still": ["x"] * 20,
        "image": [BYTES] * 20,
        "late": [*["yes", "no"] * 9, "", ""],
    }
    assert of_classes(columns) == ["home", "late"]
    assert of_classes(columns, ("home",)) == ["late"]
    assert target_of(columns) is None
    assert target_of(columns, ("home",)) == "late"
    assert target_of({**columns, "Target": columns["amount"]}) == "Target"
    assert could_be(columns) == " (columns with few different values: home, late)"


def test_texts_have_words_and_differ():
    columns = {"who": ["ann", "bob"] * 10, "said": texts(), "kind": ["good film here", "bad film here"] * 10}
    assert of_texts(columns, ("text",)) == "said"
    assert of_texts({**columns, "Text": columns["who"]}, ("text",)) == "Text"
    assert of_texts({**columns, "more": texts()}, ("text",)) is None


def test_the_only_column_of_a_kind():
    columns = {"a": ["x.png", ""], "b": ["1", "2"]}
    assert only(columns, str.isdigit) == "b"
    assert only({**columns, "c": ["3", "4"]}, str.isdigit) is None


def guessed(path, given):
    return input_and_target(path, given, "options.text", "text", lambda columns: of_texts(columns, ()))


def test_what_is_given_or_called_as_usual_is_not_guessed(tmp_path):
    columns = {"said": texts(), "mood": ["up", "down"] * 10, "who": ["ann", "bob", "cid", "dot"] * 5}
    path = table(tmp_path / "t.csv", columns)
    assert guessed(path, {}) == {"options.text": "said"}
    assert guessed(path, {"data.group": "who"}) == {"options.text": "said", "data.target": "mood"}
    assert guessed(path, {"options.text": "mood", "data.target": "who"}) == {}
    assert guessed(path, {"data.labels_from": "who", "options.text": "said"}) == {}
    usual = table(tmp_path / "u.csv", {"text": columns["said"], "label": columns["mood"], "who": columns["who"]})
    assert guessed(usual, {}) == {}


def test_lists_of_labels_are_texts_here(tmp_path):
    rows = [{"said": text, "tags": ["a", "b"][: 1 + i % 2]} for i, text in enumerate(texts())]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert guessed(path, {}) == {"options.text": "said", "data.target": "tags"}
