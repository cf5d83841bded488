"""A run, from left to right: domain, source, target, candidates, search, one look at the test rows, verdict, report."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tlplat.allowance import Allowance, allow
from tlplat.config import RunConfig, from_toml, to_toml
from tlplat.crew import Crew
from tlplat.data.splits import folds
from tlplat.datacheck import findings_of
from tlplat.detail import evidence
from tlplat.evaluate import Resamples, Scores, Standing, best, judge
from tlplat.events import RunComplete, RunStart, VerdictReached
from tlplat.model import SourceModel
from tlplat.modelio import CALIBRATION, save_model
from tlplat.observing import Observers
from tlplat.plan import json_hash
from tlplat.progress import Reporter
from tlplat.registry import Registry
from tlplat.report import load_report, model_card, write_report
from tlplat.requirement import unmet_on_validation
from tlplat.rounds import Sought, cost, everyone, leader, seek
from tlplat.rundir import environment, new_folder, running, status, untouched_on_refusal, write_data
from tlplat.selection import JACKKNIFE_SEEDS, Chosen, Search
from tlplat.stage import Stage, load_registry, prepare, search_of, seeds_of, set_threads
from tlplat.storage import check_manifest, read_json, write_json, write_manifest, write_text
from tlplat.summary import Finalist, document, search_record
from tlplat.trial import Outcome, Rows, StrategyCandidate
from tlplat.trials import Validated


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and its report (what report.json holds)."""

    folder: Path
    report: dict[str, Any]

    @property
    def verdict(self) -> dict[str, Any]:
        """``outcome`` (helps, ties, hurts), ``sentence``, ``difference``, ``interval`` and more."""
        found: dict[str, Any] = self.report["verdict"]
        return found

    def predict(self, data: Path | str) -> list[dict[str, Any]]:
        """As :func:`tlplat.prediction.predict`, all rows of the file at once."""
        from tlplat.prediction import predict

        return list(predict(self.folder, Path(data), Reporter()))

    def explain(self, data: Path | str | None = None, rows: int | None = None) -> dict[str, Any]:
        """As ``tlplat explain``: of a file's rows, or of the run, whose report then has it (and ``report`` here not).

        Args:
            rows: how many to show one by one; by default four, or none where the domain shows no single row.
        """
        from tlplat.explanation import explain_rows, explain_run, publish

        if data is not None:
            return explain_rows(self.folder, Path(data), rows, Reporter())
        found = explain_run(self.folder, rows, Reporter())
        publish(self.folder, found)
        return found


def run(
    config: RunConfig,
    registry: Registry,
    report: Reporter,
    origins: Mapping[str, str] | None = None,
    source: SourceModel | None = None,
) -> Run:
    """Carry out a new run in a folder of its own.

    Args:
        registry: loaded as :func:`tlplat.stage.load_registry` does.
        origins: where each setting came from, by dotted key (flag, file, environment), for the report.
        source: stands in for those that the configuration names; such a run cannot be resumed.

    Raises:
        UsageError TL-OUT-EXISTS: the folder that ``config.out`` names is in use.
        TlplatError: of data, source or training; what was done stays in the folder, and :func:`resume` goes on.
    """
    text = to_toml(config)
    folder = new_folder(config.domain, json_hash(text), config.out)
    with running(folder):
        write_text(folder / "config.toml", text)
        set_threads(config)
        write_json(folder / "env.json", {**environment(config.device), "config_origins": dict(origins or {})})
        with untouched_on_refusal(folder):
            stage = prepare(config, registry, report, source=source, folder=folder)
        return _carry_out(folder, stage, report)


def resume(folder: Path, report: Reporter) -> Run:
    """Go on with a run that was interrupted; a complete one is only read.

    Every finished trial is kept, an unfinished one goes on from its checkpoint, and the result is bitwise that of an
    uninterrupted run on the same machine, threads and versions.
    """
    if status(folder)["state"] == "complete":
        return Run(folder, load_report(folder))
    config = from_toml(folder / "config.toml")
    with running(folder):
        if not (folder / "env.json").exists():
            set_threads(config)
            write_json(folder / "env.json", {**environment(config.device), "config_origins": {}})
        return _carry_out(folder, prepare(config, load_registry(config), report, folder=folder), report)


