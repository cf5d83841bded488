"""check-data finds what is planted in the toy's rows, each by its name, and nothing in rows that are sound."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from test_runner import FAST

from tlplat import checks, checkup
from tlplat.checks.drift import drift_from_statistics
from tlplat.checks.rows import close_pairs, extremes
from tlplat.checks.targets import doubts_of
from tlplat.config import RunConfig
from tlplat.data.columns import TableEncoder
from tlplat.data.examples import Examples, TensorInputs
from tlplat.datacheck import check_data
from tlplat.errors import DataError
from tlplat.progress import Reporter
from tlplat.runner import run
from tlplat.stage import load_registry, prepare
from tlplat.tabular import TableInputs

pytest.importorskip("cleanlab")


def config(**more):
    return RunConfig.model_validate({"domain": "toy", "threads": 1, "labels": 200, **more})


def checked(**more):
    """The findings by kind, and the error."""
    made = config(**more)
    document, error = check_data(made, load_registry(made), Reporter())
    json.dumps(document, allow_nan=False)
    return {finding["kind"]: finding for finding in document["findings"]}, error


@pytest.fixture
def plant(toy, monkeypatch):
    """Alters the toy domain's pool and test rows: ``plant(change)``, with ``change(x, y, part)`` in place."""
    original = toy.Toy.target

    def planted(change):
        def target(self, options, data, source, context):
            made = original(self, options, data, source, context)
            parts = {}
            for part in ("pool", "test"):
                rows = getattr(made, part)
                x, y = rows.inputs.tensor.clone(), rows.targets.clone()
                change(x, y, part)
                parts[part] = dataclasses.replace(rows, inputs=TensorInputs(x), targets=y)
            return dataclasses.replace(made, **parts)

        monkeypatch.setattr(toy.Toy, "target", target)

    return planted


