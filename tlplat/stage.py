"""From a configuration to what a run works on: domain, source, target, labelled rows, candidates."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from tlplat import plugins
from tlplat.cache import cache_root
from tlplat.checkup import clean
from tlplat.config import RunConfig, TrainOptions
from tlplat.data.examples import Examples
from tlplat.data.labelsets import need_sound_flag
from tlplat.data.quality import check_quality
from tlplat.data.sides import need_sound_flags
from tlplat.domain import DataOptions, Domain, DomainContext, TargetTask
from tlplat.errors import Finding, UsageError
from tlplat.events import Event
from tlplat.features import FeatureStore
from tlplat.kept import describe, keep, need_empty
from tlplat.model import BackboneInfo, SourceModel
from tlplat.ops.block import Precision
from tlplat.progress import Reporter
from tlplat.registry import Registry
from tlplat.selection import Search
from tlplat.sourcerank import carried, ranked
from tlplat.sourcerank import left_out as passed_over
from tlplat.sourcing import AUTO, Sourcing, leading_first
from tlplat.strategy import Strategy
from tlplat.tasks.base import Task
from tlplat.train import FitSettings
from tlplat.trial import BaselineCandidate, Bench, Candidate, Rows, StrategyCandidate, Trivial
from tlplat.view import View

DEFAULT_EPOCHS = 30
LEAST_STEPS, MOST_STEPS = 60, 1500
ALWAYS = ("scratch", "zero_shot")


@dataclass(frozen=True)
class Stage:
    """What a run works on.

    Attributes:
        views: the target as each source sees it; the first leads: the search hands over its rows, and baselines see
            these. skipped: strategies that do not fit, with the reason.
        quality: what the checks of labelled and test rows found.
        planted: the source was handed in, and stands in no configuration.
        ranking: of the sources at hand (JSON), where ``--source auto`` asked for it.
        sourcing: what loaded the views, and can lend the sources' rows.
    """

    config: RunConfig
    domain: Domain
    views: Sequence[View]
    bench: Bench
    candidates: list[Candidate]
    skipped: list[dict[str, str]]
    context: DomainContext
    quality: dict[str, Any]
    planted: bool = False
    ranking: Mapping[str, Any] | None = None
    sourcing: Sourcing | None = None

    @property
    def source(self) -> SourceModel:
        """The leading source."""
        return self.views[0].source

    @property
    def target(self) -> TargetTask:
        """The target as the leading source sees it."""
        return self.views[0].target

    @property
    def labelled(self) -> Examples:
        """Training and validation rows."""
        return self.views[0].labelled

    def view_of(self, candidate: Candidate) -> View:
        """What the candidate's source sees; baselines see what the leading one does."""
        return candidate.view or self.views[0]

    @property
    def jobs(self) -> int:
        """Processes for the search; another process can prepare the same stage only from the configuration alone."""
        return 1 if self.planted else jobs_of(self.config)


def search_of(
    stage: Stage,
    folder: Path,
    seeds: Sequence[int],
    advance: Callable[[float], None] = lambda units: None,
    tell: Callable[[Event], None] = lambda event: None,
) -> Search:
    """The search of a run in ``folder``."""
    trials = folder / "trials"
    return Search(stage.bench, stage.candidates, stage.labelled, stage.target.test, trials, seeds, advance, tell)


def seeds_of(config: RunConfig) -> list[int]:
    """The run's seeds: as many as asked for, from the first on."""
    return [config.seed + k for k in range(config.seeds)]


def load_registry(config: RunConfig, known: Mapping[str, Sequence[str]] | None = None) -> Registry:
    """The plugins that a run needs: its domain, its strategies with the two baselines, all tasks.

    Args:
        known: names of ``strategies`` and ``tasks`` that another process of the run has, which are then those that
            this one takes; None takes what is installed and loads.
    """
    registry = plugins.load("tlplat.domains", [config.domain])
    names = None if "auto" in config.strategies else list(dict.fromkeys([*config.strategies, *ALWAYS]))
    plugins.load("tlplat.strategies", names if known is None else known["strategies"], registry)
    return plugins.load("tlplat.tasks", None if known is None else known["tasks"], registry)


def loaded_names(registry: Registry) -> dict[str, list[str]]:
    """``known`` of :func:`load_registry`, for another process of the run."""
    found = {
        kind: [name for group, name in registry.plugins.values() if group == kind] for kind in ("strategies", "tasks")
    }
    return {kind: list(dict.fromkeys(names)) for kind, names in found.items()}


