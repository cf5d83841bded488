"""The demos: cohorts, split, sources, baselines, prediction; and what the domain refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tlplat_medicine import nuclei, sources
from tlplat_medicine.baselines import CoxRegression, Forest, LinearLearner, LogisticRegression
from tlplat_medicine.cohorts import CATEGORICAL, gbsg, rotterdam
from tlplat_medicine.domain import MedicineDomain
from tlplat_medicine.options import MedicineOptions
from tlplat_medicine.privacy import FEWEST

from tlplat.data.columns import TableEncoder
from tlplat.data.splits import draw_labels
from tlplat.domain import DataOptions
from tlplat.errors import DataError, ModelError, UsageError
from tlplat.model import SourceModel
from tlplat.plan import Ref

GOOD = ("a,61,1,<=20,2,3,40,100,1", "b,44,0,20-50,3,1,0,,0")
DEMOS = ("prognosis", "diagnosis", "treatment")


def untrained(task: str) -> SourceModel:
    """The demo's source with weights that were never trained."""
    encoder = TableEncoder.fit(sources.features(task, sources.demo_source(task)))
    net = sources.MedicineNet(encoder.width)
    preprocess = {"columns": encoder.to_json(), "task": task}
    return SourceModel(
        "blank", Ref(sources.MedicineNet.name, net.config()), net.state_dict(), None, None, preprocess, {}
    )


def demo(task: str, context):
    return MedicineDomain().target(MedicineOptions(task=task), DataOptions(), untrained(task), context)


def test_the_cohorts_are_those_of_royston_and_altman():
    source, target = rotterdam(), gbsg()
    assert (len(source), len(target)) == (1546, 686)
    assert int(target.targets[:, 1].sum()) == 299
    assert set(target.table["size"]) <= set(source.table["size"]) == {"<=20", "20-50", ">50"}
    assert bool((source.targets[:, 0] > 0).all())
    assert all(cohort.table[c].dtype == object for cohort in (source, target) for c in CATEGORICAL)
    assert len(set(target.ids)) == 686


def test_the_images_are_parted_by_a_measured_property():
    low, high = nuclei.half(upper=False), nuclei.half(upper=True)
    assert len(low) + len(high) == 569
    assert not set(low.ids) & set(high.ids)
    assert low.table[nuclei.PROPERTY].max() < high.table[nuclei.PROPERTY].min()
    assert float(low.targets.double().mean()) < 0.2 < 0.55 < float(high.targets.double().mean())
    assert int(low.targets.sum() + high.targets.sum()) == 212


@pytest.mark.parametrize("task", DEMOS)
def test_patients_are_on_one_side_and_another_draw_differs(context, task):
    made = demo(task, context)
    whole = nuclei.half(upper=True) if task == "diagnosis" else gbsg()
    assert sorted([*made.pool.ids, *made.test.ids]) == sorted(whole.ids)
    shares = [float(made.task.strata(part.targets).double().mean()) for part in (made.pool, made.test)]
    assert shares[0] == pytest.approx(shares[1], abs=0.01)
    assert demo(task, replace(context, data_seed=1)).test.ids != made.test.ids
    made.task.check(made.test.targets, made.test.ids)


def test_the_encoder_is_the_sources(context):
    """No statistic of the target: its rows are standardised by what Rotterdam's rows gave."""
    made = demo("prognosis", context)
    age = TableEncoder.from_json(made.preprocess["columns"]).columns[0]
    cohort = gbsg()
    years = cohort.table["age"][cohort.ids.index(made.test.ids[0])]
    row = made.test.inputs.take(torch.tensor([0]))
    assert float(row[0, 0]) == pytest.approx((years - age.mean) / age.std, abs=1e-5)


def test_treatment_hides_the_treatment_counts_months_and_warns(context):
    made = demo("treatment", context)
    assert "hormon" not in made.pool.inputs.table
    arms = made.pool.targets[:, 0]
    assert 0.3 < float(arms.mean()) < 0.45
    assert 25 < float(made.pool.targets[:, 1].mean()) < 55
    assert any("not drawn by lot" in sentence for sentence in context.warnings)


