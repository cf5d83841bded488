"""A bench over the toy domain: its source, its rows, and one call that runs a strategy on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tlplat.cache import TensorCache, cache_root
from tlplat.data.examples import Examples
from tlplat.data.splits import draw_labels
from tlplat.data.unlabeled import admit
from tlplat.domain import DataOptions, DomainContext, TargetTask
from tlplat.features import FeatureStore
from tlplat.model import BackboneInfo, SourceModel
from tlplat.registry import Registry
from tlplat.strategy import Strategy
from tlplat.train import FitSettings
from tlplat.trial import Bench, Outcome, Rows, StrategyCandidate


@dataclass
class Toybench:
    """What trials of a test share.

    Attributes:
        labelled: rows that are trained on; ``target.test`` is predicted.
    """

    bench: Bench
    source: SourceModel
    target: TargetTask
    labelled: Examples

    def candidate(self, name: str, **settings: Any) -> StrategyCandidate:
        """The registered strategy of that name, with hyper-parameters other than its defaults."""
        return self.of(self.bench.registry.get("strategies", name)(**settings))

    def of(self, strategy: Strategy) -> StrategyCandidate:
        """The strategy on the bench's source."""
        return StrategyCandidate(strategy, self.source, self.has_source_head)

    def unfit(self, strategy: Strategy) -> str | None:
        """Why the strategy does not serve the bench's task and source; None where it does."""
        example = Rows.all(self.labelled).example()
        info = BackboneInfo.of(self.bench.store.backbone(self.source), self.has_source_head, example)
        return strategy.misfit(self.bench.task_info, info)

    @property
    def has_source_head(self) -> bool:
        """The source's own head predicts the target's labels."""
        source = self.source
        return source.head is not None and source.task is not None and self.target.task.takes_head(source.task)

    def run(self, name: str, seed: int = 0, **settings: Any) -> Outcome:
        """Fit on all labelled rows and predict the test rows."""
        test = Rows.all(self.target.test)
        return self.candidate(name, **settings).run(self.bench, Rows.all(self.labelled), [test], seed)


def toybench(
    registry: Registry,
    source: str | None = None,
    labels: int = 40,
    steps: int = 60,
    bare: bool = False,
    settings: FitSettings | None = None,
    domain: str = "toy",
    **options: Any,
) -> Toybench:
    """A bench on a source of a toy domain.

    Args:
        registry: holds the toy domain, the strategies and the tasks.
        source: by default the domain's first.
        domain: ``toy`` (classes) or ``varied`` (a target of every task).
        steps: of every fit. bare: no unlabelled and no source rows are at hand.
        settings: of the training loop. options: of the toy domain.
    """
    context = DomainContext(registry, cache_root())
    made = registry.get("domains", domain)()
    chosen = made.Options(**options)
    model = made.source(source or made.sources()[0].name, chosen, context)
    target = made.target(chosen, DataOptions(), model, context)
    store = FeatureStore(TensorCache(context.cache, context.warn), registry)
    labelled = draw_labels(target.pool, labels, 0, target.task)
    bench = Bench(
        target.task,
        registry,
        store,
        settings or FitSettings(batch_size=max(32, target.task.least_batch), checkpoint_seconds=None),
        lambda rows: steps,
        unlabeled=None if bare else admit(target.unlabeled, None, labelled, target.test, domain, 0).inputs,
        source_rows=None if bare else made.source_rows(model, chosen, target, context),
    )
    return Toybench(bench, model, target, labelled)
