"""The cases of bad data that this domain must withstand, through the real command line; no value of a row is shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

FLAGS = ("--domain", "medicine", "--task", "diagnosis", "--target", "ill", "--drop", "hospital")
UNKNOWN = tuple(part for name in ("drug", "score", "days", "died") for part in ("--drop", name))
QUICK = ("--strategy", "linear_probe", "--seeds", "1", "--jobs", "1", "--threads", "1")
CANARIES = ("Zephyrine Canaria", "MRN-4711-0815", "1949-02-17", "+49 4711 0815", "P-21-0011")


def state(folder: Path) -> list[tuple[str, bytes]]:
    """Every file of the folder that is not the cache's, with its content."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and "cache" not in p.parts)
    return [(str(p), p.read_bytes()) for p in files]


@pytest.fixture
def refused(command, tmp_path):
    """Run, and demand exit 3 with the code, these words, no canary, and nothing changed."""

    def check(code: str, words: tuple[str, ...], *arguments: str) -> str:
        before = state(tmp_path)
        done = command("run", *FLAGS, *UNKNOWN, *arguments, "--out", "run", "--json")
        assert (done.code, done.error) == (3, code), done.err
        assert done.document["error"]["fix"]
        assert not [word for word in words if word not in done.err], done.err
        assert not [c for c in CANARIES if c in done.err + done.out]
        assert state(tmp_path) == before
        return done.err

    return check


def test_patient_leak(refused, table, people):
    train, test = people(60, 21), people(30, 22)
    leaked = [*test, {**train[17], "sysBP": "121.3"}]
    files = str(table(train, "train.csv")), str(table(leaked, "test.csv"))
    said = refused(
        *("TL-LEAK-GROUP", ("patients", "count 1", "train.csv, row 18 and test.csv, row 31")),
        *("--data", files[0], "--test-data", files[1], "--group", "patient"),
    )
    assert train[17]["patient"] not in said


@pytest.mark.parametrize("strange", ["Zephyrine Canaria", "MRN-4711-0815", "61 years", "6O"])
def test_phi_in_error(refused, table, people, strange):
    rows = people(60, 21)
    rows[11] = {**rows[11], "age": strange}
    said = refused(*("TL-DATA-TYPE", ("row 12", "column age")), "--data", str(table(rows)), "--group", "patient")
    assert strange not in said


@pytest.mark.parametrize(
    ("column", "value"), [("age", "-3"), ("age", "212"), ("sysBP", "0"), ("age", "1e308"), ("sysBP", "-1")]
)
def test_impossible(refused, table, people, column, value):
    rows = people(60, 21)
    rows[3] = {**rows[3], column: value}
    refused("TL-DATA-RANGE", (column, "row 4"), "--data", str(table(rows)), "--group", "patient")


COPIES = {
    "the same words": lambda row: row["ill"],
    "other words": lambda row: {"ill": "C50.9", "well": "Z00.0"}[row["ill"]],
    "numbers": lambda row: {"ill": "7", "well": "-7"}[row["ill"]],
}


@pytest.mark.parametrize("how", list(COPIES))
def test_target_in_features(refused, table, people, how):
    rows = [{**row, "discharge": COPIES[how](row)} for row in people(60, 21)]
    refused(
        "TL-LEAK-TARGET", ("column discharge", "--drop discharge"), "--data", str(table(rows)), "--group", "patient"
    )


def test_time_in_features(command, table, people):
    rows = [{**row, "weeks": f"{float(row['days']) / 7:.4f}"} for row in people(60, 21)]
    flags = ("--domain", "medicine", "--time", "days", "--event", "died", "--group", "patient")
    done = command("run", *flags, "--data", str(table(rows)), "--out", "run")
    assert (done.code, done.error) == (3, "TL-LEAK-TARGET")
    assert "column weeks" in done.err


@pytest.fixture
def source(command, table, people):
    """A source of made-up patients in the folder ``mine``."""
    table(people(400, 20), "old.csv")
    made = command("pretrain", *FLAGS, *UNKNOWN, "--data", "old.csv", "--group", "patient", "-o", "mine")
    assert made.code == 0, made.err


