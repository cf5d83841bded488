import pytest
import torch
from tlplat_counts import Counts

from tlplat.testing import TaskSuite


class TestCounts(TaskSuite):
    @pytest.fixture
    def task(self):
        return Counts()

    @pytest.fixture
    def targets(self):
        return lambda hidden: torch.exp(1 + 0.8 * hidden).round().clamp(max=1000).long()
