"""The credit demo, sources, and how loans of the user's meet a source that was made of other columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from commandline import tlplat
from tlplat_finance import sources
from tlplat_finance.domain import FinanceDomain, FinanceOptions
from tlplat_finance.loans import SALARIED, SELF_EMPLOYED, Loans, consumer_credit

from tlplat.data.columns import TableEncoder
from tlplat.domain import DataOptions
from tlplat.errors import DataError, ModelError
from tlplat.model import SourceModel
from tlplat.plan import Ref
from tlplat.tasks.base import Evidence
from tlplat.tasks.classification import Classification


@pytest.fixture
def source(context) -> SourceModel:
    """The structure and preprocessing of the demo's source with weights that were never trained."""
    encoder = TableEncoder.fit(consumer_credit(SALARIED, context).table)
    net = sources.FinanceNet(encoder.width)
    base = Ref(sources.FinanceNet.name, {"inputs": encoder.width})
    preprocess = {"kind": "credit", "columns": encoder.to_json()}
    return SourceModel("blank", base, net.state_dict(), None, Classification(["good", "bad"]).info(), preprocess, {})


def test_the_demo_is_about_other_people_than_its_source(context, source):
    ours, theirs = consumer_credit(SELF_EMPLOYED, context), consumer_credit(SALARIED, context)
    assert (len(theirs), len(ours)) == (2805, 1024)
    assert not set(ours.ids) & set(theirs.ids)
    assert "Job" not in ours.table
    assert ours.labels.count("bad") / len(ours) == pytest.approx(0.33, abs=0.01)
    made = FinanceDomain().target(FinanceOptions(), DataOptions(), source, context)
    assert sorted([*made.pool.ids, *made.test.ids]) == sorted(ours.ids)
    assert made.task.info().labels == ("good", "bad")
    again = FinanceDomain().target(FinanceOptions(), DataOptions(), source, replace(context, data_seed=1))
    assert again.test.ids != made.test.ids


def test_baselines_are_better_than_a_guess(context, source):
    made = FinanceDomain().target(FinanceOptions(), DataOptions(), source, context)
    for baseline in FinanceDomain().baselines(made):
        (said,) = baseline.fit_predict(made.pool, [made.test.inputs], made.task, 0)
        np.testing.assert_allclose(said.sum(axis=1), 1)
        assert 0.75 < made.task.metrics[0](made.test.targets.numpy(), said)[0] < 0.9
        assert baseline.parameters() > 0
        assert baseline.inference_cost() > 0


def test_costs_are_of_risks_as_they_are_where_classes_count_alike(context, source):
    made = FinanceDomain().target(FinanceOptions(), DataOptions(), source, context)
    y, seen = made.test.targets.numpy(), made.pool.targets.numpy()
    risk = np.random.default_rng(0).beta(2, 4, len(y))
    said = np.stack([1 - risk, risk], axis=1)
    evidence = Evidence(y, said, seen, np.full((len(seen), 2), 0.5), len(seen))
    plain = FinanceDomain().detail(made, evidence)
    alike = made.task.balanced()
    moved = replace(evidence, predictions=alike.settled(made.pool.targets).rebalanced(said))
    assert moved.predictions[:, 1].mean() > risk.mean() + 0.05
    found = FinanceDomain().detail(replace(made, task=alike), moved)
    np.testing.assert_allclose(found["tables"][0]["rows"], plain["tables"][0]["rows"], rtol=1e-6)


def test_a_source_of_the_other_task_is_refused(context, source):
    with pytest.raises(ModelError) as caught:
        FinanceDomain().target(FinanceOptions(task="volatility"), DataOptions(), source, context)
    assert (caught.value.code, caught.value.exit_code) == ("TL-MODEL-TASK", 4)


def test_an_unknown_source_is_named_with_those_that_are_there(context):
    with pytest.raises(ModelError, match=r"TL-MODEL-UNKNOWN[\s\S]*did you mean 'salaried'"):
        FinanceDomain().source("salary", FinanceOptions(), context)