def test_phi_report(command, source, table, people, tmp_path):
    """A class of three: the run completes, and neither the screen nor a file of the run says how many there are."""
    rows = people(120, 21)
    rows = [{**row, "ill": "rare"} if i in (5, 50, 90) else row for i, row in enumerate(rows)]
    done = command(
        *("run", *FLAGS, *UNKNOWN, "--data", str(table(rows)), "--group", "patient", "--source", "mine"),
        *(*QUICK, "--out", "run", "--json"),
    )
    assert done.code == 0, done.err
    assert "< 11" in done.err
    quality = json.loads((tmp_path / "run/data/quality.json").read_text())
    assert {part: quality[part]["classes"]["rare"] for part in ("labelled", "test")} == {
        "labelled": "< 11",
        "test": "< 11",
    }
    for detail in done.document["details"].values():
        cells = [cell for row in detail["confusion"] for cell in row]
        assert all(cell in (0, "< 11", "11 or more") or cell >= 11 for cell in cells)
    assert "&lt; 11" in (tmp_path / "run/report/report.html").read_text(encoding="utf-8")


def test_excel_csv(command, source, people, tmp_path):
    """A BOM, semicolons, decimal commas, ids like 1E+05: read, said, and ids stay text; formulas are made inert."""
    rows = people(80, 23)
    ids = ["1E+05", "=1+1", "@x", "+2", "007", *(f"{i}E+07" for i in range(75))]
    names = ["patient", "age", "sysBP", "smoker", "ill"]
    lines = [";".join(["id", *names])]
    for number, row in zip(ids, rows, strict=True):
        lines.append(";".join([number, *(row[n].replace(".", ",") if n == "sysBP" else row[n] for n in names)]))
    path = tmp_path / "export.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode() + b"\r\n")
    flags = ("--domain", "medicine", "--task", "diagnosis", "--target", "ill", "--group", "patient")
    done = command("run", *flags, "--data", str(path), "--source", "mine", *QUICK, "--out", "run", "--json")
    assert done.code == 0, done.err
    assert "separator" in done.err
    assert "decimal commas in sysBP" in done.err
    predicted = command("predict", "run", str(path))
    assert predicted.code == 0, predicted.err
    found = [line.split(",")[0] for line in predicted.out.splitlines()[1:6]]
    assert found == ["1E+05", "'=1+1", "'@x", "+2", "007"]


def test_no_name_number_or_birthday_reaches_a_file_or_the_screen(command, table, people, tmp_path):
    """Canaries in every kind of column, through pretraining, a run, its report and predictions of other patients."""

    def marked(seed: int) -> list[dict[str, str]]:
        rows = people(150, seed)
        return [
            {
                **row,
                "patient": f"{row['patient']}" if i else CANARIES[4],
                "name": CANARIES[0] if i == 11 else f"Person {seed} {i}",
                "mrn": CANARIES[1] if i == 11 else f"M{seed}{i:05d}",
                "dob": CANARIES[2] if i == 11 else f"19{30 + i % 60}-0{1 + i % 9}-11",
                "remark": CANARIES[3] if 11 <= i < 20 else "none of note",
                "ward": CANARIES[0] if i % 20 == 11 else "ward A",
            }
            for i, row in enumerate(rows)
        ]

    table(marked(20), "old.csv")
    flags = (*FLAGS, *UNKNOWN, "--group", "patient")
    made = command("pretrain", *flags, "--data", "old.csv", "-o", "mine")
    assert made.code == 0, made.err
    assert re.search(r"columns left out: name .*mrn.*dob", made.err)
    done = command(
        "run", *flags, "--data", str(table(marked(21))), "--source", "mine", *QUICK, "--out", "run", "--json"
    )
    assert done.code == 0, done.err
    assert command("report", "run").code == 0
    screens = made.out + made.err + done.out + done.err
    assert not [c for c in CANARIES if c in screens]
    files = [p for place in ("mine", "run", "cache") for p in (tmp_path / place).rglob("*") if p.is_file()]
    assert len(files) > 20
    for path in files:
        content, name = path.read_bytes(), str(path.relative_to(tmp_path))
        assert not [c for c in CANARIES if c.encode() in content or c in name], name
