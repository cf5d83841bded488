"""One run of tlplat as a run of MLflow with a nested run for each trial.

A resumed run goes on in the MLflow run that it began: ``tlplat.run_dir`` and ``tlplat.trial`` are tags that tell which.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run

from tlplat_mlflow.figures import charts

EXPERIMENT = "tlplat"
FLUSH_SECONDS = 5.0
"""Points of a learning curve are sent together, at the latest after so long."""
PARAMETERS_AT_ONCE, LONGEST_PARAMETER = 100, 500
"""What every store of MLflow takes."""
OTHER = re.compile(r"[^\w\-. /]", re.ASCII)
"""What no name of a metric may hold."""

_trackers: dict[str, Tracker] = {}


def hear(event: Mapping[str, Any]) -> None:
    """Let the tracker of the event's run act on it; events of a run whose start was not heard are passed over."""
    if event["event"] == "run_start":
        _trackers[event["run_dir"]] = Tracker(event)
    tracker = _trackers.get(event["run_dir"])
    act = getattr(tracker, event["event"], None)
    if act is not None:
        act(event)


class Tracker:
    """MLflow's side of one run: its parent run, and its trials' runs by the trials' folders."""

    def __init__(self, start: Mapping[str, Any]) -> None:
        """Find the run of ``start`` where it is resumed, else make it."""
        self.client = MlflowClient()
        self.experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT))
        self.folder = Path(start["run_dir"])
        self.trials: dict[str, str] = {}
        self.open: set[str] = set()
        self.points: dict[str, list[Metric]] = {}
        self.flushed = time.monotonic()
        known = self._find("tlplat.run_dir", start["run_dir"]) if start["resumed"] else []
        named = {"tlplat.run_dir": start["run_dir"]}
        self.run = known[0].info.run_id if known else self._begin(self.folder.name, named)
        self.known = bool(known)
        if known:
            self.client.update_run(self.run, "RUNNING")
            for nested in self._find("mlflow.parentRunId", self.run):
                self.trials[nested.data.tags["tlplat.trial"]] = nested.info.run_id

    def run_start(self, event: Mapping[str, Any]) -> None:
        """Every setting as a parameter, by its dotted name; a run that goes on has them."""
        if not self.known:
            self._parameters(self.run, dict(_flat(event["config"])))
        for key in ("task", "metric"):
            self.client.set_tag(self.run, f"tlplat.{key}", event[key])
        self._metrics(self.run, {f"rows/{name}": count for name, count in event["rows"].items()})

    def trial_start(self, event: Mapping[str, Any]) -> None:
        """A nested run, the first time that the trial is heard of."""
        trial = event["trial"]
        self.open.add(trial)
        if trial in self.trials:
            return
        short = "" if event["share"] == 1 else f", {event['share']:g} of the steps"
        tags = {"mlflow.parentRunId": self.run, "tlplat.trial": trial}
        self.trials[trial] = self._begin(f"{event['candidate']}, seed {event['seed']}{short}", tags)
        keys = ("candidate", "strategy", "family", "source", "seed", "share")
        self._parameters(self.trials[trial], {key: event[key] for key in keys} | event["hyperparameters"])

    def trial_progress(self, event: Mapping[str, Any]) -> None:
        """A point of each curve: ``fold-0/validation_loss``, ``final/train_loss``."""
        place = "final" if event["fold"] is None else f"fold-{event['fold']}"
        place += f"/member-{event['member']}" if event["member"] else ""
        now = round(1000 * time.time())
        points = self.points.setdefault(event["trial"], [])
        for key in ("train_loss", "validation_loss", "validation_metric"):
            if event[key] is not None:
                points.append(Metric(f"{place}/{key}", event[key], now, event["step"]))
        if time.monotonic() - self.flushed > FLUSH_SECONDS:
            self._flush()

    def trial_complete(self, event: Mapping[str, Any]) -> None:
        """Scores (``validation/auroc``, ``test/auroc``), costs, and the end of the nested run."""
        part = "validation" if event["stage"] == "validation" else "test"
        scores = {f"{part}/{name}": value for name, value in event["metrics"].items()}
        costs = {f"{event['stage']}/seconds": event["seconds"], "trained_parameters": event["trained_parameters"]}
        run = self.trials[event["trial"]]
        self._metrics(run, scores | costs, self.points.pop(event["trial"], []))
        self.client.set_terminated(run, "FINISHED")
        self.open.discard(event["trial"])

    def verdict(self, event: Mapping[str, Any]) -> None:
        """Outcome, winner and reference as tags; the difference with its interval as metrics."""
        verdict = event["verdict"]
        for key in ("outcome", "winner", "reference", "recommended"):
            self.client.set_tag(self.run, f"tlplat.{key}", verdict[key])
        low, high = verdict["interval"]
        self._metrics(self.run, {"difference": verdict["difference"], "difference_low": low, "difference_high": high})

    def run_complete(self, event: Mapping[str, Any]) -> None:
        """The finalists' test scores, the sentence, the report with its charts and, where asked for, the model."""
        report = event["report"]
        self.client.set_tag(self.run, "mlflow.note.content", report["verdict"]["sentence"])
        name = report["metric"]["name"]
        self._metrics(self.run, {f"test/{name}/{c['key']}": c["mean"] for c in report["candidates"]})
        for file in ("config.toml", "env.json", "search.json", "report/report.json", "report/report.html"):
            self.client.log_artifact(self.run, str(self.folder / file))
        for title, chart in charts(self.folder / "report" / "report.html"):
            self.client.log_text(self.run, chart, f"charts/{title}.svg")
        if os.environ.get("TLPLAT_MLFLOW_MODEL") == "1":
            self.client.log_artifacts(self.run, str(self.folder / "model"), "model")
        self._end("FINISHED")

    def run_failed(self, event: Mapping[str, Any]) -> None:
        """The error as tags."""
        self.client.set_tag(self.run, "tlplat.error", event["code"])
        self.client.set_tag(self.run, "mlflow.note.content", event["message"])
        self._end("FAILED")

    def run_interrupted(self, event: Mapping[str, Any]) -> None:
        """MLflow's word for it is killed; `tlplat resume` goes on in the same run."""
        self._end("KILLED")

    def _end(self, status: str) -> None:
        """End the run, and the trials that were cut short."""
        self._flush()
        for trial in self.open:
            self.client.set_terminated(self.trials[trial], status)
        self.client.set_terminated(self.run, status)
        del _trackers[str(self.folder)]

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        return found.experiment_id if found else str(self.client.create_experiment(name))

    def _find(self, tag: str, value: str) -> list[Run]:
        """Runs with the tag, the newest first; none where a filter of MLflow cannot spell the value."""
        if '"' in value:
            return []
        found: list[Run] = []
        token: str | None = ""
        while token is not None:
            wanted = f'tags.`{tag}` = "{value}"'
            page = self.client.search_runs([self.experiment], wanted, max_results=1000, page_token=token or None)
            found += page
            token = page.token or None
        return found

    def _begin(self, name: str, tags: Mapping[str, str]) -> str:
        own = {"mlflow.source.name": "tlplat", "mlflow.source.type": "JOB"}
        run = self.client.create_run(self.experiment, tags={**own, **tags}, run_name=name)
        return str(run.info.run_id)

    def _parameters(self, run: str, values: Mapping[str, Any]) -> None:
        """Those that have a value, shortened to what every store takes."""
        made = [Param(key, str(v)[:LONGEST_PARAMETER]) for key, v in values.items() if v not in (None, "", [])]
        for i in range(0, len(made), PARAMETERS_AT_ONCE):
            self.client.log_batch(run, params=made[i : i + PARAMETERS_AT_ONCE])

    def _metrics(self, run: str, values: Mapping[str, float | None], points: list[Metric] | None = None) -> None:
        """Numbers of step 0, and points of curves; what is undefined has no place in MLflow."""
        now = round(1000 * time.time())
        made = [Metric(OTHER.sub("_", key), float(v), now, 0) for key, v in values.items() if v is not None]
        self.client.log_batch(run, metrics=[*made, *(points or [])])

    def _flush(self) -> None:
        for trial, points in self.points.items():
            self.client.log_batch(self.trials[trial], metrics=points)
            points.clear()
        self.flushed = time.monotonic()


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by dotted name."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", ",".join(map(str, value)) if isinstance(value, list) else value
