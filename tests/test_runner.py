"""Whole runs on the toy domain, in this process and killed in another."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tlplat.config import RunConfig
from tlplat.errors import UsageError
from tlplat.prediction import predict
from tlplat.progress import Reporter
from tlplat.runner import plan_only, resume, run
from tlplat.stage import load_registry

FAST = {
    "strategies": ("linear_probe", "lora", "truncate"),
    "seeds": 2,
    "threads": 1,
    "jobs": 1,
    "train": {"steps": 15, "learning_rate": 3e-3},
}


def config(out, **more):
    return RunConfig.model_validate({"domain": "toy", "out": out, **FAST, **more})


def carry_out(out, **more):
    made = config(out, **more)
    return run(made, load_registry(made), Reporter())


def results(folder):
    """Bytes of everything that a result is: metrics, predictions, plans, model, search (no clock, no path)."""
    names = (
        "metrics.json",
        "plan.json",
        "measured.json",
        "events.jsonl",
        "search.json",
        "splits.parquet",
        "structure.json",
    )
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and (p.name in names or p.suffix == ".safetensors")
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return tmp_path_factory.mktemp("runs") / "run"


@pytest.fixture
def finished(toy, done):
    """One finished run, made once and only read."""
    return resume(done, Reporter()) if done.exists() else carry_out(done)


def test_the_run_directory_holds_what_the_design_names(finished):
    folder = finished.folder
    for name in (
        "config.toml",
        "env.json",
        "search.json",
        "status.json",
        "data/manifest.json",
        "data/quality.json",
        "data/splits.parquet",
        "model/model.safetensors",
        "model/structure.json",
        "model/preprocess.json",
        "model/labels.json",
        "model/manifest.json",
        "model/MODEL_CARD.md",
        "report/report.json",
        "report/report.html",
    ):
        assert (folder / name).is_file(), name
    assert json.loads((folder / "status.json").read_text())["state"] == "complete"
    assert not list(folder.rglob("*.tmp*"))
    assert not list(folder.rglob("checkpoint"))


def test_baselines_and_zero_shot_are_always_there(finished):
    names = {c["strategy"] for c in finished.report["candidates"]}
    assert names == {"linear_probe", "lora", "truncate", "scratch", "zero_shot", "majority", "nearest_mean"}
    by_name = {c["strategy"]: c for c in finished.report["candidates"]}
    assert by_name["majority"]["mean"] == 0.5
    assert by_name["zero_shot"]["transfers"]
    assert not by_name["scratch"]["transfers"]
    assert finished.report["verdict"]["outcome"] in ("helps", "ties", "hurts")


def test_every_figure_of_the_report_is_in_the_trials(finished):
    for candidate in finished.report["candidates"]:
        for seed in candidate["seeds"]:
            record = json.loads((finished.folder / seed["trial"] / "metrics.json").read_text())
            assert record["test"]["auroc"] == seed["test"]
        assert candidate["mean"] == pytest.approx(np.mean([s["test"] for s in candidate["seeds"]]))


def test_the_same_run_twice_is_bitwise_equal_and_another_seed_is_not(finished, tmp_path):
    again = carry_out(tmp_path / "again")
    assert results(again.folder) == results(finished.folder)
    other = carry_out(tmp_path / "other", seed=7)
    assert results(other.folder) != results(finished.folder)


def test_data_seed_changes_the_rows_and_seed_does_not(finished, tmp_path):
    def ids(folder):
        import pyarrow.parquet as pq

        return pq.read_table(folder / "data" / "splits.parquet")["id"].to_pylist()

    assert ids(carry_out(tmp_path / "a", seed=7).folder) == ids(finished.folder)
    assert ids(carry_out(tmp_path / "b", data_seed=1).folder) != ids(finished.folder)


def test_the_saved_model_predicts_what_the_report_scored(finished, toy, tmp_path):
    winner = next(c for c in finished.report["candidates"] if c["strategy"] == finished.report["verdict"]["winner"])
    from tlplat.storage import read_tensors

    wanted = read_tensors(finished.folder / winner["seeds"][0]["trial"] / "test.safetensors")[0]["predictions"].numpy()
    file = tmp_path / "test.csv"
    np.savetxt(file, toy.rows(400, 4, 0.3).inputs.tensor.numpy(), delimiter=",")
    rows = list(predict(finished.folder, file, Reporter()))
    assert [r["id"] for r in rows] == [str(i) for i in range(400)]
    np.testing.assert_allclose([r["probabilities"]["out"] for r in rows], wanted[:, 1], atol=1e-5)
    assert rows[0]["prediction"] == max(rows[0]["probabilities"], key=rows[0]["probabilities"].get)
    alone = list(predict(finished.folder / "model", file, Reporter()))
    assert alone == rows


def test_a_used_folder_is_refused_and_untouched(finished):
    before = results(finished.folder)
    with pytest.raises(UsageError, match=r"TL-OUT-EXISTS[\s\S]*already[\s\S]*resume"):
        carry_out(finished.folder)
    assert results(finished.folder) == before


def test_resume_of_a_complete_run_reads_it(finished):
    before = results(finished.folder)
    assert resume(finished.folder, Reporter()).report == json.loads(
        (finished.folder / "report/report.json").read_text()
    )
    assert results(finished.folder) == before


def test_resume_of_no_run_says_so(tmp_path):
    with pytest.raises(UsageError, match="TL-RUN-MISSING"):
        resume(tmp_path, Reporter())


CHILD = """
import sys
from pathlib import Path
from tlplat.config import RunConfig
from tlplat.progress import Reporter
from tlplat.runner import run
from tlplat.stage import load_registry
config = RunConfig.model_validate({config!r})
run(config, load_registry(config), Reporter())
"""


@pytest.mark.slow
def test_killed_at_many_points_and_resumed_equals_an_uninterrupted_run(finished, tmp_path):
    """SIGKILL after 2 to 40 finished files of trials; each resume ends bitwise equal."""
    wanted = results(finished.folder)
    for count in (2, 11, 40):
        out = tmp_path / f"killed-{count}"
        text = CHILD.replace("{config!r}", repr({"domain": "toy", "out": str(out), **FAST}))
        child = subprocess.Popen([sys.executable, "-c", text], env=os.environ)
        while child.poll() is None and len(list(out.rglob("*.json"))) < count:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert child.returncode == -signal.SIGKILL
        assert json.loads((out / "status.json").read_text())["state"] == "running"
        resume(out, Reporter())
        assert results(out) == wanted, count
        assert not [p for p in out.rglob("*") if ".tmp" in p.name]


def test_dry_run_plans_without_training(toy, tmp_path):
    made = config(tmp_path / "never")
    plan = plan_only(made, load_registry(made), Reporter())
    assert not (tmp_path / "never").exists()
    assert plan["steps"] == 15
    assert {c["name"] for c in plan["candidates"]} >= {"lora", "scratch", "majority"}
    assert plan["labels"] == {"train_and_validation": 40, "test": 400, "unlabeled": 260}
    json.dumps(plan)


def test_a_source_without_a_head_skips_zero_shot_with_the_reason(toy, tmp_path):
    made = carry_out(tmp_path / "run", source="headless")
    assert [s["strategy"] for s in made.report["skipped"]] == ["zero_shot"]
    assert "no head" in made.report["skipped"][0]["reason"]


def test_a_source_trained_on_flipped_labels_does_not_win_with_its_own_head(toy, tmp_path):
    made = carry_out(tmp_path / "run", source="flipped")
    by_name = {c["strategy"]: c for c in made.report["candidates"]}
    assert by_name["zero_shot"]["mean"] < 0.5
    assert made.report["verdict"]["winner"] != "zero_shot"


def test_unknown_names_are_refused_before_anything_is_written(toy, tmp_path):
    from tlplat.errors import PluginError

    made = config(tmp_path / "run", strategies=("linear_prob",))
    with pytest.raises(PluginError, match="linear_probe"):
        load_registry(made)
    assert not (tmp_path / "run").exists()


def test_a_domain_adds_to_the_closer_look_at_the_finalists(toy, tmp_path, monkeypatch):
    """Its tables come behind the task's own, from the test rows' targets and predictions."""

    def detail(self, target, evidence):
        share = float((evidence.predictions.argmax(axis=1) == evidence.targets).mean())
        return {"tables": [{"title": "Right", "columns": ["rows", "share"], "rows": [[len(target.test), share]]}]}

    monkeypatch.setattr(toy.Toy, "detail", detail)
    report = carry_out(tmp_path / "run", strategies=("linear_probe",), seeds=1).report
    verdict = report["verdict"]
    assert list(report["details"]) == [verdict["winner"], verdict["reference"]]
    for key, found in report["details"].items():
        (table,) = found["tables"]
        metrics = next(c["metrics"] for c in report["candidates"] if c["key"] == key)
        assert table["rows"] == [[400, pytest.approx(metrics["accuracy"])]]
        assert found["confusion"]