def prepare(
    config: RunConfig,
    registry: Registry,
    report: Reporter,
    *,
    source: SourceModel | None = None,
    dry: bool = False,
    folder: Path | None = None,
) -> Stage:
    """Load (or pretrain) the sources, read, check and split the target, and list the candidates.

    Args:
        source: stands in for the ones that the configuration names.
        dry: train nothing: a source that is not in the cache stands in with random weights, and a warning says so.
        folder: the run directory, where the ranking of ``--source auto`` is kept, so that a resumed run and each of
            its processes take the same sources.
    """
    sourcing, store = opened(config, registry, report, dry)
    domain, context = sourcing.domain, sourcing.context
    ranking = None
    if source is not None:
        views = [sourcing.view(source.name, source)]
    else:
        views, ranking = carried(sourcing, store, folder)
    views = [sourcing.lent(view) for view in views]
    left_out: dict[str, list[str]] = {}
    if config.clean:
        views, left_out = clean(views, store)
        gone = len({name for names in left_out.values() for name in names})
        context.warn(f"--clean left {gone} labelled rows out of training; data/quality.json names them")
    views = leading_first(views)
    bench = Bench(
        task=views[0].target.task,
        registry=registry,
        store=store,
        fit_settings=_fit_settings(config.train, views[0].target.task),
        steps=steps_of(config.train),
        device=torch.device(config.device),
        warn=context.warn,
        keep_rows=domain.keeps_rows,
    )
    candidates, skipped = _candidates(config, domain, views, bench)
    repeat = views[0].target.may_repeat
    quality = check_quality(views[0].labelled, views[0].target.test, bench.task, domain.least_count, repeat)
    for view in views[1:]:
        check_quality(view.labelled, view.target.test, bench.task, may_repeat=repeat)
    if config.clean:
        quality["left_out"] = {k: v if domain.least_count <= 1 else f"{len(v)} rows" for k, v in left_out.items()}
    skipped += [] if ranking is None else passed_over(ranking)
    planted = source is not None
    return Stage(config, domain, views, bench, candidates, skipped, context, quality, planted, ranking, sourcing)


def rank(config: RunConfig, registry: Registry, report: Reporter) -> dict[str, Any]:
    """Every source at hand, or those that the configuration names, ranked on the labelled rows; nothing is searched.

    Features are kept in the cache under the keys of a later run. A source that is not named and does not fit is
    passed over with the reason.
    """
    everything = config if config.source is not None else config.model_copy(update={"source": AUTO})
    sourcing, store = opened(everything, registry, report, dry=False)
    views, ranking = ranked(sourcing, store)
    target = views[0].target
    quality = check_quality(views[0].labelled, target.test, target.task, sourcing.domain.least_count, target.may_repeat)
    return {
        "domain": config.domain,
        "target": target.title.rpartition("->")[2].strip() or target.title,
        "task": {"kind": target.task.info().kind, "labels": list(target.task.info().labels), "unit": target.unit},
        "rows": quality["labelled"],
        **ranking.to_json(),
        "warnings": sourcing.context.warnings,
    }


def pretrain_source(config: RunConfig, registry: Registry, report: Reporter, folder: Path) -> dict[str, Any]:
    """Train a source model on the user's data and write it to a folder of its own (``tlplat pretrain``).

    Raises:
        UsageError TL-PRETRAIN-NONE: the domain trains none. TL-OUT-EXISTS: the folder is in use. What it raises.
    """
    sourcing, _ = opened(config, registry, report, dry=False)
    domain, context = sourcing.domain, sourcing.context
    if not domain.pretrains:
        raise UsageError(
            "TL-PRETRAIN-NONE",
            f"the domain {domain.name} trains no source model on data of yours",
            fix=f"use one of its sources: `tlplat sources --domain {domain.name}`",
        )
    need_empty(folder)
    source = domain.pretrain(sourcing.options, sourcing.data, context)
    source = keep(source, folder, domain.name, context.cache, sourcing.data.path)
    return {**describe(folder).to_json(), "parameters": sum(t.numel() for t in source.state.values())}


def opened(config: RunConfig, registry: Registry, report: Reporter, dry: bool) -> tuple[Sourcing, FeatureStore]:
    """The domain with its options and the user's data checked, and the store of features."""
    set_threads(config)
    domain = plugins.domain(config.domain, registry)
    context = DomainContext(
        registry=registry,
        cache=cache_root(),
        offline=config.offline,
        seed=config.seed,
        data_seed=config.data_seed,
        threads=torch.get_num_threads(),
        dry=dry,
        report=report,
    )
    options = _domain_options(domain, config)
    data = DataOptions(**config.data.model_dump())
    if data.path is not None and not domain.takes_data:
        raise UsageError(
            "TL-DATA-DEMO", f"the domain {domain.name} has its demo alone and reads no data", fix="leave out --data"
        )
    need_sound_flags(data, domain)
    need_sound_flag(data, domain)
    if data.path is not None:
        domain.check(options, data, context)
    dtype = torch.bfloat16 if config.features.dtype == "bfloat16" else torch.float32
    precision: Precision = "bf16" if config.features.precision == "bfloat16" else "full"
    store = FeatureStore(context.tensors, registry, torch.device(config.device), dtype, precision)
    return Sourcing(config, domain, options, data, context), store


