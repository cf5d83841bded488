"""The kit's suite for domains, over the three demos: their data are embedded, their sources take seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from tlplat_medicine import nuclei
from tlplat_medicine.domain import MedicineDomain
from tlplat_medicine.options import MedicineOptions

from tlplat.testing import DomainSuite


class TestPrognosis(DomainSuite):
    task = "prognosis"

    @pytest.fixture
    def domain(self) -> MedicineDomain:
        return MedicineDomain()

    @pytest.fixture
    def options(self) -> MedicineOptions:
        return MedicineOptions(task=self.task)

    @pytest.fixture
    def source_name(self, domain, options) -> str:
        return domain.default_source(options)

    @pytest.fixture
    def sample(self, tmp_path) -> Path:
        path = tmp_path / "new.csv"
        path.write_text(
            "id,age,meno,size,grade,nodes,pgr,er,hormon\na,61,1,<=20,2,3,40,100,1\nb,44,0,20-50,3,1,0,,0\n",
            encoding="utf-8",
        )
        return path

    @pytest.fixture
    def cache(self, tlplat_kit_cache) -> Path:
        return tlplat_kit_cache


class TestTreatment(TestPrognosis):
    task = "treatment"


class TestDiagnosis(TestPrognosis):
    task = "diagnosis"

    @pytest.fixture
    def sample(self, tmp_path) -> Path:
        table = nuclei.half(upper=True).table
        path = tmp_path / "new.csv"
        rows = [",".join(table), *(",".join(repr(float(v[i])) for v in table.values()) for i in range(5))]
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return path
