"""The user's own patients through the command line: a source, a run for each task, predictions in a fresh process."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from commandline import tlplat

QUICK = ("--strategy", "linear_probe", "--seeds", "1", "--jobs", "1", "--threads", "1", "--json")
COLUMNS = {
    "prognosis": ("--task", "prognosis", "--time", "days", "--event", "died"),
    "diagnosis": ("--task", "diagnosis", "--target", "ill"),
    "treatment": ("--task", "treatment", "--arm", "drug", "--target", "score", "--randomised"),
}
OTHERS = {
    "prognosis": ("drug", "score", "ill"),
    "diagnosis": ("drug", "score", "days", "died"),
    "treatment": ("ill", "days", "died"),
}
GROUPED = ("--group", "patient", "--site", "hospital")


def said(task: str) -> tuple[str, ...]:
    """Flags: what is predicted, and the columns that are not known at the time."""
    return (*COLUMNS[task], *(part for name in OTHERS[task] for part in ("--drop", name)))


@pytest.mark.parametrize("task", list(COLUMNS))
def test_a_source_of_ones_own_a_run_and_predictions(command, table, people, tmp_path, task):
    table(people(500, 1), "old.csv")
    new = table(people(160, 2, visits=2, shift=12), "new.csv")
    flags = ("--domain", "medicine", *said(task))
    made = command("pretrain", *flags, "--group", "patient", "--drop", "hospital", "--data", "old.csv", "-o", "mine")
    assert made.code == 0, made.err
    done = command("run", *flags, *GROUPED, "--data", str(new), "--source", "mine", "--out", "run", *QUICK)
    assert done.code == 0, done.err
    report = done.document
    means = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert {"zero_shot", "linear_probe", "scratch"} <= set(means)
    if task != "treatment":
        assert means["zero_shot"] > 0.68
        titles = [c["title"] for d in report["details"].values() for c in d["charts"]]
        assert any(title.startswith("Decision curve") for title in titles)
    else:
        assert max(means.values()) > 9.0
    card = report["data_card"]
    assert card["split"]["sites"] == {"pool": 4, "test": 2}
    assert set(card["columns"]["shared"]) == {"age", "sysBP", "smoker"}
    splits = pq.read_table(tmp_path / "run" / "data" / "splits.parquet").to_pylist()
    sides = {side: {r["unit"] for r in splits if r["split"] == side} for side in ("labelled", "test")}
    assert not sides["labelled"] & sides["test"]
    assert all(r["id"].startswith("row ") for r in splits)
    predicted = tlplat("predict", "run", str(new), cwd=tmp_path, cache=tmp_path / "cache")  # a process of its own
    assert predicted.code == 0, predicted.err
    lines = predicted.out.splitlines()
    assert len(lines) == 321
    assert lines[1].startswith("P-2-0000,")


def test_without_lots_a_treatment_run_warns_and_counts_time_to_an_event(command, table, people):
    path = table(people(400, 3))
    columns = ("--task", "treatment", "--arm", "drug", "--time", "days", "--event", "died")
    flags = ("--domain", "medicine", *columns, "--drop", "score", "--drop", "ill", "--drop", "hospital")
    assert command("pretrain", *flags, "--data", str(path), "-o", "mine", "--group", "patient").error == "TL-USAGE"
    flags = (*flags, "--group", "patient", "--horizon", "1000")
    assert command("pretrain", *flags, "--data", str(path), "-o", "mine").code == 0
    other = table(people(200, 4), "other.csv")
    done = command("run", *flags, "--data", str(other), "--source", "mine", "--out", "run", *QUICK)
    assert done.code == 0, done.err
    assert "not drawn by lot" in done.err
    assert done.document["metric"]["unit"] == "days"
    assert all(200 < c["mean"] < 1000 for c in done.document["candidates"])
    assert {"arms", "overlap"} <= set(done.document["data_card"]["quality"]["test"])


def test_a_source_that_hardly_knows_the_columns_is_refused(command, table, people):
    path = table(people(60, 5))
    flags = ("--domain", "medicine", *said("prognosis"), "--drop", "hospital", "--group", "patient")
    done = command("run", *flags, "--data", str(path), "--out", "run", *QUICK)
    assert (done.code, done.error) == (3, "TL-DATA-COLUMN")
    assert "tlplat pretrain" in done.err
    assert not Path("run").exists()


NEEDS = {
    "prognosis": (("--task", "prognosis"), "--time"),
    "event": (("--task", "prognosis", "--time", "days"), "--event"),
    "diagnosis": (("--task", "diagnosis"), "--target"),
    "treatment": (("--task", "treatment"), "--arm"),
    "outcome": (("--task", "treatment", "--arm", "drug"), "--target"),
}


@pytest.mark.parametrize("case", list(NEEDS))
def test_what_the_task_needs_is_asked_for(command, table, people, case):
    flags, wanted = NEEDS[case]
    rows = [{name: value for name, value in row.items() if name != "died"} for row in people(40, 6)]
    done = command("run", "--domain", "medicine", *flags, "--data", str(table(rows)), "--out", "run")
    assert (done.code, done.error) == (2, "TL-USAGE")
    assert f"add {wanted}" in done.err
    assert not Path("run").exists()


def changed(rows, **columns):
    """The rows with new values, each a function of the row's number and the row."""
    return [{**row, **{name: make(i, row) for name, make in columns.items()}} for i, row in enumerate(rows)]


