"""The kit's suite for tasks, over the built-in ones."""

from typing import ClassVar

import pytest
import torch

from tlplat.tasks.classification import Classification
from tlplat.tasks.forecasting import Forecasting
from tlplat.tasks.regression import Regression
from tlplat.tasks.retrieval import Retrieval
from tlplat.tasks.survival import Survival
from tlplat.tasks.treatment import Treatment
from tlplat.testing import TaskSuite


class BuiltIn(TaskSuite):
    """The suite but for strategies of tlplat's own: each has a suite that runs it on every built-in task."""

    @pytest.mark.parametrize("name", ["linear_probe", "full_ft"])
    def test_serves_the_strategy(self, bench, name):
        super().test_serves_the_strategy(bench, name)


def noise(hidden: torch.Tensor, seed: int) -> torch.Tensor:
    """Of the rows behind ``hidden``: the same for the same rows."""
    return torch.rand(len(hidden), generator=torch.Generator().manual_seed(seed)).double()


class TestClassification(TaskSuite):
    """All strategies, as a third party's task is put to the test."""

    @pytest.fixture
    def task(self):
        return Classification(["low", "middle", "high"])


class TestSeveralLabels(BuiltIn):
    @pytest.fixture
    def task(self):
        return Classification(["low", "odd", "high"], multi_label=True)

    @pytest.fixture
    def targets(self):
        return lambda hidden: torch.stack([hidden < -0.3, noise(hidden, 1) > 0.7, hidden > 0.2], dim=1).float()


class TestBalanced(BuiltIn):
    @pytest.fixture
    def task(self):
        return Classification(["low", "high", "highest"]).balanced()

    @pytest.fixture
    def targets(self):
        return lambda hidden: (hidden > 0.8).long() + (hidden > 1.2).long()


class TestRegression(BuiltIn):
    @pytest.fixture
    def task(self):
        return Regression("height", "cm")


class TestForecasting(BuiltIn):
    @pytest.fixture
    def task(self):
        return Forecasting(2, (0.1, 0.5, 0.9), "load")

    @pytest.fixture
    def targets(self):
        return lambda hidden: 50 + 6 * torch.stack([hidden, hidden + 0.3 * noise(hidden, 1)], dim=1)


class TestSurvival(BuiltIn):
    expected_failures: ClassVar[dict[str, str]] = {
        "test_metrics_weigh_rows": "integrated_brier rests on one estimate of the censoring, that of all rows"
    }

    @pytest.fixture(params=["cox", "discrete"])
    def task(self, request):
        return Survival((2.0, 5.0, 10.0, 20.0), method=request.param)

    @pytest.fixture
    def targets(self):
        """Exponential times, shorter where the number is larger, and censoring on its own."""

        def made(hidden):
            time, stop = (-torch.log(noise(hidden, k) + 1e-9) for k in (1, 2))
            time, stop = 8 * torch.exp(-2 * hidden.double()) * time, 20 * stop
            return torch.stack([torch.minimum(time, stop), (time <= stop).double()], dim=1)

        return made


class TestRetrieval(BuiltIn):
    expected_failures: ClassVar[dict[str, str]] = {
        "test_metrics_weigh_rows": "a row that stands there twice finds its copy",
        "test_targets_are_checked": "any whole number names a group",
    }

    @pytest.fixture
    def task(self):
        return Retrieval(6)

    @pytest.fixture
    def targets(self):
        return lambda hidden: torch.bucketize(hidden, torch.tensor([-1.2, -0.4, 0.4, 1.2]))


class TestTreatment(BuiltIn):
    @pytest.fixture(params=["t", "dr"])
    def task(self, request):
        return Treatment(["none", "drug"], learner=request.param)

    @pytest.fixture
    def targets(self):
        """A drug at random, whose effect is the number."""

        def made(hidden):
            arm = (noise(hidden, 1) > 0.5).long()
            outcome = 20 + 3 * hidden.double() * arm + noise(hidden, 2)
            return Treatment.targets(hidden[:, None].double(), arm, outcome, arms=2)

        return made
