"""The ranking of the sources at hand as a document, with a sentence on how far to trust it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlplat.errors import TlplatError
from tlplat.features import FeatureStore
from tlplat.ranking import RankedSource, agreements, draws_of, in_order, score_source
from tlplat.registry import Registry
from tlplat.sourcing import AUTO, SkippedSource, Sourcing
from tlplat.storage import read_json, write_json
from tlplat.tasks.base import Metric
from tlplat.view import View

FEW_LABELS = 100
"""Below this many labelled rows the probe's order is a hint."""
RANKING = "sources.json"
"""Where a run directory keeps the ranking that ``--source auto`` went by."""
CARRIED = 2
"""Sources that ``--source auto`` takes into the search."""


@dataclass(frozen=True)
class Ranking:
    """Sources in order of promise, and those that could not be ranked.

    Attributes:
        order: most promising first. metric: of probe and own head. labels: rows that were looked at.
        agreement: Kendall's tau-b of each score with the order.
    """

    order: Sequence[RankedSource]
    skipped: Sequence[SkippedSource]
    metric: Metric
    labels: int
    agreement: Mapping[str, float | None]

    @property
    def carried(self) -> list[str]:
        """What ``--source auto`` takes into the search: the best two."""
        return [source.called for source in self.order[:CARRIED]]

    def trust(self) -> str:
        """How far to trust the order, in sentences."""
        if not self.order:
            return "No source could be ranked."
        if len(self.order) == 1:
            return "There is one source, so there is nothing to compare it with: its scores say little on their own."
        first, second = self.order[:2]
        gap, said = second.behind, []
        if gap is None:
            said.append("Neither a probe nor an own head could be scored, so LogME alone decides the order.")
        else:
            span = f"{gap.mean:.3f} of {self.metric.name} [{gap.low:.3f}, {gap.high:.3f}]"
            if gap.low > 0:
                said.append(f"{first.called} is ahead of {second.called} by {span} on {self.labels} labelled rows.")
            else:
                said.append(
                    f"{first.called} and {second.called} cannot be told apart: {span} on {self.labels} labelled rows, "
                    "and the interval includes zero."
                )
        if self.labels < FEW_LABELS:
            said.append(f"With {self.labels} labels every score is noisy: take the order as a hint.")
        if len(self.order) == CARRIED:
            said.append("With two sources, agreement between scores is by chance half of the time.")
        votes = [tau for name, tau in self.agreement.items() if tau is not None and name not in first.held_out]
        if len(votes) > 1:
            said.append(f"{sum(tau > 0 for tau in votes)} of the {len(votes)} other scores lean to the same order.")
        said.append("Scores see a frozen source: fine-tuning may change the order, and a run measures it.")
        return " ".join(said)

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": {"name": self.metric.name, "higher_is_better": self.metric.higher_is_better},
            "labels": self.labels,
            "sources": [source.to_json() for source in self.order],
            "skipped": [{"name": s.name, "reason": s.reason} for s in self.skipped],
            "agreement": dict(self.agreement),
            "trust": self.trust(),
        }


def rank_views(
    views: Sequence[View],
    skipped: Sequence[SkippedSource],
    store: FeatureStore,
    registry: Registry,
    data_seed: int,
    advance: Callable[[float], None] = lambda units: None,
) -> Ranking:
    """Score every view's source on its labelled rows; one that stands in for an uncached source is passed over.

    ``advance`` is called with 1 after each source. A source whose features no score can take is skipped with the
    reason; where that leaves none, the first such error is raised.
    """
    task = views[0].target.task
    draws = draws_of(views[0], data_seed)
    found: list[RankedSource] = []
    passed = list(skipped)
    errors: list[TlplatError] = []
    for view in views:
        if view.source.stand_in:
            passed.append(SkippedSource(view.called, "it is not in the cache: a run pretrains it, and ranks it then"))
        else:
            try:
                found.append(score_source(view, store, registry, draws))
            except TlplatError as error:
                errors.append(error)
                passed.append(SkippedSource(view.called, error.message))
        advance(1)
    if not found and errors:
        raise errors[0]
    higher = task.metrics[0].higher_is_better
    order = in_order(found, higher)
    return Ranking(order, passed, task.metrics[0], len(views[0].labelled), agreements(order, higher))


def ranked(sourcing: Sourcing, store: FeatureStore) -> tuple[list[View], Ranking]:
    """The sources that the configuration means, as views and in order of promise."""
    views, skipped = sourcing.views(sourcing.names(), lenient=sourcing.config.source == AUTO)
    context = sourcing.context
    with context.report.task("ranking sources", total=len(views)) as advance:
        found = rank_views(views, skipped, store, context.registry, sourcing.config.data_seed, advance)
    return views, found


def carried(sourcing: Sourcing, store: FeatureStore, folder: Path | None) -> tuple[list[View], dict[str, Any] | None]:
    """The views of a run, and with ``--source auto`` the ranking (JSON) by which they were chosen.

    A ranking that ``folder`` holds is followed; a new one is written there.
    """
    if sourcing.config.source != AUTO:
        return sourcing.views(sourcing.names())[0], None
    if folder is not None and (folder / RANKING).exists():
        known: dict[str, Any] = read_json(folder / RANKING)
        return sourcing.views(known["carried"])[0], known
    views, ranking = ranked(sourcing, store)
    names = ranking.carried or [view.called for view in views[:CARRIED]]
    document = {**ranking.to_json(), "carried": names}
    if folder is not None:
        write_json(folder / RANKING, document)
    return sourcing.views(names)[0], document


def left_out(ranking: Mapping[str, Any]) -> list[dict[str, str]]:
    """The sources that the search does not carry, each with the reason, as a report lists what did not run."""
    count = len(ranking["sources"])
    places = [(i, s["name"]) for i, s in enumerate(ranking["sources"], 1) if s["name"] not in ranking["carried"]]
    behind = [{"strategy": f"source {name}", "reason": f"ranked {i} of {count}"} for i, name in places]
    carried_on = [s for s in ranking["skipped"] if s["name"] not in ranking["carried"]]
    return [*behind, *({"strategy": f"source {s['name']}", "reason": s["reason"]} for s in carried_on)]