def test_columns_that_are_not_shared_are_told(context, source, loans, write):
    rows = [{"Income": row["income"], "Castle": row["home"], "outcome": row["outcome"]} for row in loans(120)]
    data = DataOptions(path=write("l.csv", rows), target="outcome")
    made = FinanceDomain().target(FinanceOptions(), data, source, context)
    told = made.data_card["columns"]
    assert (told["shared"], told["extra"]) == (["Income"], ["Castle"])
    assert "Seniority" in told["absent"]
    assert any("Castle" in sentence for sentence in context.warnings)
    assert made.pool.inputs.take(torch.arange(1)).shape[1] == source.base.args["inputs"]
    strange = [{"x": row["income"], "outcome": row["outcome"]} for row in loans(60)]
    with pytest.raises(DataError, match="TL-DATA-COLUMN"):
        FinanceDomain().target(
            FinanceOptions(), DataOptions(path=write("s.csv", strange), target="outcome"), source, context
        )


def test_the_rarer_label_is_warned_of_unless_another_is_named(context):
    labels = Loans({}, ["yes"] * 3 + ["no"] * 9, [str(i) for i in range(12)])
    assert sources.credit_task(labels, (), None)[0].labels == ("no", "yes")
    task, numbers = sources.credit_task(labels, (), "no")
    assert task.labels == ("yes", "no")
    assert numbers.tolist() == [0] * 3 + [1] * 9
    assert sources.credit_task(labels, ("yes", "no"), None)[0].labels == ("yes", "no")


def test_categories_written_as_numbers_are_declared(context, loans, write):
    data = DataOptions(path=write("l.csv", loans(200)), target="outcome")
    made = FinanceDomain().pretrain(FinanceOptions(categorical=("years",)), data, context)
    kinds = {column["name"]: column["kind"] for column in made.preprocess["columns"]}
    assert kinds == {"date": "categorical", "income": "numeric", "home": "categorical", "years": "categorical"}


def test_a_damaged_parquet_file(tmp_path, context):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match="TL-DATA-PARQUET"):
        FinanceDomain().check(FinanceOptions(), DataOptions(path=path, target="y"), context)


@pytest.mark.network
@pytest.mark.slow
def test_the_volatility_demo_through_the_command_line(tmp_path):
    """US stocks help European indices at once: better than HAR with 40 labels, untouched."""
    outcome = tlplat(
        *("run", "--domain", "finance", "--task", "volatility", "--strategy", "full_ft", "--seeds", "1"),
        *("--jobs", "1", "--threads", "1", "--out", "run", "--json"),
        cwd=tmp_path,
    )
    assert outcome.code == 0, outcome.err
    report = outcome.document
    means = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert (report["metric"]["name"], report["metric"]["higher_is_better"]) == ("crps", False)
    assert means["zero_shot"] < means["har"] < means["last_value"]
    assert means["garch"] < means["climatology"]
    assert not report["verdict"]["negative_transfer"]
    accuracy = report["details"][report["verdict"]["winner"]]["tables"][1]
    assert dict(zip(accuracy["columns"], accuracy["rows"][0], strict=True))["R²"] > 0.25


@pytest.mark.slow
def test_the_credit_demo_through_the_command_line(tmp_path):
    outcome = tlplat(
        *("run", "--domain", "finance", "--strategy", "linear_probe,full_ft", "--seeds", "2"),
        *("--jobs", "1", "--threads", "1", "--out", "run", "--json"),
        cwd=tmp_path,
    )
    assert outcome.code == 0, outcome.err
    report = outcome.document
    means = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert means["zero_shot"] > 0.76
    assert means["majority"] == 0.5
    assert report["labels"]["train"] + report["labels"]["validation"] == 40
    assert not report["verdict"]["negative_transfer"]
    for detail in report["details"].values():
        assert [table["title"] for table in detail["tables"]] == ["Credit decisions"]
