"""Runs with several sources: each candidate gets rows encoded for its source; what does not fit is told."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from tlplat.config import RunConfig
from tlplat.data.examples import Examples, TensorInputs
from tlplat.domain import DataOptions, DomainContext, TargetTask
from tlplat.errors import UsageError
from tlplat.prediction import predict
from tlplat.progress import Reporter
from tlplat.runner import plan_only, run
from tlplat.sourcing import Sourcing
from tlplat.stage import load_registry, prepare
from tlplat.tasks.classification import Classification
from tlplat.trial import Rows
from tlplat.view import aligned, with_label_order

FAST = {
    "domain": "toy",
    "strategies": ("linear_probe",),
    "seeds": 2,
    "threads": 1,
    "jobs": 1,
    "train": {"steps": 15, "learning_rate": 3e-3},
}


def config(**more):
    return RunConfig.model_validate({**FAST, **more})


def staged(**more):
    made = config(**more)
    return prepare(made, load_registry(made), Reporter())


@pytest.fixture
def sourcing(registry, shared_cache):
    domain = registry.get("domains", "toy")()
    context = DomainContext(registry, shared_cache)
    return Sourcing(config(), domain, domain.Options(), DataOptions(), context)


def test_the_sources_that_are_meant(sourcing):
    def names(source):
        return dataclasses.replace(sourcing, config=config(source=source)).names()

    assert names(None) == ["rings"]
    assert names("auto") == ["rings", "flipped", "headless"]
    flipping = type("Flipping", (type(sourcing.domain),), {"default_source": lambda self, options: "flipped"})()
    assert dataclasses.replace(sourcing, domain=flipping, config=config(source=None)).names() == ["flipped"]
    assert names("flipped") == ["flipped"]
    assert names("rings, doubled,rings") == ["rings", "doubled"]


def test_a_path_with_a_comma_is_one_source(sourcing, tmp_path):
    folder = tmp_path / "a,b"
    folder.mkdir()
    assert dataclasses.replace(sourcing, config=config(source=str(folder))).names() == [str(folder)]


def test_each_source_has_its_encoding_of_the_same_rows(toy):
    stage = staged(source="rings,doubled")
    leading, other = stage.views
    assert stage.source.name == "rings"
    for mine, theirs in ((leading.labelled, other.labelled), (leading.target.test, other.target.test)):
        assert list(mine.ids) == list(theirs.ids)
        assert torch.equal(mine.targets, theirs.targets)
        assert torch.equal(2 * mine.inputs.tensor, theirs.inputs.tensor)
        assert other.encoded(mine) is theirs
        assert leading.encoded(mine) is mine
    with pytest.raises(ValueError, match="not rows of the run"):
        other.encoded(leading.target.pool)


def test_candidates_are_named_by_source_where_there_are_several(toy):
    labels = [c.label for c in staged(source="rings,doubled").candidates]
    assert labels[:2] == ["linear_probe@rings", "scratch@rings"]
    assert {"linear_probe@doubled", "zero_shot@doubled", "majority"} <= set(labels)
    assert len(set(labels)) == len(labels)
    assert "linear_probe" in [c.label for c in staged().candidates]


def test_a_candidate_gives_what_it_gives_alone(toy):
    """On the second source, from the first one's rows: bitwise the predictions of a run with that source alone."""
    both, alone = staged(source="rings,doubled"), staged(source="doubled")

    def predictions(stage, label):
        candidate = next(c for c in stage.candidates if c.label == label)
        rows = Rows.all(stage.labelled)
        return candidate.run(stage.bench, rows, [Rows.all(stage.target.test)], 0).predictions[0]

    for name in ("linear_probe", "zero_shot", "scratch"):
        np.testing.assert_array_equal(predictions(both, f"{name}@doubled"), predictions(alone, name))
    assert not np.array_equal(predictions(both, "linear_probe@doubled"), predictions(both, "linear_probe@rings"))


def test_labels_in_another_order_are_turned_and_the_head_with_them(toy):
    both, alone = staged(source="rings,swapped"), staged(source="swapped")
    assert both.target.task.info().labels == ("in", "out")
    assert alone.target.task.info().labels == ("out", "in")
    test = Rows.all(both.target.test)
    by_label = {c.label: c for c in both.candidates}
    turned = by_label["zero_shot@swapped"].run(both.bench, Rows.all(both.labelled), [test], 0).predictions[0]
    own = next(c for c in alone.candidates if c.label == "zero_shot")
    plain = own.run(alone.bench, Rows.all(alone.labelled), [Rows.all(alone.target.test)], 0).predictions[0]
    np.testing.assert_array_equal(turned, plain[:, ::-1])
    assert both.bench.task.metrics[0](both.target.test.targets.numpy(), turned)[0] > 0.7


