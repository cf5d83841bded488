"""The demo: cohorts, split, source, baseline; and what the domain refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from commandline import tlplat
from tlplat_medicine import sources
from tlplat_medicine.baselines import CoxRegression
from tlplat_medicine.cohorts import CATEGORICAL, COLUMNS, gbsg, rotterdam
from tlplat_medicine.domain import FEWEST, MedicineDomain, MedicineOptions

from tlplat.data.columns import TableEncoder
from tlplat.domain import DataOptions
from tlplat.errors import ModelError
from tlplat.model import SourceModel
from tlplat.plan import Ref

GOOD = ("a,61,1,<=20,2,3,40,100,1", "b,44,0,20-50,3,1,0,,0")


@pytest.fixture
def source() -> SourceModel:
    """The source's structure and preprocessing with weights that were never trained."""
    encoder = TableEncoder.fit(rotterdam().table)
    base = Ref(sources.MedicineNet.name, {"inputs": encoder.width})
    net = sources.MedicineNet(encoder.width)
    return SourceModel("blank", base, net.state_dict(), None, None, {"columns": encoder.to_json()}, {})


def test_the_cohorts_are_those_of_royston_and_altman():
    source, target = rotterdam(), gbsg()
    assert (len(source), len(target)) == (1546, 686)
    assert int(target.targets[:, 1].sum()) == 299
    assert set(target.table["size"]) <= set(source.table["size"]) == {"<=20", "20-50", ">50"}
    assert bool((source.targets[:, 0] > 0).all())
    assert all(cohort.table[c].dtype == object for cohort in (source, target) for c in CATEGORICAL)
    assert len(set(target.ids)) == 686


def test_patients_are_on_one_side_and_another_draw_differs(context, source):
    made = MedicineDomain().target(MedicineOptions(), DataOptions(), source, context)
    assert sorted([*made.pool.ids, *made.test.ids]) == sorted(gbsg().ids)
    assert not set(made.pool.ids) & set(made.test.ids)
    shares = [float(part.targets[:, 1].mean()) for part in (made.pool, made.test)]
    assert shares[0] == pytest.approx(shares[1], abs=0.01)
    again = MedicineDomain().target(MedicineOptions(), DataOptions(), source, replace(context, data_seed=1))
    assert again.test.ids != made.test.ids


def test_the_encoder_is_the_sources(context, source):
    """No statistic of the target: its rows are standardised by what Rotterdam's rows gave."""
    made = MedicineDomain().target(MedicineOptions(), DataOptions(), source, context)
    encoder = TableEncoder.from_json(source.preprocess["columns"])
    age = encoder.columns[0]
    row = int(made.test.ids[0].removeprefix("gbsg-"))
    cohort = gbsg()
    years = cohort.table["age"][cohort.ids.index(f"gbsg-{row}")]
    assert float(made.test.inputs.take(torch.tensor([0]))[0, 0]) == pytest.approx(
        (years - age.mean) / age.std, abs=1e-5
    )


def test_cox_is_better_than_a_guess_and_is_fitted_on_the_labelled_patients(context, source):
    made = MedicineDomain().target(MedicineOptions(), DataOptions(), source, context)
    task = made.task.settled(made.pool.targets)
    (said,) = CoxRegression().fit_predict(made.pool, [made.test.inputs], task, 0)
    concordance = float(task.metrics[0](made.test.targets.numpy(), said)[0])
    assert 0.62 < concordance < 0.75
    assert np.all(np.diff(said[:, 1:], axis=1) <= 1e-12)  # survival falls with time


def test_models_keep_no_patient_and_reports_no_small_group():
    assert MedicineDomain.keeps_rows is False
    assert MedicineDomain.least_count == FEWEST == 11


def test_an_unknown_source_is_named_with_those_that_are_there(context):
    with pytest.raises(ModelError, match=r"TL-MODEL-UNKNOWN[\s\S]*did you mean 'rotterdam'"):
        MedicineDomain().source("roterdam", MedicineOptions(), context)


def test_prediction_rows_are_encoded_as_the_source_was(context, source, patients):
    ids, inputs = MedicineDomain().encode(patients(*GOOD), source.preprocess, context)
    assert list(ids) == ["a", "b"]
    encoder = TableEncoder.from_json(source.preprocess["columns"])
    assert inputs.take(torch.arange(2)).shape == (2, encoder.width)
    assert not context.warnings


def test_a_category_that_was_never_seen_is_told(context, source, patients):
    MedicineDomain().encode(patients(GOOD[0].replace("<=20", "huge")), source.preprocess, context)
    assert any("size" in sentence and "never saw" in sentence for sentence in context.warnings)


def test_own_data_are_refused_before_any_work(tmp_path):
    outcome = tlplat("run", "--domain", "medicine", "--data", "x.csv", cwd=tmp_path, cache=tmp_path / "cache")
    assert (outcome.code, outcome.error) == (2, "TL-USAGE")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_demo_through_the_command_line(tmp_path, patients):
    out = tmp_path / "run"
    outcome = tlplat(
        *("run", "--domain", "medicine", "--strategy", "linear_probe,full_ft", "--seeds", "2", "--labels", "60"),
        *("--jobs", "1", "--threads", "1", "--out", str(out), "--json"),
        cwd=tmp_path,
    )
    assert outcome.code == 0, outcome.err
    report = outcome.document
    means = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert (report["metric"]["name"], report["metric"]["higher_is_better"]) == ("concordance", True)
    assert {"cox", "scratch", "zero_shot", "kaplan_meier", "full_ft"} <= set(means)
    assert means["zero_shot"] > 0.63
    assert means["kaplan_meier"] == pytest.approx(0.5)
    for row in gbsg().ids[:200]:
        assert row not in (out / "report" / "report.html").read_text(encoding="utf-8")
    predicted = tlplat("predict", str(out), str(patients(*GOOD)), cwd=tmp_path)
    assert predicted.code == 0, predicted.err
    assert predicted.out.splitlines()[0].startswith("id,prediction,median")
    assert [line.split(",")[0] for line in predicted.out.splitlines()[1:]] == ["a", "b"]
    assert COLUMNS[0] == "age"
