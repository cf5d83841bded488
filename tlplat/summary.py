"""What a run found, as the document of report.json; every figure comes from the trials' metrics.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tlplat import __version__
from tlplat.config import RunConfig, keys
from tlplat.evaluate import Estimate, Scores, Verdict
from tlplat.metrics import expected_calibration_error
from tlplat.selection import Chosen, Final
from tlplat.stage import Stage
from tlplat.storage import read_json
from tlplat.tasks.base import Task

CALIBRATION_BINS = 10
ROC_POINTS = 101


@dataclass(frozen=True)
class Finalist:
    """A candidate at its chosen setting, its final trials (one a seed), and its test scores.

    ``jackknife``: test scores (parts,) a seed, of fits without each part of the labelled rows, where the verdict asks.
    """

    chosen: Chosen
    finals: Sequence[Final]
    scores: Scores
    jackknife: Sequence[np.ndarray] | None = None

    @property
    def key(self) -> str:
        return self.chosen.candidate.name


def document(
    folder: Path,
    stage: Stage,
    env: Mapping[str, Any],
    finalists: Sequence[Finalist],
    verdict: Verdict,
) -> dict[str, Any]:
    """The whole of report.json, ready for :func:`tlplat.report.write_report`."""
    target, task, labelled = stage.target, stage.target.task, stage.labelled
    info, metric = task.info(), task.metrics[0]
    folds = finalists[0].finals[0].record["validation"]["folds"]
    held = len(labelled) // folds if folds > 1 else finalists[0].finals[0].record["validation"]["rows"]
    spoken = {f.key: f for f in finalists}
    looked_at = dict.fromkeys([verdict.winner, verdict.reference])
    return {
        "schema_version": 1,
        "tlplat": __version__,
        "domain": stage.domain.name,
        "task": {
            "title": target.title,
            "kind": info.kind,
            "labels": list(info.labels),
            "source": stage.source.name,
            "target": target.title.rpartition("->")[2].strip() or target.title,
            "unit": target.unit,
        },
        "metric": {"name": metric.name, "higher_is_better": metric.higher_is_better},
        "labels": {
            "train": len(labelled) - held,
            "validation": held,
            "test": len(target.test),
            "selection": f"{folds}-fold" if folds > 1 else "hold-out",
        },
        "candidates": [_candidate(f, folder) for f in finalists],
        "skipped": stage.skipped,
        "verdict": _verdict(verdict),
        "details": {key: _detail(spoken[key], task, target.test.targets.numpy()) for key in looked_at},
        "data_card": {**target.data_card, "quality": stage.quality},
        "source_card": {"name": stage.source.name, **stage.source.provenance},
        "run": {
            "command": " ".join(env["argv"]),
            "config": _config(stage.config, env["config_origins"]),
            "environment": {k: v for k, v in env.items() if k not in ("argv", "config_origins")},
            "seconds": sum(f.seconds for x in finalists for f in x.finals),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        "budget": {"steps": stage.bench.steps(len(labelled)), "batch_size": stage.bench.fit_settings.batch_size},
        "run_dir": folder.name,
        "warnings": list(stage.context.warnings),
    }


def search_record(chosen: Sequence[Chosen], leader: Chosen, stage: Stage) -> dict[str, Any]:
    """search.json: the budget, every setting tried with its validation score, and what was chosen."""
    return {
        "schema_version": 1,
        "budget": {"steps": stage.bench.steps(len(stage.labelled)), "batch_size": stage.bench.fit_settings.batch_size},
        "metric": stage.target.task.metrics[0].name,
        "candidates": [
            {
                "name": c.candidate.name,
                "tried": [{"settings": dict(v.candidate.hyperparameters), "validation": v.score} for v in c.tried],
                "chosen": dict(c.candidate.hyperparameters),
                "validation": {v.seed: v.score for v in c.validated},
            }
            for c in chosen
        ],
        "skipped": stage.skipped,
        "winner": leader.candidate.name,
    }


def _config(config: RunConfig, origins: Mapping[str, str]) -> dict[str, Any]:
    """Every resolved setting under its dotted key, with where it came from."""
    found: dict[str, Any] = {f"options.{k}": v for k, v in config.options.items()}
    for key in keys():
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        found[key] = str(value) if isinstance(value, Path) else value
    return {key: {"value": value, "origin": origins.get(key, "default")} for key, value in found.items()}


def _candidate(finalist: Finalist, folder: Path) -> dict[str, Any]:
    chosen, finals = finalist.chosen, finalist.finals
    candidate, record = chosen.candidate, finals[0].record
    estimate = finalist.scores.estimate()
    names = list(record["test"])
    rejected = [v for v in chosen.tried if v.folder != chosen.validated[0].folder]
    return {
        "key": finalist.key,
        "strategy": candidate.name,
        "source": candidate.source.name if candidate.source and candidate.transfers else None,
        "family": candidate.family,
        "transfers": candidate.transfers,
        "summary": candidate.summary,
        "hyperparameters": dict(candidate.hyperparameters),
        "mean": estimate.mean,
        "interval": [estimate.low, estimate.high],
        "validation": {"mean": chosen.validation},
        "seeds": [
            {
                "seed": f.validated.seed,
                "test": score,
                "validation": f.validated.score,
                "trial": f.validated.folder.relative_to(folder).as_posix(),
            }
            for f, score in zip(finals, finalist.scores.seeds.tolist(), strict=True)
        ],
        "metrics": {name: _mean([f.record["test"][name] for f in finals]) for name in names},
        "trained_parameters": record["trained_parameters"],
        "total_parameters": record["total_parameters"],
        "inference_cost": record["inference_cost"],
        "seconds": sum(f.seconds for f in finals) + sum(v.seconds for v in rejected),
        "curves": [point for f in finals for point in _curve(f)],
        "plan": _read_plan(finals[0]),
    }


def _curve(final: Final) -> list[dict[str, Any]]:
    """The learning curves of the chosen setting's folds, then of the final fit, of one seed."""
    events = final.validated.folder / "events.jsonl"
    lines = events.read_text(encoding="utf-8").splitlines() if events.exists() else []
    points = [json.loads(line) for line in lines]
    return [{**point, "seed": final.validated.seed} for point in (*points, *final.record["curve"])]


