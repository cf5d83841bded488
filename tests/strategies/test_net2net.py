"""Net2Net: the function is unchanged, the structure is larger, and what is new learns something of its own."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn

from tlplat.edits import apply_edits, rebuild_edits
from tlplat.errors import PluginError
from tlplat.model import parameter_count
from tlplat.plan import Budget, Ref
from tlplat.start import start_model
from tlplat.testing.nets import NETS, info, made
from tlplat.testing.workbench import toybench
from tlplat.trial import Rows

WIDER = {"conv1d_net": 1, "conv2d_net": 1, "transformer_net": 2}
DEEPER = [name for name in NETS if name != "recurrent_net"]
CASES = [*(("net2wider", n) for n in WIDER), *(("net2deeper", n) for n in DEEPER)]


@pytest.fixture
def task(registry):
    return registry.get("tasks", "classification")(labels=["in", "out"]).info()


def edited(registry, task, method, net, **settings):
    strategy, base = registry.get("strategies", method)(**settings), made(net)
    assert strategy.unfit(task, info(base)) is None
    plan = strategy.plan(task, info(base), {}, Budget(10, 8, 40))
    model = copy.deepcopy(base)
    model.example = base.example
    apply_edits(model, plan.edits, registry, torch.Generator().manual_seed(1))
    return base, model.eval()


@torch.no_grad()
def outputs(model):
    return model(model.backbone.batch(16, seed=5))


@pytest.mark.parametrize(("method", "net"), CASES)
def test_outputs_are_unchanged(registry, task, method, net):
    base, model = edited(registry, task, method, net)
    torch.testing.assert_close(outputs(model), outputs(base), atol=1e-5, rtol=1e-5)
    assert parameter_count(model) > parameter_count(base)


def test_every_block_can_be_deepened(registry, task):
    for net in DEEPER:
        base, model = edited(registry, task, "net2deeper", net, blocks=len(made(net).backbone.blocks))
        torch.testing.assert_close(outputs(model), outputs(base), atol=1e-5, rtol=1e-5)


def test_one_layer_after_relu_and_a_pair_elsewhere(registry, task):
    _, model = edited(registry, task, "net2deeper", "conv2d_net", blocks=3)
    found = {item["name"].split(".")[1]: item["after_relu"] for item in model.edits[0].args["layers"]}
    assert found == {"stem": True, "residual": False, "dense": False}
    assert isinstance(model.backbone.blocks["stem"][-2], nn.Conv2d)


@pytest.mark.parametrize(("method", "net"), CASES)
def test_structure_rebuilds_from_its_json(registry, task, method, net):
    _, model = edited(registry, task, method, net)
    again = made(net, seed=9)
    again.example = None
    text = json.dumps([{"name": e.name, "args": dict(e.args)} for e in model.edits])
    rebuild_edits(again, [Ref(**e) for e in json.loads(text)], registry)
    again.load_state_dict(model.state_dict())
    assert torch.equal(outputs(again.eval()), outputs(model))


@pytest.mark.parametrize("method", ["net2wider", "net2deeper"])
def test_the_toy_source_starts_as_it_was_and_grows(registry, method):
    bench = toybench(registry)
    train = Rows.all(bench.labelled)
    model = start_model(bench.source, bench.candidate(method).declare(bench.bench, train)[1], bench.bench, train, 0)
    x = bench.labelled.inputs.take(torch.arange(40))
    with torch.no_grad():
        wanted = bench.bench.store.backbone(bench.source)(x)
        torch.testing.assert_close(model.eval().backbone(x), wanted, atol=1e-5, rtol=1e-5)
    grown, whole = bench.run(method), bench.run("full_ft")
    assert grown.total_parameters > whole.total_parameters
    assert grown.inference_cost > whole.inference_cost


def test_copies_part_in_training(registry):
    """Equal shares would leave a unit and its copy with the same weights under Adam."""
    bench = toybench(registry)
    model = bench.run("net2wider").model
    rows = model.edits[0].args["selections"]["blocks.dense0.0"]["out"]
    assert len(rows) == 24
    weight = model.backbone.blocks["dense0"][0].weight.detach()
    apart = [(weight[rows.index(unit)] - weight[16 + k]).abs().max() for k, unit in enumerate(rows[16:])]
    assert min(apart) > 1e-3


def test_where_nothing_can_be_copied(registry, task):
    strategy = registry.get("strategies", "net2wider")()
    for net in ("recurrent_net", "grouped_net"):
        model = made(net)
        assert "no layer whose outputs" in strategy.unfit(task, info(model))
        with pytest.raises(PluginError, match="no layer whose outputs"):
            apply_edits(model, [Ref("widen_units", {"factor": 2})], registry, torch.Generator())
    assert "no block" in registry.get("strategies", "net2deeper")().unfit(task, info(made("recurrent_net")))
