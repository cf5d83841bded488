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
from tlplat.model import SourceModel
from tlplat.registry import Registry
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
        strategy = self.bench.registry.get("strategies", name)(**settings)
        return StrategyCandidate(strategy, self.source, self.source.head is not None)

    def run(self, name: str, seed: int = 0, **settings: Any) -> Outcome:
        """Fit on all labelled rows and predict the test rows."""
        test = Rows.all(self.target.test)
        return self.candidate(name, **settings).run(self.bench, Rows.all(self.labelled), [test], seed)


def toybench(
    registry: Registry, source: str = "rings", labels: int = 40, steps: int = 60, bare: bool = False
) -> Toybench:
    """A bench on a source of the toy domain.

    Args:
        registry: holds the toy domain, the strategies and the tasks.
        steps: of every fit. bare: no unlabelled and no source rows are at hand.
    """
    context = DomainContext(registry, cache_root())
    domain = registry.get("domains", "toy")()
    options = domain.Options()
    model = domain.source(source, options, context)
    target = domain.target(options, DataOptions(), model, context)
    store = FeatureStore(TensorCache(context.cache, context.warn), registry)
    labelled = draw_labels(target.pool, labels, 0, target.task)
    bench = Bench(
        target.task,
        registry,
        store,
        FitSettings(checkpoint_seconds=None),
        lambda rows: steps,
        unlabeled=None if bare else admit(target.unlabeled, None, labelled, target.test, "toy", 0).inputs,
        source_rows=None if bare else domain.source_rows(model, options, target, context),
    )
    return Toybench(bench, model, target, labelled)