def plan_only(config: RunConfig, registry: Registry, report: Reporter) -> dict[str, Any]:
    """What a run would do (``--dry-run``): sizes, budget, each candidate's plan, and who is skipped and why."""
    stage = prepare(config, registry, report, dry=True)
    rows = Rows.all(stage.labelled)
    plans: list[dict[str, Any]] = []
    for candidate in stage.candidates:
        entry = {"name": candidate.label, "family": candidate.family, "settings": len(candidate.settings())}
        if isinstance(candidate, StrategyCandidate):
            measured, plan = candidate.declare(stage.bench, rows)
            entry |= {"hyperparameters": dict(candidate.hyperparameters), "measured": measured, "plan": plan.to_json()}
        plans.append(entry)
    return {
        "schema_version": 1,
        "domain": config.domain,
        "task": stage.target.title,
        "source": ", ".join(view.source.name for view in stage.views),
        "labels": {
            "train_and_validation": len(stage.labelled),
            "test": len(stage.target.test),
            "unlabeled": 0 if stage.views[0].unlabeled is None else len(stage.views[0].unlabeled),
        },
        "steps": stage.bench.steps(len(stage.labelled)),
        "candidates": plans,
        "skipped": stage.skipped,
        **({} if stage.ranking is None else {"ranking": dict(stage.ranking)}),
        "warnings": stage.context.warnings,
    }


def carry_out(folder: Path, stage: Stage, report: Reporter) -> Run:
    """Search, final fits, verdict, model and report of a stage, in a folder that has config.toml and env.json."""
    with running(folder):
        return _carry_out(folder, stage, report)


def _carry_out(folder: Path, stage: Stage, report: Reporter) -> Run:
    """As :func:`carry_out`, in a folder that is held; observers are told how it goes and how it ends."""
    observers = Observers(folder, stage.context.warn)
    observers.tell(_start(folder, stage))
    try:
        result = _result(folder, stage, report, observers)
    except BaseException as error:
        observers.ended(error)
        raise
    observers.tell(RunComplete(result))
    return Run(folder, result)


def _start(folder: Path, stage: Stage) -> RunStart:
    metric = stage.target.task.metrics[0]
    return RunStart(
        config=stage.config.model_dump(mode="json"),
        task=stage.target.title,
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
        rows={"labelled": len(stage.labelled), "test": len(stage.target.test)},
        candidates=[candidate.label for candidate in stage.candidates],
        resumed=(folder / "search.json").exists(),
    )


def _result(folder: Path, stage: Stage, report: Reporter, observers: Observers) -> dict[str, Any]:
    """What report.json holds in the end."""
    task, test = stage.target.task, stage.target.test
    env, seeds = read_json(folder / "env.json"), seeds_of(stage.config)
    stage = dataclasses.replace(stage, quality=findings_of(folder, stage))
    made = {seed: folds(stage.labelled, seed, task) for seed in seeds}
    write_data(folder, stage.labelled, test, made, stage.target.data_card, stage.quality)
    finalists, searched = _search(folder, stage, seeds, report, observers)
    verdict = judge([_standing(f) for f in finalists], task.metrics[0].higher_is_better, searched["winner"])
    winner = next(f for f in finalists if f.key == verdict.winner)
    result = document(folder, stage, env, finalists, verdict, searched)
    observers.tell(VerdictReached(result["verdict"]))
    found = evidence(winner.finals, stage.labelled, test, stage.domain.least_count)
    _publish_model(folder, winner, result, task.calibration(found))
    return write_report(folder, result)


