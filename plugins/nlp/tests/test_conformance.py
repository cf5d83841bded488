"""The kit's suite for domains, over a CSV of made-up reviews and a tiny encoder in a folder: no network."""

from __future__ import annotations

from pathlib import Path

import pytest
from tlplat_nlp.domain import NlpDomain

from tlplat.domain import DataOptions
from tlplat.testing import DomainSuite


@pytest.fixture(scope="module")
def table(tmp_path_factory, module_reviews) -> Path:
    """A CSV of 160 reviews, half of them good."""
    path = tmp_path_factory.mktemp("nlp") / "reviews.csv"
    rows = "".join(f'"{text}",{label}\n' for text, label in module_reviews)
    path.write_text("text,label\n" + rows, encoding="utf-8")
    return path


class TestNlp(DomainSuite):
    @pytest.fixture
    def domain(self) -> NlpDomain:
        return NlpDomain()

    @pytest.fixture
    def data(self, table) -> DataOptions:
        return DataOptions(path=table)

    @pytest.fixture
    def source_name(self, encoder_folder) -> str:
        return str(encoder_folder)

    @pytest.fixture
    def sample(self, table) -> Path:
        return table

    @pytest.fixture
    def cache(self, tlplat_kit_cache) -> Path:
        return tlplat_kit_cache
