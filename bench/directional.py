"""Do the papers' directions hold here? Paired differences of test scores over draws of the labels, on real genomes.

    python bench/directional.py [--draws 5] [--cells start-site/s-aureus coding/b-theta] [--only few-labels shift ...]

- few-labels: what l2sp, delta and bss gain over full_ft, at 15 % of the labels and at all of them.
- shift: lp_ft against full_ft, tested on the organism of the labels and on another one.
- crossing: linear_probe against full_ft by number of labels.
- decay: a weight decay chosen on validation against the fixed one, for the probe and for full_ft.

A strategy has its default rate and full_ft the same one; every fit has the run's usual number of steps, so strategies
differ in nothing but what they are. Source and target have the same labels here, so full_ft starts from the source's
own head, not from a random one as in Kumar et al. 2022; lp_ft starts from a head solved on the labelled rows. One draw
of labels is one seed. Intervals are Student's t over the draws, 95 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from machine import machine, publish
from scipy.stats import t as student

from tlplat import plugins
from tlplat.bench import Bench, Rows
from tlplat.cache import TensorCache, cache_root
from tlplat.config import TrainOptions
from tlplat.data.examples import Examples
from tlplat.data.splits import draw_labels, partition
from tlplat.domain import DataOptions, DomainContext, TargetTask
from tlplat.features import FeatureStore
from tlplat.members import Decision
from tlplat.model import SourceModel
from tlplat.registry import Registry
from tlplat.stage import steps_of, takes_head
from tlplat.train import FitSettings
from tlplat.trial import StrategyCandidate

CELLS = ("start-site/s-aureus", "coding/s-aureus", "start-site/b-theta")
OTHER = {"s-aureus": "b-theta", "b-theta": "s-aureus"}
FEW, WHOLE = 0.15, 512
SIZES = (16, 64, 256)
DECAYS = (0.0, 1e-3, 1e-2, 1e-1, 1.0)
QUESTIONS = ("few-labels", "shift", "crossing", "decay")
COLUMNS = ("question", "cell", "compared", "labels", "test rows", "difference", "interval", "draws better")


@dataclass
class Draw:
    """One draw of a cell's labels: its test rows, those of the other organism, and scores of fits, kept."""

    registry: Registry
    cell: str
    number: int
    known: dict[Any, tuple[float, float]] = field(default_factory=dict)

    @cached_property
    def loaded(self) -> tuple[SourceModel, TargetTask, TargetTask]:
        task, organism = self.cell.split("/")
        context = DomainContext(self.registry, cache_root(), data_seed=self.number, threads=torch.get_num_threads())
        domain = plugins.domain("genomics", self.registry)
        here, there = (
            domain.Options.model_validate({"task": task, "target_organism": o}) for o in (organism, OTHER[organism])
        )
        source = domain.source("e-coli", here, context)
        first, second = (domain.target(o, DataOptions(), source, context) for o in (here, there))
        return source, first, second

    @cached_property
    def bench(self) -> Bench:
        store = FeatureStore(TensorCache(cache_root(), print), self.registry)
        settings = FitSettings(checkpoint_seconds=None)
        return Bench(self.loaded[1].task, self.registry, store, settings, steps_of(TrainOptions()))

    def labelled(self, count: int) -> Examples:
        target = self.loaded[1]
        return draw_labels(target.pool, min(count, len(target.pool)), self.number, target.task)

    def candidate(self, strategy: str, **settings: Any) -> StrategyCandidate:
        source, target, _ = self.loaded
        made = self.registry.get("strategies", strategy)(**settings)
        return StrategyCandidate(made, source, takes_head(target.task, source))

    def scores(self, strategy: str, count: int, **settings: Any) -> tuple[float, float]:
        """Test scores on the labels' organism and on the other one."""
        key = (strategy, count, *sorted(settings.items()))
        if key not in self.known:
            tests = [Rows.all(t.test) for t in self.loaded[1:]]
            outcome = self.candidate(strategy, **settings).run(
                self.bench, Rows.all(self.labelled(count)), tests, self.number
            )
            here, there = (self.metric(r, p) for r, p in zip(tests, outcome.predictions, strict=True))
            self.known[key] = here, there
        return self.known[key]

    def metric(self, rows: Rows, predictions: np.ndarray) -> float:
        return float(self.loaded[1].task.metrics[0](rows.targets.numpy(), predictions)[0])

    def tuned(self, count: int, decays: tuple[float, ...]) -> float:
        """full_ft at the decay, and the step, that a 20 % hold-out likes best."""
        labelled = self.labelled(count)
        fold = partition(labelled, self.number, self.loaded[1].task, 5)[0]
        train, held = Rows(labelled, fold.train), Rows(labelled, fold.validation)
        best: tuple[float, float, Decision | None] = (-np.inf, 0.0, None)
        for decay in decays:
            candidate = self.candidate("full_ft", weight_decay=decay)
            outcome = candidate.run(self.bench, train, [held], self.number, validation=held, keep_best=True)
            best = max(best, (self.metric(held, outcome.predictions[0]), decay, outcome.decision), key=lambda b: b[0])
        final = self.candidate("full_ft", weight_decay=best[1]).run(
            self.bench, Rows.all(labelled), [Rows.all(self.loaded[1].test)], self.number, decision=best[2]
        )
        return self.metric(Rows.all(self.loaded[1].test), final.predictions[0])