def every(count):
    """Rows of the pool, among them enough that are labelled: the toy draws 200 of 300."""
    return range(0, 300, 300 // count)


def test_rows_that_are_as_they_should_be(toy):
    found, error = checked(options={"shift": 0.0})
    assert error is None
    assert not {k for k, f in found.items() if f["severity"] != "note"} - {"label_errors"}, found
    assert "covariate_shift" not in found
    assert "concept_shift" not in found


def test_copies_with_one_target_and_with_two(plant):
    def change(x, y, part):
        if part == "pool":
            x[200:250], y[200:250] = x[:50], y[:50]
            y[200:210] = 1 - y[:10]

    plant(change)
    found, error = checked(labels=300)
    assert error is None
    assert found["duplicates"]["count"] == 40
    assert found["conflicting_duplicates"]["count"] == 10
    assert "pool-3-200 = pool-3-0" in found["conflicting_duplicates"]["rows"]
    assert len(found["duplicates"]["rows"]) == checks.SHOWN
    assert found["duplicates"]["more"] == 20


def test_near_copies_inside_and_across(plant):
    def change(x, y, part):
        if part == "pool":
            x[200:220] = x[:20] + 1e-4
            change.first = x[:5].clone()
        else:
            x[:5] = change.first + 2e-4

    plant(change)
    found, error = checked(labels=300)
    assert error is None
    assert found["near_duplicates"]["count"] >= 20
    assert found["near_duplicates_across"]["count"] >= 5
    assert any(row == "test-4-0 ~ pool-3-0" for row in found["near_duplicates_across"]["rows"])


def test_a_row_on_both_sides_is_an_error_among_other_findings(plant):
    def change(x, y, part):
        if part == "pool":
            change.first = x[0].clone()
            x[100], y[100] = x[101], y[101]
        else:
            x[0] = change.first

    plant(change)
    found, error = checked(labels=300)
    assert isinstance(error, DataError)
    assert error.code == "TL-LEAK-DUP"
    assert found["TL-LEAK-DUP"]["severity"] == "error"
    assert found["duplicates"]["count"] == 1


def test_missing_values_are_named_by_row(plant):
    def change(x, y, part):
        if part == "pool":
            x[7, 2], x[9, 0] = torch.nan, torch.inf

    plant(change)
    found, _ = checked(labels=300)
    assert found["missing"]["rows"] == ["pool-3-7", "pool-3-9"]


def test_numbers_far_beyond_their_column():
    """A slipped decimal point is found; a skewed column, or one that is mostly zero, is no finding."""
    rng = np.random.default_rng(0)
    n = 4000
    table = {
        "age": rng.normal(50, 10, n),
        "income": rng.lognormal(8, 1.5, n),
        "debt": np.where(rng.random(n) < 0.8, rng.random(n), rng.lognormal(9, 1, n)),
        "home": np.array(["own", "rent"] * (n // 2), dtype=object),
    }
    table["age"][7], table["income"][9] = 5000.0, 9e15
    rows = Examples(TableInputs.of(TableEncoder.fit(table), table), torch.zeros(n), [f"row {i}" for i in range(n)])
    (found,) = extremes(rows)
    assert found.rows == ["row 7: age", "row 9: income"]


def test_shifts_by_the_statistics_that_a_source_keeps(toy):
    rng = np.random.default_rng(0)
    table = {"age": rng.normal(50, 10, 400), "size": rng.normal(3, 1, 400)}
    encoder = TableEncoder.fit(table)
    source = dataclasses.replace(loaded_source(), preprocess={"columns": encoder.to_json()})
    older = {**table, "age": table["age"] + 12}

    def notes(which, model=source):
        rows = Examples(TableInputs.of(encoder, which), torch.zeros(400), [str(i) for i in range(400)])
        return list(drift_from_statistics(rows, model))

    (moved,) = notes(older)
    assert moved.kind == "covariate_shift"
    assert list(moved.figures["deviations"]) == ["age"]
    assert notes(table)[0].kind == "drift_unchecked"
    (unknown,) = notes(table, dataclasses.replace(source, preprocess={}))
    assert "no rows of" in unknown.message


def loaded_source():
    """The toy domain's source, as a run sees it."""
    made = config()
    return prepare(made, load_registry(made), Reporter(), dry=True).source


def test_many_rows_for_a_large_source_are_judged_by_its_first_block(plant, monkeypatch):
    def change(x, y, part):
        if part == "pool":
            x[200:220] = x[:20] + 1e-4

    plant(change)
    monkeypatch.setattr(checkup, "DEAR", 1.0)
    found, _ = checked(labels=300)
    assert "first block" in found["shallow_look"]["message"]
    assert found["near_duplicates"]["count"] >= 20


def test_outliers(plant):
    def change(x, y, part):
        if part == "pool":
            x[5] = 60.0

    plant(change)
    found, _ = checked(labels=300)
    assert found["outliers"]["rows"] == ["pool-3-5"]


def test_labels_that_were_turned_round(plant):
    """A tenth of them: most are found, and most of what is found was turned."""

    def change(x, y, part):
        if part == "pool":
            x[:, 0] += 4 * y  # a problem that can be learnt
            y[list(every(30))] = 1 - y[list(every(30))]

    plant(change)
    found, _ = checked(labels=300)
    named = {row.partition(":")[0] for row in found["label_errors"]["rows"]}
    turned = {f"pool-3-{i}" for i in every(30)}
    assert len(named & turned) >= 0.8 * len(named) > 0
    assert found["label_errors"]["count"] >= 15


def test_labels_that_chance_explains_are_told_and_stay():
    """Classes that overlap all along: hundreds of labels against the odds, as many as there should be."""
    rng = np.random.default_rng(0)
    p = rng.random(4000)
    said, y = np.stack([1 - p, p], axis=1), (rng.random(4000) < p).astype(np.int64)
    doubts = doubts_of(y, said)
    assert len(doubts.named) > 100
    assert len(doubts.sure) <= 4
    assert doubts.expected == pytest.approx(len(doubts.named), rel=0.2)
    wrong = np.flatnonzero(p < 0.005)
    y[wrong] = 1
    sure = set(doubts_of(y, said).sure)
    assert len(sure & set(wrong.tolist())) >= 0.9 * len(wrong) > 10
    assert len(sure) <= 2 * len(wrong)


def test_an_input_that_is_the_target(plant):
    def change(x, y, part):
        x[:, 4] = 2.0 * y + 0.1 * x[:, 4]

    plant(change)
    found, _ = checked(labels=300)
    assert list(found["target_in_inputs"]["figures"]["auroc"]) == ["input 5"]


def test_small_classes(plant):
    def change(x, y, part):
        y[: len(y) - 6 if part == "pool" else 200] = 0
        y[len(y) - 6 if part == "pool" else 200 :] = 1

    plant(change)
    found, _ = checked(labels=300)
    assert found["small_classes"]["figures"]["rows"] == {"out": 6}


def test_shifts_by_name(plant):
    found, _ = checked(labels=300, options={"shift": 2.0})
    assert found["covariate_shift"]["figures"]["auroc"] > 0.8

    def swapped(x, y, part):
        y[:] = 1 - y

    plant(swapped)
    found, _ = checked(labels=300, options={"shift": 4.0})
    assert found["covariate_shift"]["figures"]["auroc"] > 0.85
    assert "concept_shift" not in found, "no source row is like the target's: nothing is known of what labels mean"
    found, _ = checked(labels=300, options={"shift": 0.0})
    assert found["concept_shift"]["figures"]["seen"] < 0.5 < found["concept_shift"]["figures"]["expected"]
    assert "covariate_shift" not in found

    def rare(x, y, part):
        index = torch.nonzero(y == 1).flatten()
        kept = torch.nonzero(y == 0).flatten()
        index = index[: len(index) // 8]
        rows = torch.cat([index, kept])
        order = rows[torch.arange(len(y)) % len(rows)]
        x[:], y[:] = x[order] + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)), y[order]

    plant(rare)
    found, _ = checked(labels=300, options={"shift": 0.0})
    assert "label_shift" in found


def test_a_run_keeps_its_findings_and_cleaning_acts_on_training_rows_alone(plant, tmp_path):
    def change(x, y, part):
        if part == "pool":
            x[200:250], y[200:250] = x[:50], y[:50]
        else:
            x[100:110], y[100:110] = x[:10], y[:10]

    plant(change)
    reports = {}
    for name, clean in (("plain", False), ("clean", True)):
        settings = {**FAST, "strategies": ("linear_probe",), "seeds": 1, "labels": 300, "clean": clean}
        settings["options"] = {"shift": 2.0}
        made = config(**settings, out=tmp_path / name)
        reports[name] = run(made, load_registry(made), Reporter()).report
        quality = json.loads((tmp_path / name / "data" / "quality.json").read_text(encoding="utf-8"))
        assert any("repeat an earlier one" in f["found"] for f in quality["findings"]) is not clean
        assert any("covariate shift" in f["found"] for f in quality["findings"])
        page = (tmp_path / name / "report" / "report.html").read_text(encoding="utf-8")
        assert ("repeat an earlier one" in page) is not clean
        assert ("left_out" in quality) is clean
    rows = {k: r["labels"]["train"] + r["labels"]["validation"] for k, r in reports.items()}
    assert rows["plain"] == 300
    assert rows["clean"] == 300 - len(
        {*quality["left_out"]["duplicates"], *quality["left_out"].get("label_errors", ())}
    )
    assert "pool-3-200" in quality["left_out"]["duplicates"]
    assert reports["clean"]["labels"]["test"] == reports["plain"]["labels"]["test"] == 400
    assert any(warning.startswith("--clean left ") for warning in reports["clean"]["warnings"])


def test_small_counts_are_hidden_where_the_domain_hides_them():
    issue = checks.Issue("outliers", "warning", "2 of 9 rows lie far", "look", rows=["a", "b"], figures={"score": [1]})
    said = issue.to_json(least=11)
    assert (said["count"], said["rows"], said["figures"], said["message"]) == (
        "< 11",
        [],
        {},
        "outliers: fewer than 11 rows",
    )
    assert issue.to_json()["rows"] == ["a", "b"]


def test_close_pairs_are_those_of_a_plain_search():
    x = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
    x[50:60] = x[:10] + 1e-3
    found = close_pairs(x.numpy())
    assert [(i, i + 50) for i in range(10)] == [pair for pair in found if pair[1] in range(50, 60)]
    assert close_pairs(x[:50].numpy()) == []
    assert close_pairs(torch.zeros(50, 3).numpy()) == []
