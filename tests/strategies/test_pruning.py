"""Pruning of units and of connections: less is left, it is stored as lists, and loading needs nothing else."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tlplat.edits import apply_edits, rebuild_edits
from tlplat.errors import PluginError
from tlplat.model import parameter_count
from tlplat.modelio import save_model
from tlplat.plan import Ref
from tlplat.strategies.movement import RAMP, Movement, sparsity_at
from tlplat.strategies.prune_ft import PruneUnits
from tlplat.testing.nets import info, made
from tlplat.testing.workbench import toybench
from tlplat.trial import Rows

NETS = ["conv1d_net", "conv2d_net", "transformer_net"]


@pytest.fixture
def task(registry):
    return registry.get("tasks", "classification")(labels=["in", "out"]).info()


def flops(model) -> int:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(model.backbone.batch(1))
    return counter.get_total_flops()


def pruned(registry, net, ratio=0.3):
    base = made(net)
    model = copy.deepcopy(base)
    apply_edits(model, [Ref("prune_units", {"ratio": ratio})], registry, torch.Generator())
    return base, model.eval()


@pytest.mark.parametrize("net", NETS)
def test_parameters_and_flops_fall(registry, task, net):
    strategy = registry.get("strategies", "prune_ft")()
    assert strategy.unfit(task, info(made(net))) is None
    base, model = pruned(registry, net)
    assert parameter_count(model) < parameter_count(base)
    assert flops(model) < flops(base) or net == "transformer_net"  # there fused, which the counter does not see


@pytest.mark.parametrize("net", NETS)
def test_what_is_left_computes_what_the_whole_does_without_the_removed(registry, net):
    """Removing a unit is the same as setting the weights that read it to zero."""
    base, model = pruned(registry, net)
    with torch.no_grad():
        for name, lists in model.edits[0].args["selections"].items():
            if "inputs" in lists:
                weight = base.backbone.get_submodule(name).weight
                gone = sorted(set(range(weight.shape[1])) - set(lists["inputs"]))
                assert gone
                weight[:, gone] = 0
        x = base.backbone.batch(16, seed=5)
        torch.testing.assert_close(model(x), base(x), atol=1e-5, rtol=1e-5)


def test_the_weakest_go(registry):
    base = made("conv1d_net")
    with torch.no_grad():
        for unit in (1, 4):
            base.backbone.blocks["a"][0].weight[unit] *= 1e-3
            base.backbone.blocks["b"][0].weight[:, unit] *= 1e-3
    args = PruneUnits.resolve(base, {"ratio": 0.3})
    assert args["selections"]["blocks.a.0"] == {"out": [0, 2, 3, 5]}
    assert args["selections"]["blocks.a.1"] == {"out": [0, 2, 3, 5]}
    assert args["selections"]["blocks.b.0"] == {"inputs": [0, 2, 3, 5]}


def test_layers_whose_outputs_are_added_lose_the_same_units(registry):
    _, model = pruned(registry, "conv2d_net")
    chosen = model.edits[0].args["selections"]
    assert chosen["blocks.stem.0"]["out"] == chosen["blocks.residual.outer"]["out"]
    assert len(chosen["blocks.stem.0"]["out"]) == 4
    assert len(chosen["blocks.dense.1"]["inputs"]) == 4 * 16


@pytest.mark.parametrize("net", NETS)
def test_lists_rebuild_it_without_torch_pruning_or_rows(registry, monkeypatch, net):
    _, model = pruned(registry, net)
    again = made(net, seed=9)
    again.example = None
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    text = json.dumps([{"name": e.name, "args": dict(e.args)} for e in model.edits])
    rebuild_edits(again, [Ref(**e) for e in json.loads(text)], registry)
    again.load_state_dict(model.state_dict())
    x = model.backbone.batch(16, seed=5)
    with torch.no_grad():
        assert torch.equal(again.eval()(x), model(x))


def test_it_must_remove_something_and_says_where_it_cannot(registry, task, monkeypatch):
    with pytest.raises(PluginError, match="left all"):
        pruned(registry, "conv1d_net", ratio=0.0)
    strategy = registry.get("strategies", "prune_ft")()
    assert "no layer whose outputs" in strategy.unfit(task, info(made("recurrent_net")))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "torch_pruning" else find(n, *a))
    assert "tlplat[prune]" in strategy.unfit(task, info(made("conv1d_net")))
    with pytest.raises(PluginError) as caught:
        pruned(registry, "conv1d_net")
    assert caught.value.code == "TL-PLUGIN-EXTRA"


LOAD = """
import sys
import numpy as np, torch
from pathlib import Path
from tlplat import plugins
from tlplat.modelio import load_model, required_plugins
folder = Path(sys.argv[1])
registry = None
for group, name in required_plugins(folder):
    registry = plugins.load(group, [name], registry)
loaded = load_model(folder, registry)
x = torch.from_numpy(np.load(sys.argv[2]))
with torch.no_grad():
    np.save(sys.argv[3], loaded.task.decode(loaded.model(x)))