def _read_plan(final: Final) -> dict[str, Any] | None:
    path = final.validated.folder / "plan.json"
    return dict(read_json(path)) if path.exists() else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "outcome": verdict.outcome,
        "negative_transfer": verdict.negative_transfer,
        "winner": verdict.winner,
        "reference": verdict.reference,
        **_difference(verdict.difference),
        "level": verdict.level,
        "adaptation": verdict.adaptation and _difference(verdict.adaptation),
        "against_scratch": verdict.against_scratch and _difference(verdict.against_scratch),
        "recommended": verdict.recommended,
    }


def _difference(estimate: Estimate) -> dict[str, Any]:
    return {"difference": estimate.mean, "interval": [estimate.low, estimate.high]}


def _detail(finalist: Finalist, task: Task, targets: np.ndarray) -> dict[str, Any]:
    """Confusion matrix, ROC and calibration of the first seed's test predictions, for single-label classification."""
    if targets.ndim != 1 or "probabilities" not in task.info().offers:
        return {}
    predictions = finalist.finals[0].predictions
    labels = task.info().labels
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, (targets, predictions.argmax(axis=1)), 1)
    curves = [1] if len(labels) == 2 else range(len(labels))
    return {
        "confusion": confusion.tolist(),
        "roc": [_roc(targets == c, predictions[:, c], labels[c]) for c in curves],
        "calibration": _calibration(targets, predictions),
        "ece": expected_calibration_error(targets, predictions, CALIBRATION_BINS),
        "note": f"seed {finalist.finals[0].validated.seed}",
    }


def _roc(positive: np.ndarray, scores: np.ndarray, label: str) -> dict[str, Any]:
    from sklearn.metrics import roc_auc_score, roc_curve

    if positive.all() or not positive.any():
        return {"label": label, "points": [], "auroc": None}
    rates, hits, _ = roc_curve(positive, scores)
    keep = np.unique(np.linspace(0, len(rates) - 1, ROC_POINTS).astype(int))
    points = [[float(rates[i]), float(hits[i])] for i in keep]
    return {"label": label, "points": points, "auroc": float(roc_auc_score(positive, scores))}


def _calibration(targets: np.ndarray, predictions: np.ndarray) -> list[dict[str, Any]]:
    confidence, right = predictions.max(axis=1), predictions.argmax(axis=1) == targets
    number = np.clip((confidence * CALIBRATION_BINS).astype(int), 0, CALIBRATION_BINS - 1)
    return [
        {
            "predicted": float(confidence[number == b].mean()),
            "observed": float(right[number == b].mean()),
            "count": int((number == b).sum()),
        }
        for b in range(CALIBRATION_BINS)
        if (number == b).any()
    ]