def test_baselines_are_better_than_a_guess_and_are_fitted_on_the_labelled_patients(context):
    made = demo("prognosis", context)
    task = made.task.settled(made.pool.targets)
    (said,) = CoxRegression().fit_predict(made.pool, [made.test.inputs], task, 0)
    concordance = float(task.metrics[0](made.test.targets.numpy(), said)[0])
    assert 0.62 < concordance < 0.75
    assert np.all(np.diff(said[:, 1:], axis=1) <= 1e-12)  # survival falls with time
    made = demo("diagnosis", context)
    few = draw_labels(made.pool, 20, 0, made.task)
    for baseline in (LogisticRegression(), Forest()):
        (said,) = baseline.fit_predict(few, [made.test.inputs], made.task, 0)
        assert float(made.task.metrics[0](made.test.targets.numpy(), said)[0]) > 0.9
        assert baseline.parameters() > 0
    made = demo("treatment", context)
    task = made.task.settled(made.pool.targets)
    (said,) = LinearLearner().fit_predict(made.pool, [made.test.inputs], task, 0)
    assert said.shape == (len(made.test), 2)
    assert abs(said.mean() - 40) < 15


def test_a_source_of_other_columns_and_options_without_data_are_refused(context):
    domain = MedicineDomain()
    with pytest.raises(UsageError, match="knows columns that the demo"):
        domain.target(MedicineOptions(task="diagnosis"), DataOptions(), untrained("prognosis"), context)
    for given in ({"time": "x"}, {"drop": ("x",)}):
        with pytest.raises(UsageError, match="needs --data"):
            domain.target(MedicineOptions(**given), DataOptions(), untrained("prognosis"), context)


def test_each_demo_has_its_source_and_labels():
    domain = MedicineDomain()
    assert [domain.default_source(MedicineOptions(task=t)) for t in DEMOS] == ["rotterdam", "nuclei", "rotterdam"]
    assert [domain.labels_by_default({"task": t}) for t in DEMOS] == [60, 20, 120]
    assert domain.labels_by_default({}) == 60
    assert set(domain.tasks) == set(DEMOS)


def test_models_keep_no_patient_and_reports_no_small_group():
    assert MedicineDomain.keeps_rows is False
    assert MedicineDomain.least_count == FEWEST == 11


def test_an_unknown_source_is_named_with_those_that_are_there(context):
    with pytest.raises(ModelError, match=r"TL-MODEL-UNKNOWN[\s\S]*did you mean 'rotterdam'"):
        MedicineDomain().source("roterdam", MedicineOptions(), context)


def test_prediction_rows_are_encoded_as_the_source_was(context, patients):
    source = untrained("prognosis")
    ids, inputs = MedicineDomain().encode(patients(*GOOD), source.preprocess, context)
    assert list(ids) == ["a", "b"]
    encoder = TableEncoder.from_json(source.preprocess["columns"])
    assert inputs.take(torch.arange(2)).shape == (2, encoder.width)
    assert not context.warnings


def test_a_category_that_was_never_seen_is_told_and_a_missing_column_refused(context, patients, tmp_path):
    source = untrained("prognosis")
    MedicineDomain().encode(patients(GOOD[0].replace("<=20", "huge")), source.preprocess, context)
    assert any("fewer than 11 rows have a value of size" in sentence for sentence in context.warnings)
    (tmp_path / "few.csv").write_text("id,age\na,61\n", encoding="utf-8")
    with pytest.raises(DataError, match="TL-DATA-COLUMN"):
        MedicineDomain().encode(tmp_path / "few.csv", source.preprocess, context)


def test_sources_lend_their_own_patients(context):
    source = untrained("treatment")
    assert sources.lent(source) is None
    rows = sources.lent(replace(source, name="rotterdam-treatment"))
    assert rows is not None
    assert len(rows) == 1546
    assert rows.targets.shape[1] == 6