def few_labels(draws: list[Draw]) -> Iterator[dict[str, Any]]:
    few = round(FEW * WHOLE)
    for name in ("l2sp", "delta", "bss"):
        gains = {n: [d.scores(name, n)[0] - d.scores("full_ft", n)[0] for d in draws] for n in (few, WHOLE)}
        for n, values in gains.items():
            yield row(f"{name} - full_ft", n, "same organism", values)
        more = np.subtract(gains[few], gains[WHOLE])
        yield row(f"{name} - full_ft, gain at {few} less gain at {WHOLE}", f"{few}, {WHOLE}", "same organism", more)


def shift(draws: list[Draw]) -> Iterator[dict[str, Any]]:
    for i, rows in enumerate(("same organism", "other organism")):
        for n in SIZES[1:]:
            yield row("lp_ft - full_ft", n, rows, [d.scores("lp_ft", n)[i] - d.scores("full_ft", n)[i] for d in draws])


def crossing(draws: list[Draw]) -> Iterator[dict[str, Any]]:
    for n in (*SIZES, WHOLE):
        values = [d.scores("linear_probe", n)[0] - d.scores("full_ft", n)[0] for d in draws]
        yield row("linear_probe - full_ft", n, "same organism", values)


def decay(draws: list[Draw]) -> Iterator[dict[str, Any]]:
    for n in SIZES:
        fixed = {"weight_decays": (1e-2,)}
        values = [d.scores("linear_probe", n)[0] - d.scores("linear_probe", n, **fixed)[0] for d in draws]
        yield row("linear_probe: decay chosen of 5 - fixed 0.01", n, "same organism", values)
    n = SIZES[1]
    values = [d.tuned(n, DECAYS) - d.tuned(n, (1e-2,)) for d in draws]
    yield row("full_ft: decay chosen of 5 - fixed 0.01", n, "same organism", values)


def row(compared: str, labels: Any, rows: str, values: Any) -> dict[str, Any]:
    """Mean difference in points of the metric, its interval, and in how many draws it is above zero."""
    points = 100 * np.asarray(values, dtype=float)
    half = student.ppf(0.975, len(points) - 1) * points.std(ddof=1) / np.sqrt(len(points))
    return {
        "compared": compared,
        "labels": labels,
        "test rows": rows,
        "difference": f"{points.mean():+.2f}",
        "interval": f"[{points.mean() - half:+.2f}, {points.mean() + half:+.2f}]",
        "draws better": f"{int((points > 0).sum())} of {len(points)}",
        "values": points.round(3).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--cells", nargs="+", default=CELLS)
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=QUESTIONS)
    parser.add_argument("--name", default="directional")
    options = parser.parse_args()
    torch.set_num_threads(1)
    registry = plugins.load("domains", ["genomics"])
    plugins.load("strategies", None, registry)
    plugins.load("tasks", None, registry)
    asked = dict(zip(QUESTIONS, (few_labels, shift, crossing, decay), strict=True))
    rows: list[dict[str, Any]] = []
    about = {**machine(), "draws": options.draws, "metric": "AUROC in points, difference paired by draw"}
    for cell in options.cells:
        draws = [Draw(registry, cell, number) for number in range(options.draws)]
        for question in options.only:
            for found in asked[question](draws):
                rows.append({"question": question, "cell": cell, **found})
                print(cell, question, found["compared"], found["labels"], found["difference"], flush=True)
            publish(options.name, "Do the papers' directions hold on genomes?", COLUMNS, rows, about)


if __name__ == "__main__":
    main()
