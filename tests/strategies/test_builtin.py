"""What every built-in strategy owes, through the door that third parties use."""

import numpy as np
import pytest
import torch

from tlplat import plugins
from tlplat.model import BackboneInfo, ModuleInfo
from tlplat.plan import Budget
from tlplat.testing import StrategySuite
from tlplat.testing.workbench import toybench

NAMES = [
    "adabn",
    "adapter",
    "bitfit",
    "bss",
    "continued_pretraining",
    "dann",
    "deep_coral",
    "delta",
    "discriminative",
    "dora",
    "full_ft",
    "greedy_soup",
    "head2toe",
    "ia3",
    "l2sp",
    "linear_probe",
    "lora",
    "lp_ft",
    "movement_prune",
    "net2deeper",
    "net2wider",
    "norm_tune",
    "prototype",
    "prune_ft",
    "pulled_probe",
    "scratch",
    "self_training",
    "side_tune",
    "surgical",
    "truncate",
    "wise_ft",
    "zero_shot",
]

SETTINGS = {"adabn": 2, "head2toe": 1, "linear_probe": 1, "prototype": 1, "pulled_probe": 1, "zero_shot": 1}
"""How many settings a strategy tries, where it is not three learning rates."""
MEASURED = {
    "depth": 1,
    "block": "x",
    "attention": {"y": [0.5, 0.5]},
    "kept": [0, 2],
    "head": {"variant": "mean", "setting": 0.0, "temperature": 1.0},
}


def test_the_list_is_what_is_registered(registry):
    assert registry.names("strategies") == NAMES


def suite(name: str) -> type[StrategySuite]:
    """The kit's suite over the built-in strategy ``name``."""

    class Test(StrategySuite):
        @pytest.fixture
        def strategy(self):
            return plugins.load("strategies", [name]).get("strategies", name)()

    return Test


globals().update({f"Test_{name}": suite(name) for name in NAMES})


@pytest.mark.parametrize("name", ["zero_shot", "pulled_probe"])
def test_some_need_the_source_head(registry, name):
    bench = toybench(registry, "headless")
    info = BackboneInfo.of(bench.bench.store.backbone(bench.source))
    assert "no head" in bench.candidate(name).strategy.unfit(bench.target.task.info(), info)


def test_pulled_probe_lies_between_the_source_and_the_probe(registry):
    bench = toybench(registry, labels=16)
    source, pulled, probe = (bench.run(name) for name in ("zero_shot", "pulled_probe", "linear_probe"))
    for name, value in pulled.model.backbone.state_dict().items():
        assert torch.equal(value, bench.source.state[name]), name
    moved = torch.dist(pulled.model.head.weight, source.model.head.weight)
    assert 0 < moved < torch.dist(probe.model.head.weight, source.model.head.weight)


def test_zero_shot_is_the_source_untouched(registry):
    bench = toybench(registry)
    outcome = bench.run("zero_shot")
    assert outcome.result.steps == 0
    for name, value in outcome.model.backbone.state_dict().items():
        assert torch.equal(value, bench.source.state[name])
    assert torch.equal(outcome.model.head.weight, bench.source.head["weight"])


def test_linear_probe_leaves_the_backbone_and_beats_a_random_head(registry):
    bench = toybench(registry, labels=120)
    outcome = bench.run("linear_probe")
    for name, value in outcome.model.backbone.state_dict().items():
        assert torch.equal(value, bench.source.state[name]), name
    assert outcome.result.trained_parameters == 2 * 17


def test_truncate_removes_blocks_and_makes_the_model_smaller(registry):
    bench = toybench(registry)
    outcome, whole = bench.run("truncate"), bench.run("full_ft")
    depth = outcome.measured["depth"]
    assert len(outcome.measured["losses"]) == 2
    assert list(outcome.model.backbone.blocks) == [f"dense{i}" for i in range(depth)]
    assert outcome.total_parameters < whole.total_parameters
    assert outcome.inference_cost < whole.inference_cost


def test_scratch_uses_nothing_of_the_source(registry):
    bench, flipped = toybench(registry), toybench(registry, "flipped")
    np.testing.assert_array_equal(bench.run("scratch").predictions[0], flipped.run("scratch").predictions[0])
    assert not bench.candidate("scratch").transfers


def test_every_strategy_tries_its_own_rates_unless_one_is_fixed(registry):
    bench = toybench(registry)
    for name in NAMES:
        assert len(bench.candidate(name).settings()) == SETTINGS.get(name, 3), name
    from tlplat.trial import StrategyCandidate

    fixed = StrategyCandidate(registry.get("strategies", "full_ft")(), bench.source, True, learning_rate=0.5)
    assert [c.hyperparameters["learning_rate"] for c in fixed.settings()] == [0.5]


def test_plans_depend_on_declared_values_only(registry):
    info = BackboneInfo("b", ("x", "y"), (4, 4), {"backbone.blocks.x": ModuleInfo("Linear", parameters=20)}, 20, True)
    task = toybench(registry).target.task.info()
    for name in NAMES:
        strategy = registry.get("strategies", name)()
        plan = strategy.plan(task, info, MEASURED, Budget(10, 8, 20))
        assert plan == strategy.plan(task, info, MEASURED, Budget(10, 8, 20))
        assert strategy.paper
        assert strategy.summary()
