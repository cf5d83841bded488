"""The ranking of sources: held-out figures lead, planted sources fall behind, and auto carries the best two."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tlplat.config import RunConfig, to_toml
from tlplat.errors import DataError, ModelError
from tlplat.evaluate import Estimate, Scores
from tlplat.progress import Reporter
from tlplat.ranking import TITLES, RankedSource, agreements, in_order
from tlplat.runner import plan_only, run
from tlplat.sourcerank import RANKING, Ranking
from tlplat.sourcing import SkippedSource
from tlplat.stage import load_registry, prepare, rank
from tlplat.storage import read_json, write_text

FAST = {"domain": "toy", "threads": 1, "jobs": 1, "seeds": 1, "train": {"steps": 5, "learning_rate": 3e-3}}


def config(**more):
    return RunConfig.model_validate({**FAST, "strategies": ("linear_probe",), **more})


def ranking(**more):
    made = config(**more)
    return rank(made, load_registry(made), Reporter())


def source(name, probe=None, own=None, evidence=0.0):
    def scores(mean):
        return Scores(np.array([mean]), mean + np.linspace(-0.05, 0.05, 50))

    held = {k: scores(v) for k, v in (("probe", probe), ("zero_shot", own)) if v is not None}
    values = dict.fromkeys(TITLES, None) | {"log_me": evidence, "probe": probe, "zero_shot": own}
    return RankedSource(name, name, 4, values, {}, held)


def names(found):
    return [s.called for s in found]


def test_the_better_of_probe_and_own_head_leads():
    found = [source("a", 0.7), source("b", 0.6, 0.9), source("c", 0.8, 0.2)]
    ordered = in_order(found, True)
    assert names(ordered) == ["b", "c", "a"]
    assert ordered[0].behind is None
    assert ordered[1].behind.mean == pytest.approx(0.1)
    assert ordered[2].behind.mean == pytest.approx(0.2)


def test_where_the_metric_falls_the_order_turns():
    ordered = in_order([source("a", 0.7), source("b", 0.6, 0.9), source("c", 0.8, 0.2)], False)
    assert names(ordered) == ["c", "b", "a"]
    assert ordered[1].behind.mean == pytest.approx(0.4)
    assert agreements(ordered, False)["probe"] == pytest.approx(-1 / 3)


def test_log_me_decides_where_nothing_is_held_out():
    assert names(in_order([source("a", evidence=-1), source("b", evidence=2)], True)) == ["b", "a"]
    assert names(in_order([source("a", evidence=5), source("b", 0.5, evidence=-5)], True)) == ["b", "a"]


def test_agreement_is_with_the_order():
    ordered = in_order([source("a", 0.9, evidence=1), source("b", 0.7, evidence=3), source("c", 0.6, evidence=2)], True)
    taus = agreements(ordered, True)
    assert taus["probe"] == 1
    assert taus["log_me"] == pytest.approx(-1 / 3)
    assert taus["leep"] is None


def told(order, labels=500, agreement=None):
    metric = SimpleNamespace(name="auroc", higher_is_better=True)
    taus = dict.fromkeys(TITLES, None) | (agreement or {})
    return Ranking(order, [], metric, labels, taus).trust()


def with_gap(low, high):
    first, second, third = source("a", 0.9), source("b", 0.8), source("c", 0.1)
    second = RankedSource("b", "b", 4, second.scores, {}, second.held_out, Estimate((low + high) / 2, low, high))
    return [first, second, third]


def test_how_far_to_trust():
    assert "a is ahead of b by 0.050 of auroc [0.010, 0.090] on 500 labelled rows" in told(with_gap(0.01, 0.09))
    assert "cannot be told apart" in told(with_gap(-0.01, 0.09))
    assert "hint" not in told(with_gap(0.01, 0.09))
    assert "With 16 labels" in told(with_gap(0.01, 0.09), labels=16)
    assert "by chance" in told(with_gap(0.01, 0.09)[:2])
    assert "nothing to compare" in told(with_gap(0.01, 0.09)[:1])
    assert "No source" in told([])
    assert "LogME alone" in told([source("a"), source("b")])
    assert "1 of the 2 other scores" in told(
        with_gap(0.01, 0.09), agreement={"log_me": 1.0, "leep": -1.0, "probe": 1.0}
    )


def test_the_toy_sources_come_in_the_right_order(toy):
    """Useful: probe and own head. Flipped: the same features, a head that is wrong. Headless: no head to ask."""
    found = ranking(labels=200)
    assert found["labels"] == 200
    by_name = {s["name"]: s for s in found["sources"]}
    assert set(by_name) == {"rings", "flipped", "headless"}
    assert found["sources"][0]["name"] == "rings"
    assert by_name["rings"]["scores"]["zero_shot"] > 0.8
    assert by_name["flipped"]["scores"]["zero_shot"] < 0.3
    assert by_name["headless"]["scores"]["leep"] is None
    assert "no head" in by_name["headless"]["missing"]["leep"]
    low, high = by_name["rings"]["intervals"]["probe"]
    assert low < by_name["rings"]["scores"]["probe"] < high
    assert by_name["flipped"]["behind"]["interval"][0] <= by_name["flipped"]["behind"]["difference"]
    assert found["trust"]
    json.dumps(found, allow_nan=False)


def test_a_ranking_is_the_same_twice_and_another_draw_is_not(toy):
    assert ranking() == ranking()
    assert ranking()["sources"] != ranking(data_seed=1)["sources"]


def test_features_are_extracted_once_and_found_by_a_later_run(toy, monkeypatch):
    """The ranking's features are the run's: extraction that would run again fails here."""
    ranking(source="rings", labels=44)
    from tlplat import features

    made = config(source="rings", labels=44)
    stage = prepare(made, load_registry(made), Reporter())
    monkeypatch.setattr(features, "apply_in_batches", None)
    assert len(stage.bench.store.features(stage.source, stage.labelled.inputs)) == 44


def test_auto_carries_the_best_two(toy):
    made = config(source="auto")
    stage = prepare(made, load_registry(made), Reporter())
    order = [s["name"] for s in stage.ranking["sources"]]
    assert stage.ranking["carried"] == [v.called for v in stage.views] == order[:2]
    assert {"strategy": f"source {order[2]}", "reason": "ranked 3 of 3"} in stage.skipped
    assert {f"linear_probe@{order[0]}", f"linear_probe@{order[1]}"} <= {c.label for c in stage.candidates}


@pytest.fixture
def listed(toy, registry, monkeypatch):
    """Sets which sources the toy domain lists."""

    def set_to(*wanted):
        info = toy.Toy().sources()[0]
        made = [type(info)(name, name, "CC0-1.0", "none") for name in wanted]
        monkeypatch.setattr(toy.Toy, "sources", lambda self: made)

    return set_to


def test_a_source_that_does_not_fit_is_passed_over_with_the_reason(listed):
    listed("narrow", "rings", "doubled")
    made = config(source="auto")
    stage = prepare(made, load_registry(made), Reporter())
    assert {v.called for v in stage.views} == {"rings", "doubled"}
    assert {"strategy": "source narrow", "reason": "the source narrow takes other rows"} in stage.skipped


def test_one_source_at_hand_is_carried_alone(listed):
    listed("rings")
    made = config(source="auto")
    stage = prepare(made, load_registry(made), Reporter())
    assert [v.called for v in stage.views] == ["rings"]
    assert "linear_probe" in [c.label for c in stage.candidates]


def test_named_sources_are_not_passed_over(toy, monkeypatch):
    def refuse(self, name, options, context):
        raise ModelError("TL-MODEL-UNKNOWN", f"no source {name}", fix="choose another")

    monkeypatch.setattr(toy.Toy, "source", refuse)
    with pytest.raises(ModelError, match="no source ringz"):
        ranking(source="ringz,rings")


def test_a_dry_run_ranks_what_is_cached_and_trains_nothing(toy, tmp_path, monkeypatch):
    made = config(source="auto")
    plan = plan_only(made, load_registry(made), Reporter())
    assert [s["name"] for s in plan["ranking"]["sources"]][:2] == plan["ranking"]["carried"]
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(tmp_path / "empty"))
    plan = plan_only(made, load_registry(made), Reporter())
    assert plan["ranking"]["sources"] == []
    assert plan["ranking"]["carried"] == ["rings", "flipped"]
    assert all("pretrains it" in s["reason"] for s in plan["ranking"]["skipped"])
    assert not list((tmp_path / "empty").rglob("*.safetensors"))


def test_every_process_of_a_run_follows_the_kept_ranking(toy, tmp_path):
    """A worker reads the order that the run wrote, also where its own scores would say otherwise."""
    made = config(source="auto")
    first = prepare(made, load_registry(made), Reporter(), folder=tmp_path)
    kept = read_json(tmp_path / RANKING)
    assert kept == first.ranking
    write_text(tmp_path / RANKING, json.dumps({**kept, "carried": ["headless", "flipped"]}))
    again = prepare(made, load_registry(made), Reporter(), folder=tmp_path)
    assert [v.called for v in again.views] == ["headless", "flipped"]


def test_a_run_with_auto_reports_its_ranking(toy, tmp_path):
    made = config(source="auto", out=tmp_path / "run")
    done = run(made, load_registry(made), Reporter())
    assert done.report["sources"]["carried"] == [s["name"] for s in done.report["sources"]["sources"][:2]]
    assert {c["source"] for c in done.report["candidates"] if c["transfers"]} == set(done.report["sources"]["carried"])
    assert 'source = "auto"' in to_toml(made)


def test_what_no_score_can_take_is_passed_over_unless_nothing_is_left(toy, monkeypatch):
    from tlplat import sourcerank

    original = sourcerank.score_source

    def score(view, *rest):
        if view.called in broken:
            raise DataError("TL-SCORE-INPUT", f"{view.called} is broken", fix="mend it")
        return original(view, *rest)

    monkeypatch.setattr(sourcerank, "score_source", score)
    broken = {"rings"}
    found = ranking()
    assert {"name": "rings", "reason": "rings is broken"} in found["skipped"]
    assert len(found["sources"]) == 2
    broken = {"rings", "flipped", "headless"}
    with pytest.raises(DataError, match="rings is broken"):
        ranking()


def test_skipped_sources_have_a_name_and_a_reason():
    assert SkippedSource("x", "why") == SkippedSource(name="x", reason="why")