def _search(
    folder: Path, stage: Stage, seeds: list[int], report: Reporter, observers: Observers
) -> tuple[list[Finalist], dict[str, Any]]:
    """Rounds of halving on validation; then, the winner being known, the finalists' final fits and test scores.

    Returns the finalists, and what search.json says.
    """
    test, metric = stage.target.test, stage.target.task.metrics[0]
    higher = metric.higher_is_better
    allowance = _allowance(folder, stage, search_of(stage, folder, seeds))
    with report.task("trials", total=cost(search_of(stage, folder, seeds), allowance)) as advance:
        search = search_of(stage, folder, seeds, advance, observers.tell)

        def told(sought: Sought) -> None:
            write_json(folder / "search.json", search_record(search, allowance, sought, stage))

        with Crew(folder, search, stage.jobs, stage.context.warn, observers) as crew:
            unmet = partial(unmet_on_validation, stage.config.require, metric.name, higher)
            sought = seek(search, crew.run, allowance, unmet, told)
            chosen, share = sought.final.chosen, sought.final.share
            winner = leader(search, chosen)
            search.finish(winner.validated[0], _keeper(winner.validated[0], stage))
            crew.run(search.jobs("finish", [c.arm for c in chosen], seeds, share))
            compared = _compared(chosen, winner, higher)
            crew.run(search.jobs("jackknife", [c.arm for c in compared], seeds[:JACKKNIFE_SEEDS], share))
        finals = [[search.finish(v) for v in c.validated] for c in chosen]
    units = np.arange(len(test)) if test.units is None else test.units.numpy()
    draws = Resamples.draw(units, len(seeds), seed=stage.config.data_seed)
    finalists = [
        Finalist(
            chosen=c,
            finals=f,
            scores=Scores.of(metric, test.targets.numpy(), [x.predictions for x in f], draws),
            jackknife=[search.jackknife(v) for v in c.validated[:JACKKNIFE_SEEDS]] if c in compared else None,
        )
        for c, f in zip(chosen, finals, strict=True)
    ]
    return finalists, search_record(search, allowance, sought, stage)


def _allowance(folder: Path, stage: Stage, search: Search) -> Allowance:
    """The budget in steps; a resumed run reads what was measured when it began."""
    path = folder / "search.json"
    if path.exists():
        return Allowance.from_json(read_json(path)["budget"])
    found = allow(search, everyone(search), stage.config.budget, stage.jobs)
    write_json(path, {"schema_version": 1, "budget": found.to_json()})
    return found


def _compared(chosen: Sequence[Chosen], winner: Chosen, higher_is_better: bool) -> list[Chosen]:
    """Whom the verdict compares: the winner, the best without transfer, and scratch; zero-shot learns from no row."""
    others = [c for c in chosen if not c.candidate.transfers]
    reference, source = best(others, higher_is_better), winner.candidate.source
    scratch = [c for c in others if c.candidate.name == "scratch" and c.candidate.source is source]
    found = [c for c in chosen if c in (winner, reference, *scratch)]
    return [c for c in found if c.candidate.name != "zero_shot"]


def _keeper(validated: Validated, stage: Stage) -> Callable[[Outcome], None]:
    """Saves the leader's final model beside its trial, where a resume finds it."""

    def keep(outcome: Outcome) -> None:
        assert outcome.model is not None
        assert outcome.task is not None
        save_model(
            validated.folder / "fitted",
            outcome.model,
            outcome.task.info(),
            stage.view_of(validated.candidate).target.preprocess,
            stage.bench.registry,
            {
                "kind": "model",
                "domain": stage.domain.name,
                "strategy": validated.candidate.name,
                "source": stage.view_of(validated.candidate).source.name,
            },
            plugins=[("domains", stage.domain.name)],
        )

    return keep


def _standing(finalist: Finalist) -> Standing:
    chosen = finalist.chosen
    return Standing(
        key=finalist.key,
        transfers=chosen.candidate.transfers,
        scratch=chosen.candidate.name == "scratch",
        zero_shot=chosen.candidate.name == "zero_shot",
        validation=chosen.validation,
        scores=finalist.scores,
        inference_cost=chosen.inference_cost,
        trained=chosen.trained,
        jackknife=None if finalist.jackknife is None else np.stack(finalist.jackknife),
        source=chosen.candidate.source.name if chosen.candidate.source else None,
    )


def _publish_model(
    folder: Path, winner: Finalist, result: dict[str, Any], calibration: Mapping[str, Any] | None
) -> None:
    """``model/``: the winner's fitted model with its calibration and card and, last, the manifest over all of it."""
    fitted, model = winner.finals[0].validated.folder / "fitted", folder / "model"
    manifest = check_manifest(fitted)
    shutil.rmtree(model, ignore_errors=True)
    shutil.copytree(fitted, model, ignore=shutil.ignore_patterns("manifest.json"))
    if calibration is not None:
        write_json(model / CALIBRATION, dict(calibration))
    write_text(model / "MODEL_CARD.md", model_card(result))
    write_manifest(model, {k: v for k, v in manifest.items() if k not in ("files", "format")})
