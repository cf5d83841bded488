"""The toy domain passes the suite that it serves as an example for."""

import numpy as np
import pytest

from tlplat.testing import DomainSuite


class TestToy(DomainSuite):
    @pytest.fixture(autouse=True)
    def _installed(self, toy):
        """Its entry point is there."""

    @pytest.fixture
    def domain(self, toy):
        return toy.Toy()

    @pytest.fixture
    def cache(self, shared_cache):
        return shared_cache

    @pytest.fixture
    def sample(self, tmp_path):
        np.savetxt(tmp_path / "new.csv", np.arange(36).reshape(3, 12), delimiter=",")
        return tmp_path / "new.csv"