def test_sources_that_cannot_be_compared_are_refused_or_passed_over(sourcing):
    with pytest.raises(UsageError, match=r"TL-SOURCE-ROWS[\s\S]*pool rows"):
        sourcing.views(["rings", "apart"])
    with pytest.raises(UsageError, match="takes other rows"):
        sourcing.views(["narrow", "rings"])
    views, skipped = sourcing.views(["narrow", "rings", "apart", "doubled"], lenient=True)
    assert [v.called for v in views] == ["rings", "doubled"]
    assert [(s.name, "rows" in s.reason) for s in skipped] == [("narrow", True), ("apart", True)]
    with pytest.raises(UsageError, match="takes other rows"):
        sourcing.views(["narrow"], lenient=True)


def test_two_sources_of_one_name_are_refused(sourcing, monkeypatch):
    original = type(sourcing.domain).source

    def same(self, name, options, context):
        return dataclasses.replace(original(self, name, options, context), name="rings")

    monkeypatch.setattr(type(sourcing.domain), "source", same)
    with pytest.raises(UsageError, match="TL-SOURCE-NAME"):
        sourcing.views(["rings", "flipped"])


def target(labels, targets, ids=("a", "b", "c", "d")):
    rows = Examples(TensorInputs(torch.zeros(4, 2)), torch.tensor(targets), list(ids))
    return TargetTask("t", Classification(labels), rows, rows, {}, {})


def test_aligning_finds_every_difference(sourcing):
    source = sourcing.view("headless", sourcing.domain.source("headless", sourcing.options, sourcing.context)).source
    first = target(["x", "y"], [0, 1, 0, 1])
    turned, _ = aligned(first, target(["y", "x"], [1, 0, 1, 0]), source)
    assert torch.equal(turned.pool.targets, first.pool.targets)
    for other, why in (
        (target(["x", "z"], [0, 1, 0, 1]), "labels"),
        (target(["x", "y"], [0, 1, 0, 1], ids="abdc"), "rows"),
        (target(["x", "y"], [0, 1, 1, 1]), "targets"),
    ):
        with pytest.raises(UsageError, match=why):
            aligned(first, other, source)


def test_a_head_of_other_labels_is_left_alone(sourcing):
    source = sourcing.domain.source("rings", sourcing.options, sourcing.context)
    assert with_label_order(source, ["out", "else"]) is source
    turned = with_label_order(source, ["out", "in"])
    assert turned.task.labels == ("out", "in")
    assert torch.equal(turned.head["weight"], source.head["weight"].flip(0))


def test_a_run_with_two_sources_reports_both_and_its_model_predicts(toy, tmp_path, monkeypatch):
    """The first source knows nothing, so the second one wins, and model/ holds its preprocessing."""
    original = toy.Toy.source

    def ignorant(self, name, options, context):
        made = original(self, name, options, context)
        return (
            dataclasses.replace(made, state={k: 0 * v for k, v in made.state.items()}) if name == "headless" else made
        )

    monkeypatch.setattr(toy.Toy, "source", ignorant)
    made = config(source="headless,doubled", out=tmp_path / "run")
    done = run(made, load_registry(made), Reporter())
    candidates = {c["key"]: c for c in done.report["candidates"]}
    assert candidates["linear_probe@doubled"]["source"] == "doubled"
    assert candidates["linear_probe@headless"]["source"] == "headless"
    assert candidates["scratch@doubled"]["source"] is None
    winner = candidates[done.report["verdict"]["winner"]]
    assert winner["source"] == "doubled"
    assert done.report["source_card"]["name"] == "doubled"
    assert "zero_shot@headless" in [s["strategy"] for s in done.report["skipped"]]
    html = (done.folder / "report" / "report.html").read_text(encoding="utf-8")
    assert "linear_probe@headless" in html
    saved = json.loads((done.folder / "model" / "preprocess.json").read_text(encoding="utf-8"))
    assert saved["scale"] == 2.0
    file = tmp_path / "test.csv"
    np.savetxt(file, toy.rows(400, 4, 0.3).inputs.tensor.numpy(), delimiter=",")
    rows = list(predict(done.folder, file, Reporter()))
    from tlplat.storage import read_tensors

    wanted = read_tensors(done.folder / winner["seeds"][0]["trial"] / "test.safetensors")[0]["predictions"].numpy()
    np.testing.assert_allclose([r["probabilities"]["out"] for r in rows], wanted[:, 1], atol=1e-5)


def test_dry_run_plans_for_every_source(toy):
    made = config(source="rings,doubled")
    plan = plan_only(made, load_registry(made), Reporter())
    assert plan["source"] == "rings, doubled"
    assert {"linear_probe@rings", "linear_probe@doubled"} <= {c["name"] for c in plan["candidates"]}
