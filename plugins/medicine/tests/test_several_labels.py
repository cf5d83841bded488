"""Patients with several diagnoses: read, split, run and predicted; what few have is neither named nor counted."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from tlplat_medicine.baselines import Forest, LogisticRegression
from tlplat_medicine.domain import MedicineDomain
from tlplat_medicine.labels import without_rare
from tlplat_medicine.leaks import check_leaks
from tlplat_medicine.options import MedicineOptions
from tlplat_medicine.outcomes import Outcome
from tlplat_medicine.split import check_given, split_patients, split_sites

from tlplat.domain import DataOptions, DomainContext
from tlplat.errors import DataError, UsageError

NAMES = ("hypertension", "diabetes", "gout")
CANARY = "Zephyrine Canaria"
TASK = ("--domain", "medicine", "--task", "diagnosis", "--group", "patient")
OTHERS = tuple(part for name in ("hospital", "drug", "score", "ill", "days", "died") for part in ("--drop", name))
QUICK = ("--strategy", "linear_probe", "--seeds", "1", "--jobs", "1", "--threads", "1", "--json")


def diagnosed(rows, seed=0, cells=False):
    """The rows with labels, the second likelier beside the first, the third at one in ten; as columns or as names."""
    rng, found = np.random.default_rng(seed), []
    for i, row in enumerate(rows):
        risk = (float(row["age"]) - 57) / 14 + (float(row["sysBP"]) - 130) / 18
        first = rng.random() < 1 / (1 + np.exp(-2 * risk))
        second = rng.random() < (0.5 if first else 0.08)
        has = dict(zip(NAMES, (first, second, i % 10 == 4), strict=True))
        names = [*(name for name, yes in has.items() if yes), *([CANARY] if i in (7, 20, 33) else [])]
        found.append({**row, **({"codes": ";".join(names)} if cells else {n: str(int(h)) for n, h in has.items()})})
    return found


def strata(n=300, seed=0):
    """(n, 3): labels that half, a fifth and one in twenty have."""
    return (np.random.default_rng(seed).random((n, 3)) < [0.5, 0.2, 0.05]).astype(np.int64)


@pytest.fixture
def context(registry, tmp_path):
    return DomainContext(registry, tmp_path / "cache")


def test_patients_and_sites_stay_whole_and_each_label_is_on_both_sides():
    patients, y = np.repeat(np.arange(100), 3), strata()
    split = split_patients(patients, y, 0)
    assert not set(patients[split.test]) & set(patients[~split.test])
    assert np.abs(y[split.test].sum(axis=0) - 0.3 * y.sum(axis=0)).max() < 4
    assert (split_patients(patients, y, 1).test != split.test).any()
    sites = patients % 8
    held = split_sites(sites, patients, y, 0)
    assert not set(sites[held.test]) & set(sites[~held.test])
    assert all(0 < y[side, c].sum() < side.sum() for side in (held.test, ~held.test) for c in range(3))
    with pytest.raises(DataError, match="TL-DATA-SITE"):
        split_sites(sites, patients, np.c_[y, sites == 0].astype(np.int64), 0)
    last, places = np.arange(300) >= 200, [f"row {i + 1}" for i in range(300)]
    check_given(np.arange(300), last, y, places)
    with pytest.raises(DataError, match=r"TL-DATA-CLASS-SMALL[\s\S]*side of the split: late\n"):
        check_given(np.arange(300), last, np.c_[y, last].astype(np.int64), places, labels=(*NAMES, "late"))


def test_labels_that_few_patients_have_or_lack_are_left_out_of_cells_and_refused_as_columns():
    told: list[str] = []
    patients = np.repeat(np.arange(60), 2)
    at = patients[:, None]
    y = np.c_[at < 30, at < 10, at < 11, at >= 10, at > 80].astype(np.int64)
    outcome = Outcome(("codes",), y, names=("a", "ten", "eleven", "most", "none"))
    found = without_rare(outcome, ";", patients, ("eleven", "a"), told.append)
    assert found.names == ("eleven", "a")
    assert found.strata.sum(axis=0).tolist() == [22, 60]
    assert "3 of 5 labels" in told[0]
    assert without_rare(outcome, ";", None, (), told.append).names == ("a", "ten", "eleven", "most")
    with pytest.raises(DataError, match=r"CLASS-SMALL[\s\S]*column ten[\s\S]*column most[\s\S]*--drop"):
        without_rare(outcome, None, patients, (), told.append)
    with pytest.raises(DataError, match=r"CLASS-SMALL[\s\S]*coarser"):
        without_rare(Outcome(("codes",), y[:, 1:2], names=("ten",)), ";", patients, (), told.append)


def test_a_label_in_other_words_and_a_score_of_the_labels_are_found():
    y = strata()
    rng, outcome = np.random.default_rng(1), Outcome(NAMES, y, names=NAMES)
    words = np.array([f"set {''.join(map(str, row))}" for row in y.tolist()], dtype=object)
    for leak in (np.where(y[:, 1] == 1, 3.0, -1.0), words, y.sum(axis=1) * 1.0, y @ [1.0, 2.0, 6.0] + 4):
        holes = leak.copy()
        holes[:5] = None
        with pytest.raises(DataError, match="TL-LEAK-TARGET"):
            check_leaks({"x": holes}, outcome, lambda said: None)
    said: list[str] = []
    noisy = y @ [1.0, 2.0, 6.0] + rng.normal(size=len(y))
    check_leaks({"noisy": noisy, "flat": np.ones(len(y)), "age": rng.normal(size=len(y))}, outcome, said.append)
    assert said == []
    check_leaks({"marker": rng.random(len(y)) + 5 * y[:, 2]}, outcome, said.append)
    assert "marker" in said[0]
    assert "patients with gout" in said[0]


def test_columns_and_files_of_a_split(context, table, people):
    domain, options = MedicineDomain(), MedicineOptions(task="diagnosis", drop=("hospital", "drug", "score", "ill"))
    rows = diagnosed(people(300, 1))
    path = table(rows)
    given = DataOptions(path, target=",".join(NAMES), group="patient")
    domain.check(options, given, context)
    source = domain.pretrain(options, given, context)
    found = domain.target(options, given, source, context)
    assert found.task.labels == NAMES
    assert found.test.targets.shape == (90, 3)
    assert not {*NAMES, "patient"} & set(found.pool.inputs.table)
    assert not [key for key in found.data_card if "label" in key]
    for baseline in (LogisticRegression(), Forest()):
        (said,) = baseline.fit_predict(found.pool, [found.test.inputs], found.task, 0)
        right = (said >= 0.5) == (found.test.targets.numpy() > 0)
        assert right[:, 0].mean() > 0.7, baseline.name
        assert baseline.parameters() > 0
    files = DataOptions(
        table(rows[:200]), test_data=table(rows[200:], "test.csv"), target=given.target, group="patient"
    )
    assert len(domain.target(options, files, source, context).test) == 100
    sided = [{**row, "part": "test" if i % 3 == 0 else "train"} for i, row in enumerate(rows)]
    column = DataOptions(table(sided, "sided.csv"), target=given.target, group="patient", split="part")
    assert len(domain.target(options, column, source, context).test) == 100


def said_no(domain, data, context, **options):
    """The refusal of these options, without any value of a row."""
    with pytest.raises((UsageError, DataError)) as caught:
        domain.check(MedicineOptions(**options), data, context)
    assert CANARY not in caught.value.render()
    return caught.value.render()


def test_what_is_refused(context, table, people):
    domain, target = MedicineDomain(), ",".join(NAMES)
    rows = diagnosed(people(60, 1))
    path = table(rows)
    diagnosis = {"task": "diagnosis", "drop": ("patient",)}
    for task in ({"time": "days", "event": "died"}, {"task": "treatment", "arm": "drug"}):
        for data in (DataOptions(path, target=target), DataOptions(path, label_separator=";")):
            said = said_no(domain, data, context, **task)
            assert str(task.get("task", "prognosis")) in said
            assert "--task diagnosis" in said
    assert "--positive" in said_no(domain, DataOptions(path, target=target), context, positive="gout", **diagnosis)
    assert "no column 'gaut'" in said_no(domain, DataOptions(path, target="gout,gaut"), context, **diagnosis)
    for word, code in ((CANARY, "TL-DATA-LABEL-TYPE"), ("", "TL-DATA-LABEL-MISSING")):
        odd = table([*rows[:30], {**rows[30], "gout": word}, *rows[31:]], "odd.csv")
        said = said_no(domain, DataOptions(odd, target=target), context, **diagnosis)
        assert code in said
        assert "odd.csv, row 31, column gout" in said
    said = said_no(domain, DataOptions(path, target=target), context, **diagnosis)
    assert "TL-DATA-CLASS-SMALL" in said
    assert "column gout" in said  # of 6 patients, and the error does not say so
    assert "6 " not in said
    cells = table(diagnosed(people(60, 1), cells=True), "cells.csv")
    assert "--label-separator ';'" in said_no(domain, DataOptions(cells, target="codes"), context, **diagnosis)


def consistent(document, key, visible, rows):
    """How many of so few rows a hidden label may have, for all that the report says of a candidate's AUROC."""
    mean = next(c["seeds"][0]["test"] for c in document["candidates"] if c["key"] == key)
    table = {row[0]: row[2] for row in document["details"][key]["tables"][0]["rows"]}
    exact = 10.0 ** -document["decimals"] / 2
    rest, doubt = 3 * mean - sum(table[name] for name in visible), (3 + len(visible)) * exact + 1e-9
    pairs = {count: count * (rows - count) for count in range(1, 11)}
    steps = {count: np.round(2 * rest * of) / (2 * of) for count, of in pairs.items()}
    return {count for count, step in steps.items() if abs(step - rest) <= doubt}