def set_threads(config: RunConfig) -> None:
    """Threads and determinism of this process, as the configuration says: results depend on both."""
    torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 1) // jobs_of(config)))
    if config.deterministic or torch.are_deterministic_algorithms_enabled():  # the call itself imports for 2 s
        torch.use_deterministic_algorithms(config.deterministic)


def jobs_of(config: RunConfig) -> int:
    """Processes that compute trials: as configured, else one a core up to 4; one where a device does the work."""
    return config.jobs or (min(4, os.cpu_count() or 1) if config.device == "cpu" else 1)


def steps_of(train: TrainOptions) -> Callable[[int], int]:
    """Optimiser steps of a fit on n rows: as configured, else 30 epochs within [60, 1500] steps."""

    def steps(rows: int) -> int:
        if train.steps is not None:
            return train.steps
        per_epoch = max(1, round(rows / train.batch_size))
        if train.epochs is not None:
            return max(1, round(train.epochs * per_epoch))
        return min(MOST_STEPS, max(LEAST_STEPS, DEFAULT_EPOCHS * per_epoch))

    return steps


def _fit_settings(train: TrainOptions, task: Task) -> FitSettings:
    return FitSettings(
        batch_size=max(train.batch_size, task.least_batch),
        clip_norm=train.clip_norm,
        precision=train.precision,
        accumulate=train.accumulate,
        patience=train.patience,
        checkpoint_seconds=train.checkpoint_seconds,
        checkpoint_steps=train.checkpoint_steps,
    )


def _domain_options(domain: Domain, config: RunConfig) -> Any:
    try:
        return domain.Options.model_validate(config.options)
    except ValidationError as error:
        raise UsageError(
            "TL-CONFIG-OPTIONS",
            f"the {domain.name} domain refuses {error.error_count()} of its options",
            findings=[
                Finding(e["msg"], f"options.{'.'.join(map(str, e['loc']))}", str(e["input"])) for e in error.errors()
            ],
            fix=f"see `tlplat run --domain {domain.name} --help` for the domain's options",
        ) from None


def _candidates(
    config: RunConfig, domain: Domain, views: Sequence[View], bench: Bench
) -> tuple[list[Candidate], list[dict[str, str]]]:
    """Every strategy that fits, on every source, at the rate the user fixed where one is; then the baselines."""
    found: list[Candidate] = []
    skipped: list[dict[str, str]] = []
    for view in views:
        fitting, unfit = _on_source(config, view, bench)
        found += fitting
        skipped += unfit
    if not any(c.transfers for c in found):
        raise UsageError(
            "TL-STRATEGY-NONE",
            "none of the strategies asked for fits this source and task",
            findings=[Finding(s["reason"], s["strategy"]) for s in skipped],
            fix="leave out --strategy to try all that fit, or choose another source",
        )
    baselines = [Trivial(bench.task), *domain.baselines(views[0].target)]
    return [*found, *(BaselineCandidate(b) for b in baselines)], skipped


def _on_source(config: RunConfig, view: View, bench: Bench) -> tuple[list[Candidate], list[dict[str, str]]]:
    registry, task = bench.registry, view.bench(bench).task_info
    same_labels = takes_head(bench.task, view.source)
    info = BackboneInfo.of(bench.store.backbone(view.source), same_labels, Rows.all(view.target.pool).example())
    found: list[Candidate] = []
    skipped: list[dict[str, str]] = []
    names = registry.names("strategies") if "auto" in config.strategies else [*config.strategies, *ALWAYS]
    for name in dict.fromkeys(names):
        strategy: Strategy = registry.get("strategies", name)()
        reason = strategy.misfit(task, info)
        if reason is not None:
            skipped.append({"strategy": view.label(name), "reason": reason})
            continue
        found.append(StrategyCandidate(strategy, view.source, same_labels, config.train.learning_rate, view))
    return found, skipped


def takes_head(task: Task, source: SourceModel) -> bool:
    """Whether the source has a head of its own that predicts what the task does."""
    return source.head is not None and source.task is not None and task.takes_head(source.task)
