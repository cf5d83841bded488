"""The kit's suite for domains over loans and over prices of the user's, with sources in folders."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tlplat_finance.domain import FinanceDomain, FinanceOptions

from tlplat.domain import DataOptions, DomainContext
from tlplat.modelio import save_source
from tlplat.testing import DomainSuite
from tlplat.testing.kit import kit_registry

FACTS = {"license": "CC0-1.0", "citation": "drawn for tests"}


def kept(options: FinanceOptions, data: DataOptions, folder: Path, cache: Path) -> None:
    """A source that is pretrained on ``data``, in ``folder``."""
    domain = FinanceDomain()
    context = DomainContext(kit_registry("domains", domain.name), cache, threads=1)
    source = domain.pretrain(options, data, context)
    save_source(folder, dataclasses.replace(source, provenance={**source.provenance, **FACTS}))


class FinanceSuite(DomainSuite):
    @pytest.fixture
    def domain(self) -> FinanceDomain:
        return FinanceDomain()

    @pytest.fixture
    def cache(self, tlplat_kit_cache) -> Path:
        return tlplat_kit_cache

    @pytest.fixture
    def data(self, folder) -> DataOptions:
        return DataOptions(path=folder / "target.csv", target=self.column)

    @pytest.fixture
    def source_name(self, folder) -> str:
        return str(folder / "source")

    @pytest.fixture
    def sample(self, folder) -> Path:
        return folder / "target.csv"


class TestCredit(FinanceSuite):
    column = "outcome"

    @pytest.fixture
    def folder(self, tmp_path, loans, write, tlplat_kit, tlplat_kit_cache) -> Path:
        def made() -> Path:
            source = write("source.csv", loans(300, seed=1))
            write("target.csv", loans(160, seed=2))
            data = DataOptions(path=source, target="outcome")
            kept(FinanceOptions(categorical=()), data, tmp_path / "source", tlplat_kit_cache)
            return tmp_path

        return self.once("folder", made)


class TestVolatility(FinanceSuite):
    column = "close"

    @pytest.fixture
    def options(self) -> FinanceOptions:
        return FinanceOptions(task="volatility")

    @pytest.fixture
    def folder(self, tmp_path, prices, write, options, tlplat_kit, tlplat_kit_cache) -> Path:
        def made() -> Path:
            source = write("source.csv", prices(500, seed=1))
            write("target.csv", prices(600, seed=2))
            kept(options, DataOptions(path=source), tmp_path / "source", tlplat_kit_cache)
            return tmp_path

        return self.once("folder", made)