def test_a_run_of_columns_tells_nothing_of_few_patients(command, table, people, tmp_path):
    """Of ten test patients a label has: no figure, no curve, no count, and none can be told from what is there."""
    table(diagnosed(people(400, 1), 1), "old.csv")
    new = table(diagnosed(people(240, 2, shift=5), 2), "new.csv")
    flags = (*TASK, *OTHERS, "--target", ",".join(NAMES))
    assert command("pretrain", *flags, "--data", "old.csv", "-o", "mine").code == 0
    auroc = json.loads((tmp_path / "mine/source.json").read_text())["provenance"]["validation"]["auroc"]
    assert 0.5 < auroc == round(auroc, 3)
    done = command("run", *flags, "--data", str(new), "--source", "mine", "--labels", "60", "--out", "run", *QUICK)
    assert done.code == 0, done.err
    report = done.document
    means = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert {"zero_shot", "linear_probe", "scratch", "logistic", "forest", "majority"} <= set(means)
    assert means["zero_shot"] > 0.55
    rows = report["labels"]["test"]
    quality = json.loads((tmp_path / "run/data/quality.json").read_text())
    for part in (quality["labelled"], quality["test"]):
        assert part["classes"]["gout"] == "< 11"
        assert "labels_a_row" not in part
    for key, detail in report["details"].items():
        lines = {row[0]: row[1:] for row in detail["tables"][0]["rows"]}
        assert lines["gout"] == ["< 11", *[None] * 5]
        assert lines["hypertension"][1] is not None
        assert {curve["label"]: bool(curve["points"]) for curve in detail["roc"]} == {
            "hypertension": True,
            "diabetes": True,
            "gout": False,
        }
        assert sum(b["count"] for b in detail["calibration"]) <= 2 * rows
        assert len(consistent(report, key, NAMES[:2], rows)) > 4
    page = (tmp_path / "run/report/report.html").read_text(encoding="utf-8")
    assert "&lt; 11" in page
    assert "labels_a_row" not in page + done.out + (tmp_path / "run/model/MODEL_CARD.md").read_text(encoding="utf-8")
    said = command("predict", "run", "new.csv")
    assert said.code == 0, said.err
    lines = list(csv.reader(io.StringIO(said.out)))
    assert lines[0][:5] == ["id", "prediction", *(f"p({name})" for name in NAMES)]
    assert len(lines) == 241
    made = command("export", "run", "--format", "safetensors", "-o", "weights.safetensors")
    assert made.code == 0, made.err


