"""What observers hear of whole runs on the toy domain: the events, their form, and that no observer can harm a run."""

import dataclasses
import json
from collections import Counter

import pytest
from test_runner import FAST, results

from tlplat import plugins
from tlplat.config import RunConfig
from tlplat.errors import NonFiniteError
from tlplat.events import EVENTS, SCHEMA_VERSION, RunFailed, describe
from tlplat.progress import Reporter
from tlplat.runner import resume, run
from tlplat.stage import load_registry

LISTENER = """
import json, os
from tlplat import hookimpl

@hookimpl
def tlplat_run_event(event):
    with open(os.environ["HEARD"], "a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\\n")
"""
FIELDS = {cls.name: {f.name for f in dataclasses.fields(cls)} for cls in EVENTS}


@pytest.fixture
def fresh_observers():
    plugins._observers.cache_clear()
    yield
    plugins._observers.cache_clear()


@pytest.fixture
def heard(site, tmp_path, monkeypatch, fresh_observers):
    """An installed observer that writes down what it hears; calling the fixture reads that, and begins anew."""
    path = tmp_path / "heard.jsonl"
    monkeypatch.setenv("HEARD", str(path))
    site.add("dist-listener", LISTENER, group="observers", name="listener")

    def read():
        events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        path.unlink()
        return events

    return read


def carry_out(out, reporter=None, **more):
    config = RunConfig.model_validate({"domain": "toy", "out": out, **FAST, **more})
    return run(config, load_registry(config), reporter or Reporter())


def well_formed(events, folder):
    for event in events:
        assert event["schema_version"] == SCHEMA_VERSION
        assert event["run_dir"] == str(folder)
        assert event.keys() == {"event", "schema_version", "run_dir"} | FIELDS[event["event"]]


def kinds(events):
    """How often each event came, and of trials also for which and where."""
    place = ("event", "trial", "stage", "fold", "step")
    return Counter(tuple(event.get(key) for key in place) for event in events)


def test_a_run_is_told_from_its_start_to_its_report(toy, heard, tmp_path):
    made = carry_out(tmp_path / "run")
    events = heard()
    well_formed(events, tmp_path / "run")
    names = [event["event"] for event in events]
    assert names[0] == "run_start"
    assert names[-2:] == ["verdict", "run_complete"]
    start = events[0]
    assert start["config"]["domain"] == "toy"
    assert start["config"]["train"]["steps"] == 15
    assert start["metric"] == made.report["metric"]["name"]
    assert {"linear_probe", "scratch", "nearest_mean"} <= set(start["candidates"])
    assert not start["resumed"]
    assert events[-1]["report"] == json.loads(json.dumps(made.report))
    assert events[-2]["verdict"]["winner"] == made.report["verdict"]["winner"]

    begun = Counter((e["trial"], e["stage"]) for e in events if e["event"] == "trial_start")
    done = {(e["trial"], e["stage"]): e for e in events if e["event"] == "trial_complete"}
    assert begun.keys() == done.keys()
    assert set(begun.values()) == {1}
    for (trial, stage), event in done.items():
        record = json.loads((tmp_path / "run" / trial / "metrics.json").read_text(encoding="utf-8"))
        told = {record["validation"]["metric"]: record["validation"]["score"]}
        assert event["metrics"] == (told if stage == "validation" else record["test"])
        assert event["strategy"] in trial
    finals = {trial for trial, stage in done if stage == "final"}
    assert finals == {seed["trial"] for c in made.report["candidates"] for seed in c["seeds"]}

    points = [e for e in events if e["event"] == "trial_progress"]
    assert {(p["trial"], p["stage"]) for p in points} <= begun.keys()
    for (trial, stage, fold), count in Counter((p["trial"], p["stage"], p["fold"]) for p in points).items():
        assert count <= 16, (trial, stage, fold)
        assert (fold is None) is (stage == "final")
    assert all(p["validation_loss"] is not None for p in points if p["stage"] == "validation")