WRONG = {
    "unknown column": ("diagnosis", {}, ("--target", "sick"), "TL-DATA-COLUMN", "sick"),
    "missing label": (
        "diagnosis",
        {"ill": lambda i, r: "" if i == 4 else r["ill"]},
        (),
        "TL-DATA-LABEL-MISSING",
        "row 5",
    ),
    "a name as class": ("diagnosis", {}, ("--target", "patient"), "TL-DATA-CLASSES", "no class"),
    "no such class": ("diagnosis", {}, ("--positive", "sick"), "TL-DATA-CLASSES", "--positive"),
    "one patient of a class": (
        "diagnosis",
        {"ill": lambda i, r: "odd" if i == 4 else r["ill"]},
        (),
        "TL-DATA-CLASS-SMALL",
        "too few",
    ),
    "time 0": (
        "prognosis",
        {"days": lambda i, r: "0" if i == 4 else r["days"]},
        (),
        "TL-DATA-TARGET",
        "row 5, column days",
    ),
    "event 2": (
        "prognosis",
        {"died": lambda i, r: "2" if i == 4 else r["died"]},
        (),
        "TL-DATA-TARGET",
        "row 5, column died",
    ),
    "rare arm": (
        "treatment",
        {"drug": lambda i, r: "new" if i < 5 else r["drug"]},
        (),
        "TL-DATA-ARMS",
        "fewer than 11",
    ),
    "no such control": ("treatment", {}, ("--control", "placebo"), "TL-DATA-ARMS", "--control"),
    "no patient": (
        "diagnosis",
        {"patient": lambda i, r: "" if i == 4 else r["patient"]},
        ("--group", "patient"),
        "TL-DATA-GROUP",
        "row 5",
    ),
    "one site": ("diagnosis", {"hospital": lambda i, r: "one"}, ("--site", "hospital"), "TL-DATA-SITE", "sites"),
    "nothing to look at": (
        "diagnosis",
        {},
        ("--drop", "age", "--drop", "sysBP", "--drop", "smoker", "--drop", "hospital"),
        "TL-DATA-COLUMN",
        "no column",
    ),
    "no overlap": (
        "treatment",
        {"drug": lambda i, r: "drug" if float(r["age"]) > 60 else "none"},
        (),
        "TL-DATA-OVERLAP",
        "counterpart",
    ),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_outcomes_that_are_none_are_refused(command, table, people, case):
    task, columns, flags, code, word = WRONG[case]
    base = said(task)
    if "--target" in flags:
        place = base.index("--target")
        base = (*base[:place], *base[place + 2 :])
    flags = (*base, "--drop", "patient", *flags) if "patient" not in flags else (*base, *flags)
    path = table(changed(people(150, 7), **columns))
    done = command("run", "--domain", "medicine", *flags, "--data", str(path), "--out", "run", *QUICK)
    assert (done.code, done.error) == (3, code), done.err
    assert word in done.err
    assert not Path("run").exists()


def test_classes_of_a_test_file_must_be_known(command, table, people):
    train, test = table(people(80, 9)), table(changed(people(30, 10), ill=lambda i, r: "odd"), "test.csv")
    flags = ("--domain", "medicine", *said("diagnosis"), "--group", "patient", "--drop", "hospital")
    done = command("run", *flags, "--data", str(train), "--test-data", str(test), "--out", "run")
    assert (done.code, done.error) == (3, "TL-DATA-LABEL-UNKNOWN")
    assert "test.csv, row 1, column ill" in done.err


def test_json_of_a_run_holds_finite_figures(command, table, people):
    """A run without a source of its own on columns that the demo's source knows."""
    from tlplat_medicine import nuclei

    images = nuclei.half(upper=True)
    rows = [
        {**{name: repr(float(values[i])) for name, values in images.table.items()}, "found": nuclei.LABELS[int(y)]}
        for i, y in enumerate(images.targets.tolist())
    ]
    done = command(
        *("run", "--domain", "medicine", "--task", "diagnosis", "--target", "found", "--data", str(table(rows))),
        *("--labels", "40", "--out", "run", *QUICK),
    )
    assert done.code == 0, done.err
    means = {c["strategy"]: c["mean"] for c in json.loads(done.out)["candidates"]}
    assert means["zero_shot"] > 0.95
    assert all(math.isfinite(mean) for mean in means.values())
