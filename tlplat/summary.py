"""What a run found, as the document of report.json; every figure comes from the trials' metrics.json."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tlplat import __version__
from tlplat.allowance import Allowance
from tlplat.config import RunConfig, keys
from tlplat.detail import detail
from tlplat.evaluate import Estimate, Scores, Verdict
from tlplat.rounds import Sought, choice, leader
from tlplat.selection import Chosen, Search
from tlplat.simultaneous import against
from tlplat.stage import Stage
from tlplat.storage import read_json
from tlplat.trials import Final

PRIVATE_DECIMALS = 3
"""Of figures in a domain that hides small counts: the fraction that an AUROC is would else give its counts away."""


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
        return self.chosen.key


def document(
    folder: Path,
    stage: Stage,
    env: Mapping[str, Any],
    finalists: Sequence[Finalist],
    verdict: Verdict,
    searched: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole of report.json, ready for :func:`tlplat.report.write_report`."""
    target, task, labelled = stage.target, stage.target.task, stage.labelled
    info, metric = task.info(), task.metrics[0]
    folds = finalists[0].finals[0].record["validation"]["folds"]
    held = len(labelled) // folds if folds > 1 else finalists[0].finals[0].record["validation"]["rows"]
    spoken = {f.key: f for f in finalists}
    winner = stage.view_of(spoken[verdict.winner].chosen.candidate)
    looked_at = dict.fromkeys([verdict.winner, verdict.reference])
    gaps = against(spoken[verdict.reference].scores, [f.scores for f in finalists], metric.higher_is_better)
    return {
        "schema_version": 1,
        "tlplat": __version__,
        "domain": stage.domain.name,
        "task": {
            "title": winner.target.title,
            "kind": info.kind,
            "labels": list(info.labels),
            "several": bool(info.options.get("multi_label")),
            "balanced": bool(info.options.get("balance")),
            "source": winner.source.name,
            "target": target.title.rpartition("->")[2].strip() or target.title,
            "unit": target.unit,
        },
        "metric": {
            "name": metric.name,
            "higher_is_better": metric.higher_is_better,
            "unit": task.metric_unit(metric.name),
        },
        "labels": {
            "train": len(labelled) - held,
            "validation": held,
            "test": len(target.test),
            "selection": f"{folds}-fold" if folds > 1 else "hold-out",
        },
        "candidates": [_candidate(f, folder, gap) for f, gap in zip(finalists, gaps, strict=True)],
        "skipped": stage.skipped,
        "search": {k: searched[k] for k in ("budget", "rounds", "round")},
        "verdict": _verdict(verdict),
        "details": {
            key: detail(
                spoken[key].finals,
                task,
                labelled,
                target.test,
                target.group_names,
                stage.domain.least_count,
                functools.partial(stage.domain.detail, target),
            )
            for key in looked_at
        },
        "data_card": {**target.data_card, "quality": stage.quality},
        "source_card": {"name": winner.source.name, **winner.source.provenance},
        **({} if stage.ranking is None else {"sources": dict(stage.ranking)}),
        "run": {
            "command": " ".join(env["argv"]),
            "config": _config(stage.config, env["config_origins"]),
            "environment": {k: v for k, v in env.items() if k not in ("argv", "config_origins")},
            "seconds": sum(sum(read_json(p).values()) for p in sorted(folder.glob("trials/**/timing.json"))),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        "budget": {
            "steps": searched["rounds"][searched["round"]]["steps"],
            "batch_size": stage.bench.fit_settings.batch_size,
            "calibrated": searched["budget"]["calibrated"],
        },
        "run_dir": folder.name,
        "warnings": list(stage.context.warnings),
        **({"decimals": PRIVATE_DECIMALS} if stage.domain.least_count > 1 else {}),
    }


def search_record(search: Search, allowance: Allowance, sought: Sought, stage: Stage) -> dict[str, Any]:
    """search.json: the budget, every rung of every round with what was cut and why, and what was chosen."""
    chosen = sought.final.chosen
    return {
        "schema_version": 1,
        "budget": {
            **allowance.to_json(),
            "spent_steps": round(sought.spent * search.steps(1.0)),
            "batch_size": search.bench.fit_settings.batch_size,
        },
        "metric": stage.target.task.metrics[0].name,
        "rounds": [
            {
                "steps": search.steps(r.share),
                "finalists": r.finalists,
                "rungs": list(r.account),
                "winner": leader(search, r.chosen).key,
                "validation": leader(search, r.chosen).validation,
                "ahead": _ahead(search, r.chosen),
                "unmet": list(unmet),
            }
            for r, unmet in zip(sought.rounds, sought.unmet, strict=True)
        ],
        "round": sought.taken,
        "candidates": [
            {
                "name": c.key,
                "chosen": dict(c.candidate.hyperparameters),
                "validation": {v.seed: v.score for v in c.validated},
            }
            for c in chosen
        ],
        "skipped": stage.skipped,
        "winner": leader(search, chosen).key,
    }


def _ahead(search: Search, chosen: Sequence[Chosen]) -> dict[str, Any] | None:
    """Who was ahead of the winner on validation and did not take its place, since it might be luck."""
    made = choice(search, chosen)
    if made.rival is None:
        return None
    known = {"difference": made.ahead, "error": made.error}
    return {"candidate": made.rival.key, **{k: v if math.isfinite(v) else None for k, v in known.items()}}


def _config(config: RunConfig, origins: Mapping[str, str]) -> dict[str, Any]:
    """Every resolved setting under its dotted key, with where it came from."""
    found: dict[str, Any] = {f"options.{k}": v for k, v in config.options.items()}
    for key in keys():
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        found[key] = str(value) if isinstance(value, Path) else value
    return {key: {"value": value, "origin": origins.get(key, "default")} for key, value in found.items()}


def _candidate(finalist: Finalist, folder: Path, gap: Estimate) -> dict[str, Any]:
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
        "against_reference": _difference(gap),
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
