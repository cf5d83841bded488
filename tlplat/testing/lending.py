"""What the suite of a domain runs on: its demo, or data that the author's fixtures name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tlplat.cache import cache_root
from tlplat.data.examples import Examples
from tlplat.data.splits import draw_labels
from tlplat.domain import DataOptions, Domain, DomainContext, TargetTask
from tlplat.features import FeatureStore
from tlplat.model import SourceModel
from tlplat.registry import Registry
from tlplat.testing.kit import Suite, kit_registry
from tlplat.testing.workbench import Toybench
from tlplat.train import FitSettings
from tlplat.trial import Bench

LABELS = 60
"""Labelled rows that the strategies train on, where the domain has so many."""


class DomainFixtures(Suite):
    """Fixtures of :class:`tlplat.testing.DomainSuite`; an author overrides the first few."""

    @pytest.fixture
    def domain(self) -> Domain:
        """The domain under test."""
        raise NotImplementedError("give the suite a fixture `domain` that returns an instance")

    @pytest.fixture
    def options(self, domain: Domain) -> Any:
        """The domain's options; default: its defaults."""
        return domain.Options()

    @pytest.fixture
    def data(self) -> DataOptions:
        """The user's own data; default: none, so the demo."""
        return DataOptions()

    @pytest.fixture
    def source_name(self, domain: Domain) -> str:
        """The source model; default: the domain's first."""
        return domain.sources()[0].name

    @pytest.fixture
    def sample(self) -> Path | None:
        """A file of new rows that ``encode`` reads; default: none, and that check is skipped."""
        return None

    @pytest.fixture
    def cache(self) -> Path:
        """The user's own cache, so that assets are fetched and sources pretrained once."""
        return cache_root()

    @pytest.fixture
    def registry(self, domain: Domain, cache: Path, tlplat_kit: Path) -> Registry:
        """The domain's plugin, tlplat's own strategies and tasks."""
        return self.once("registry", lambda: kit_registry("domains", domain.name))

    @pytest.fixture
    def context(self, registry: Registry, cache: Path) -> DomainContext:
        """What the core lends the domain."""
        return DomainContext(registry, cache, threads=1)

    @pytest.fixture
    def source(self, domain: Domain, source_name: str, options: Any, context: DomainContext) -> SourceModel:
        """The source model, loaded or pretrained once."""
        return self.once("source", lambda: domain.source(source_name, options, context))

    @pytest.fixture
    def target(
        self, domain: Domain, source: SourceModel, options: Any, data: DataOptions, context: DomainContext
    ) -> TargetTask:
        """The target task, read once."""
        return self.once("target", lambda: domain.target(options, data, source, context))

    @pytest.fixture
    def bench(
        self, domain: Domain, source: SourceModel, target: TargetTask, options: Any, context: DomainContext
    ) -> Toybench:
        """A few labelled rows, and fits of eight steps."""
        return self.once("bench", lambda: _bench(domain, source, target, options, context))


def _bench(domain: Domain, source: SourceModel, target: TargetTask, options: Any, context: DomainContext) -> Toybench:
    bench = Bench(
        target.task,
        context.registry,
        FeatureStore(context.tensors, context.registry),
        FitSettings(checkpoint_seconds=None),
        lambda rows: 8,
        unlabeled=target.unlabeled,
        source_rows=domain.source_rows(source, options, target, context),
        keep_rows=domain.keeps_rows,
        count_costs=False,
    )
    return Toybench(bench, source, target, few_labelled(target))


def few_labelled(target: TargetTask) -> Examples:
    return draw_labels(target.pool, min(LABELS, len(target.pool)), 0, target.task)