assert not {"torch_pruning", "peft"} & sys.modules.keys()
"""


@pytest.mark.parametrize(
    "name", ["adapter", "dora", "ia3", "lora", "movement_prune", "net2deeper", "net2wider", "prune_ft", "side_tune"]
)
def test_a_fresh_process_predicts_the_same_and_loads_no_extra(registry, name, tmp_path):
    bench = toybench(registry)
    outcome = bench.run(name)
    plugins = [("domains", "toy")]
    save_model(tmp_path / "m", outcome.model, bench.target.task.info(), {"dim": 12}, registry, {}, plugins)
    np.save(tmp_path / "x.npy", bench.target.test.inputs.take(torch.arange(400)).numpy())
    command = [sys.executable, "-c", LOAD, str(tmp_path / "m"), str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert ran.returncode == 0, ran.stderr
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), outcome.predictions[0], atol=1e-6)


def test_a_pruned_model_is_smaller_in_every_way(registry, tmp_path):
    bench = toybench(registry)
    sizes = {}
    outcomes = {name: bench.run(name) for name in ("full_ft", "prune_ft")}
    for name, outcome in outcomes.items():
        save_model(tmp_path / name, outcome.model, bench.target.task.info(), {"dim": 12}, registry, {})
        sizes[name] = (tmp_path / name / "model.safetensors").stat().st_size
    whole, cut = outcomes["full_ft"], outcomes["prune_ft"]
    assert sizes["prune_ft"] < sizes["full_ft"]
    assert cut.total_parameters < whole.total_parameters
    assert cut.inference_cost < whole.inference_cost


def test_the_ramp_is_cubic_and_ends():
    assert [sparsity_at(p, 0.8) for p in (0.0, RAMP[0], RAMP[1], 1.0)] == [0.0, 0.0, 0.8, 0.8]
    assert sparsity_at(0.25, 0.8) == pytest.approx(0.8 * (1 - 0.5**3))


def test_movement_prunes_what_shrinks_and_brings_back_what_grows():
    model = made("grouped_net")
    movement = Movement(["backbone.blocks.a.0"], 0.5)
    movement.setup(model, torch.Generator())
    p = model.get_parameter("backbone.blocks.a.0.weight")
    start = p.detach().clone()
    shrinking = torch.zeros_like(p)
    shrinking.flatten()[: p.numel() // 2] = 1
    p.grad = torch.where(shrinking == 1, start.sign(), -start.sign())
    movement.on_step(model, 0.3)
    gone = round(sparsity_at(0.3, 0.5) * p.numel())
    assert int((p == 0).sum()) == gone > 0
    assert bool((shrinking.bool() | (p != 0)).all())
    p.grad = 10 * torch.where(shrinking == 1, -start.sign(), start.sign())
    movement.on_step(model, RAMP[1])
    assert torch.equal(p == 0, shrinking == 0)
    assert torch.equal(p.detach()[shrinking == 1], start[shrinking == 1])
    assert not movement.settled
    p.grad = torch.ones_like(p)
    movement.on_step(model, 0.6)
    assert torch.equal(p == 0, shrinking == 0)
    assert movement.settled


def test_movement_reaches_its_sparsity_and_records_it(registry):
    bench = toybench(registry, labels=120)
    model = bench.run("movement_prune", sparsity=0.75).model
    args = model.edits[-1].args
    assert args["sparsity"] == pytest.approx(0.75, abs=0.01)
    for layer, share in args["layers"].items():
        weight = model.get_parameter(f"{layer}.weight")
        assert float((weight == 0).float().mean()) == pytest.approx(share)
        assert share == pytest.approx(0.75, abs=0.01)
    assert not any("head" in layer for layer in args["layers"])


def test_the_kept_weights_are_never_of_an_unfinished_ramp(registry):
    bench = toybench(registry, labels=120)
    half = torch.arange(60)
    candidate = bench.candidate("movement_prune", learning_rate=3e-2)
    validation = Rows(bench.labelled, half + 60)
    train = Rows(bench.labelled, half)
    outcome = candidate.run(bench.bench, train, [validation], 0, validation=validation, keep_best=True)
    assert outcome.result.best_step >= 30
    assert outcome.model.edits[-1].args["sparsity"] == pytest.approx(0.5, abs=0.01)
    losses = {point["step"]: point["validation_loss"] for point in outcome.result.curve}
    assert outcome.result.best_step == min((s for s in losses if s >= 30), key=losses.get)


def test_movement_resumes_bitwise(registry, tmp_path):
    from dataclasses import replace

    bench = toybench(registry)
    train, test = Rows.all(bench.labelled), Rows.all(bench.target.test)
    whole = bench.run("movement_prune").predictions[0]
    kept = replace(bench.bench, fit_settings=replace(bench.bench.fit_settings, checkpoint_steps=7))

    class StopError(Exception):
        pass

    def stop(units, done=[0]):  # noqa: B006
        done[0] += units
        if done[0] > 17:
            raise StopError

    with pytest.raises(StopError):
        bench.candidate("movement_prune").run(kept, train, [test], 0, checkpoint=tmp_path, advance=stop)
    again = bench.candidate("movement_prune").run(kept, train, [test], 0, checkpoint=tmp_path)
    np.testing.assert_array_equal(again.predictions[0], whole)