def test_a_run_of_names_in_cells_leaves_the_rare_ones_out_unnamed(command, table, people, tmp_path):
    table(diagnosed(people(300, 1), 1, cells=True), "old.csv")
    table(diagnosed(people(240, 2), 2, cells=True), "new.csv")
    flags = (*TASK, *OTHERS, "--target", "codes", "--label-separator", ";")
    made = command("pretrain", *flags, "--data", "old.csv", "-o", "mine")
    assert made.code == 0, made.err
    assert "1 of 4 labels" in made.err
    flags = (*flags, "--data", "new.csv", "--source", "mine")
    done = command("run", *flags, "--labels", "60", "--out", "run", *QUICK)
    assert done.code == 0, done.err
    assert done.document["task"]["labels"] == sorted(NAMES)
    assert "some rows have none of the labels" in done.err
    files = [p for place in ("mine", "run", "cache") for p in (tmp_path / place).rglob("*") if p.is_file()]
    assert len(files) > 20
    assert not [p for p in files if CANARY.encode() in p.read_bytes()]
    assert CANARY not in made.out + made.err + done.out + done.err
    few = command("run", *flags, "--labels", "12", "--out", "few", *QUICK)
    assert (few.code, few.error) == (3, "TL-DATA-CLASS-SMALL")
    assert "< 11 of 12 rows" in few.err
