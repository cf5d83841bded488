"""Real runs of the toy domain in a local MLflow store: files, and SQLite where SQLAlchemy is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("mlflow")

SHORT = ("--strategy", "linear_probe,full_ft", "--seeds", "2", "--threads", "1", "--set", "train.steps=20")
STORES = ["file", *(["sqlite"] if importlib.util.find_spec("sqlalchemy") else [])]


def store(kind: str, folder: Path) -> str:
    return f"sqlite:///{folder / 'runs.db'}" if kind == "sqlite" else (folder / "store").as_uri()


def tlplat(
    folder: Path, uri: str | None, *arguments: str, code: int = 0, **more: str
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, its working folder and MLflow's settings its own too."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    env |= {"MLFLOW_ALLOW_FILE_STORE": "true", **({"MLFLOW_TRACKING_URI": uri} if uri else {}), **more}
    command = [sys.executable, "-m", "tlplat", *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == code, done.stderr
    return done


class Store:
    """What MLflow says of the runs in a store."""

    def __init__(self, uri: str, experiment: str = "tlplat") -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)
        found = self.client.get_experiment_by_name(experiment)
        assert found is not None
        runs = self.client.search_runs([found.experiment_id], max_results=1000)
        self.parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        self.trials = {run.data.tags["tlplat.trial"]: run for run in runs if "mlflow.parentRunId" in run.data.tags}
        assert len(self.trials) + len(self.parents) == len(runs), "a trial has two runs"

    def files(self, run: Any, below: str | None = None) -> dict[str, int]:
        found = {}
        for item in self.client.list_artifacts(run.info.run_id, below):
            found |= self.files(run, item.path) if item.is_dir else {item.path: item.file_size}
        return found


@pytest.fixture
def here(toy, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", STORES)
def test_a_run_stands_in_the_store(here, tmp_path, kind):
    """Parameters, trials, curves, scores, verdict, report, charts, and the model where asked for."""
    uri = store(kind, tmp_path)
    run = ("run", "--domain", "toy", *SHORT, "--jobs", "2" if kind == "file" else "1", "--out", "out", "--json")
    done = tlplat(tmp_path, uri, *run, TLPLAT_MLFLOW_MODEL="1", MLFLOW_EXPERIMENT_NAME="mine")
    report = json.loads(done.stdout)
    assert report["warnings"] == []
    found = Store(uri, "mine")
    (parent,) = found.parents
    assert parent.info.status == "FINISHED"
    assert parent.data.params["train.steps"] == "20"
    assert parent.data.params["strategies"] == "linear_probe,full_ft"
    assert parent.data.tags["tlplat.winner"] == report["verdict"]["winner"]
    assert parent.data.tags["mlflow.note.content"] == report["verdict"]["sentence"]
    assert parent.data.metrics["difference"] == pytest.approx(report["verdict"]["difference"])
    for candidate in report["candidates"]:
        assert parent.data.metrics[f"test/auroc/{candidate['key']}"] == pytest.approx(candidate["mean"])

    on_disk = {
        p.parent.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("trials/**/metrics.json")
    }
    assert found.trials.keys() == on_disk
    for trial, nested in found.trials.items():
        record = json.loads((tmp_path / "out" / trial / "metrics.json").read_text(encoding="utf-8"))
        assert nested.info.status == "FINISHED"
        assert nested.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert nested.data.metrics["validation/auroc"] == pytest.approx(record["validation"]["score"])
        if "test" in record:
            assert nested.data.metrics["test/auroc"] == pytest.approx(record["test"]["auroc"])
    tuned = next(t for name, t in found.trials.items() if name.startswith("trials/full_ft") and name.endswith("seed-0"))
    assert float(tuned.data.params["learning_rate"]) > 0
    curve = found.client.get_metric_history(tuned.info.run_id, "fold-0/validation_loss")
    assert [point.step for point in curve] == sorted({point.step for point in curve})
    assert len(curve) > 1

    files = found.files(parent)
    assert {
        "report.html",
        "report.json",
        "config.toml",
        "model/model.safetensors",
        "model/manifest.json",
    } <= files.keys()
    assert files["report.html"] == (tmp_path / "out" / "report" / "report.html").stat().st_size
    charts = [name for name in files if name.startswith("charts/")]
    assert any("roc-curves" in name for name in charts)
    for name in charts:
        text = Path(found.client.download_artifacts(parent.info.run_id, name, str(tmp_path))).read_text(
            encoding="utf-8"
        )
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
        assert "<style>" in text


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_failed_run_is_resumed_in_the_run_that_it_began(here, tmp_path):
    """A rate that explodes fails it; with a sound one in its config.toml, `tlplat resume` goes on."""
    uri = store("file", tmp_path)
    args = ("run", "--domain", "toy", *SHORT, "--jobs", "1", "--out", "out", "--set", "train.learning_rate=1e30")
    tlplat(tmp_path, uri, *args, code=7)
    found = Store(uri)
    (parent,) = found.parents
    assert (parent.info.status, parent.data.tags["tlplat.error"]) == ("FAILED", "TL-NUM-NONFINITE")
    assert {run.info.status for run in found.trials.values()} <= {"FINISHED", "FAILED"}
    config = tmp_path / "out" / "config.toml"
    config.write_text(
        config.read_text(encoding="utf-8").replace("1e+30", "1e-3").replace("1e30", "1e-3"), encoding="utf-8"
    )
    tlplat(tmp_path, uri, "resume", "out")
    found = Store(uri)
    (again,) = found.parents
    assert again.info.run_id == parent.info.run_id
    assert again.info.status == "FINISHED"
    assert "report.html" in found.files(again)


def test_without_a_tracking_uri_nothing_is_imported_or_written(here, tmp_path):
    """A run beside an installed tlplat-mlflow; the event's hook imports no MLflow, and neither does the CLI's help."""
    code = (
        "import sys, tlplat_mlflow\n"
        "tlplat_mlflow.tlplat_run_event({'event': 'run_start'})\n"
        "from tlplat.cli.entry import main\n"
        "main(['--help'])\n"
        "assert 'mlflow' not in sys.modules\n"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True, capture_output=True)
    assert not list(tmp_path.glob("*ml*"))


@pytest.mark.filterwarnings("default")
def test_a_store_that_cannot_be_used_is_named_and_the_run_goes_on(here, tmp_path):
    """The store's folder is a file: one warning, in the report too."""
    (tmp_path / "store").write_text("not a folder", encoding="utf-8")
    run = ("run", "--domain", "toy", *SHORT, "--jobs", "1", "--out", "out", "--json")
    done = tlplat(tmp_path, store("file", tmp_path), *run)
    (warning,) = json.loads(done.stdout)["warnings"]
    assert "observer plugin 'mlflow' (tlplat-mlflow " in warning
    assert done.stderr.count("observer plugin 'mlflow'") == 1