def test_a_resumed_run_tells_what_is_new(toy, heard, tmp_path):
    class Interrupted(Reporter):
        """Ctrl-C after the first fits."""

        def task(self, description, total=None):
            from contextlib import contextmanager

            @contextmanager
            def task():
                left = [4]

                def advance(units):
                    left[0] -= 1
                    if left[0] < 0:
                        raise KeyboardInterrupt

                yield advance

            return task()

    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path / "run", Interrupted())
    first = heard()
    well_formed(first, tmp_path / "run")
    assert first[-1]["event"] == "run_interrupted"
    resume(tmp_path / "run", Reporter())
    second = heard()
    assert second[0]["event"] == "run_start"
    assert second[0]["resumed"]
    assert second[-1]["event"] == "run_complete"
    ends = [{(e["trial"], e["stage"]) for e in part if e["event"] == "trial_complete"} for part in (first, second)]
    assert ends[0]
    assert ends[1]
    assert not ends[0] & ends[1]


@pytest.mark.slow
def test_helpers_events_come_through_the_runs_own_process(toy, heard, tmp_path):
    """Two processes: an observer hears in one of them what it would hear of one, and is loaded nowhere else."""
    carry_out(tmp_path / "one", seeds=3)
    one = heard()
    carry_out(tmp_path / "two", seeds=3, jobs=2)
    two = heard()
    well_formed(two, tmp_path / "two")
    assert kinds(one) == kinds(two)
    for trial in {e["trial"] for e in two if "trial" in e}:
        names = [e["event"] for e in two if e.get("trial") == trial and e["stage"] == "validation"]
        assert names[0] == "trial_start"
        assert names[-1] == "trial_complete"
        assert set(names[1:-1]) <= {"trial_progress"}


def test_a_failed_run_is_told(toy, heard, tmp_path):
    with pytest.raises(NonFiniteError):
        carry_out(tmp_path / "run", strategies=("full_ft",), train={"steps": 15, "learning_rate": 1e30})
    last = heard()[-1]
    assert (last["event"], last["code"]) == ("run_failed", "TL-NUM-NONFINITE")
    assert "not finite" in last["message"]


MEDDLERS = {
    "raises": "raise RuntimeError('bad ear')",
    "exits": "raise SystemExit(3)",
    "seeds": "import torch; torch.manual_seed(3)",
    "threads": "import torch; torch.set_num_threads(2)",
    "edits": "event.clear()",
}
HARMFUL = """
from tlplat import hookimpl

@hookimpl
def tlplat_run_event(event):
    if event["event"] != "{when}":
        return
    {body}
"""


def test_observers_that_misbehave_are_named_and_the_run_goes_on(toy, site, heard, tmp_path):
    """At different events; each is blamed by distribution and version, and the result is that of a run without them."""
    whens = ["run_start", "trial_start", "trial_progress", "trial_complete", "verdict"]
    for (name, body), when in zip(MEDDLERS.items(), whens, strict=True):
        site.add(f"dist-{name}", HARMFUL.format(body=body, when=when), group="observers", name=name)
    made = carry_out(tmp_path / "run")
    assert heard()[-1]["event"] == "run_complete"
    warned = "\n".join(made.report["warnings"])
    for name in MEDDLERS:
        assert (f"observer plugin '{name}' (dist-{name} 1.0)" in warned) is (name != "edits"), warned
    plugins._observers.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLPLAT_PLUGINS", "tlplat-toy")
        carry_out(tmp_path / "alone")
    assert results(tmp_path / "run") == results(tmp_path / "alone")


def test_numbers_that_are_not_finite_become_null():
    assert describe(RunFailed("x", "y")) == {"event": "run_failed", "code": "x", "message": "y"}
    from tlplat.events import TrialProgress

    said = describe(TrialProgress("t", "final", 3, float("nan"), validation_loss=float("inf")))
    assert (said["train_loss"], said["validation_loss"]) == (None, None)
    json.dumps(said, allow_nan=False)
