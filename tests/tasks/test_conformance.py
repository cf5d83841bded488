"""The kit's suite for tasks, over the built-in classification."""

import pytest

from tlplat.tasks.classification import Classification
from tlplat.testing import TaskSuite


class TestClassification(TaskSuite):
    @pytest.fixture
    def task(self):
        return Classification(["low", "middle", "high"])
