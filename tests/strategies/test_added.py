"""What is added beside a frozen source (LoRA, DoRA, IA3, adapters, side networks): fit, start, merging, reload."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from tlplat.edits import apply_edits, rebuild_edits
from tlplat.model import BackboneInfo, ModuleInfo
from tlplat.plan import Budget, Ref
from tlplat.start import start_model
from tlplat.strategies.injection import peft_layers
from tlplat.testing.nets import info, made
from tlplat.testing.workbench import toybench
from tlplat.trainable import set_trainable
from tlplat.trial import Rows

METHODS = ["adapter", "dora", "ia3", "lora", "side_tune"]
ADDED = (".lora_", ".ia3_l.", ".adapter.", ".side.", "backbone.map.", "backbone.alpha")
FITS = {
    "conv1d_net": {"adapter", "dora", "lora", "side_tune"},
    "conv2d_net": set(METHODS),
    "transformer_net": set(METHODS),
    "recurrent_net": set(),
    "grouped_net": {"adapter"},
}
CASES = [(method, net) for net, methods in FITS.items() for method in sorted(methods)]


@pytest.fixture
def task(registry):
    return registry.get("tasks", "classification")(labels=["in", "out"]).info()


def edited(registry, task, method, net, **settings):
    """(plan, the base, the base with the strategy's edits)."""
    strategy = registry.get("strategies", method)(**settings)
    base = made(net)
    assert strategy.unfit(task, info(base)) is None
    plan = strategy.plan(task, info(base), {}, Budget(10, 8, 40))
    model = copy.deepcopy(base)
    apply_edits(model, plan.edits, registry, torch.Generator().manual_seed(1))
    return plan, base, model.eval()


def shaken(model, plan, seed=2):
    """The model with every parameter that the plan trains moved, as training would."""
    set_trainable(model, plan.phases[0].trainable)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return model.eval()


@torch.no_grad()
def outputs(model):
    return model(rows(model))


def rows(model):
    return getattr(model.backbone, "base", model.backbone).batch()


@pytest.mark.parametrize("net", FITS)
@pytest.mark.parametrize("method", METHODS)
def test_what_does_not_fit_says_why(registry, task, method, net):
    reason = registry.get("strategies", method)().unfit(task, info(made(net)))
    assert (reason is None) == (method in FITS[net])
    assert reason is None or (net in reason and ("has no" in reason or "no block" in reason or "1 block" in reason))


@pytest.mark.parametrize(("method", "net"), CASES)
def test_the_start_equals_the_base(registry, task, method, net):
    _, base, model = edited(registry, task, method, net)
    atol = 1e-6 if method == "dora" else 0 if net != "transformer_net" else 1e-6  # torch fuses the base's inference
    torch.testing.assert_close(outputs(model), outputs(base), atol=atol, rtol=0)


@pytest.mark.parametrize(("method", "net"), CASES)
def test_what_trains_reaches_predictions_and_nothing_of_the_source_moves(registry, task, method, net):
    plan, base, model = edited(registry, task, method, net)
    layer_norms = method == "adapter" and net == "transformer_net"
    before = {k: v.clone() for k, v in model.state_dict().items()}
    names = set_trainable(model, plan.phases[0].trainable)
    norms = {n for n in names if ".norm" in n and "side" not in n}
    assert norms == (
        {n for n, _ in model.named_parameters() if ".norm" in n and "side" not in n} if layer_norms else set()
    )
    added = [n for n in names if not n.startswith("head.") and n not in norms]
    assert added
    assert all(any(part in n for part in ADDED) for n in added)
    shaken(model, plan)
    frozen = [k for k in before if k not in names]
    assert all(torch.equal(before[k], model.state_dict()[k]) for k in frozen)
    model.head.load_state_dict(base.head.state_dict())
    quiet = outputs(model)
    assert not torch.allclose(quiet, outputs(base), atol=1e-3)
    torch.testing.assert_close(model(rows(model)).detach(), quiet, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("method", "net"), [(m, n) for m, n in CASES if m in ("dora", "ia3", "lora")])
def test_merged_predicts_the_same_and_unmerged_is_as_before(registry, task, method, net):
    plan, base, model = edited(registry, task, method, net)
    shaken(model, plan)
    wanted, before = outputs(model), {k: v.clone() for k, v in model.state_dict().items()}
    for _, layer in peft_layers(model):
        layer.merge(safe_merge=True)
    torch.testing.assert_close(outputs(model), wanted, atol=1e-5, rtol=1e-5)
    assert any(not torch.equal(before[k], v) for k, v in model.state_dict().items())
    for _, layer in peft_layers(model):
        if method == "ia3":
            with pytest.warns(UserWarning, match="inaccurate"):
                layer.unmerge()
        else:
            layer.unmerge()
    for k, v in model.state_dict().items():
        torch.testing.assert_close(v, before[k], atol=1e-5, rtol=1e-5)
    apply_edits(model, plan.finish, registry, torch.Generator())
    torch.testing.assert_close(outputs(model), wanted, atol=1e-5, rtol=1e-5)
    assert model.state_dict().keys() == base.state_dict().keys()
    assert [e.name for e in model.edits] == ["merge_peft"]


@pytest.mark.parametrize(("method", "net"), CASES)
def test_structure_rebuilds_from_its_json(registry, task, method, net):
    plan, _, model = edited(registry, task, method, net)
    shaken(model, plan)
    edits = [Ref(**e) for e in json.loads(json.dumps([{"name": e.name, "args": dict(e.args)} for e in model.edits]))]
    again = made(net, seed=9)
    rebuild_edits(again, edits, registry)
    again.load_state_dict(model.state_dict())
    assert torch.equal(outputs(again.eval()), outputs(model))
    assert again.edits == model.edits


@pytest.mark.parametrize("method", METHODS)
def test_training_leaves_the_source_alone(registry, method):
    bench = toybench(registry)
    train = Rows.all(bench.labelled)
    settings = {"merge": False} if method in ("dora", "ia3", "lora") else {}
    candidate = bench.candidate(method, **settings)
    model = start_model(bench.source, candidate.declare(bench.bench, train)[1], bench.bench, train, 0).eval()
    x = bench.labelled.inputs.take(torch.arange(40))
    atol = 1e-6 if method == "dora" else 0
    with torch.no_grad():
        torch.testing.assert_close(model.backbone(x), bench.bench.store.backbone(bench.source)(x), atol=atol, rtol=0)
    tuned = bench.run(method, **settings).model.state_dict()
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, tuned[k])}
    assert any(not k.startswith("head.") for k in moved)
    assert all(k.startswith("head.") or any(p in k for p in ADDED) for k in moved)
    assert len({k for k in moved if k.startswith("head.")}) == 2


@pytest.mark.parametrize("method", ["dora", "ia3", "lora"])
def test_a_merged_model_costs_what_the_source_does(registry, method):
    bench = toybench(registry)
    merged, apart = bench.run(method), bench.run(method, merge=False)
    assert merged.inference_cost == bench.run("zero_shot").inference_cost < apart.inference_cost or method == "ia3"
    assert merged.total_parameters < apart.total_parameters
    assert merged.result.trained_parameters == apart.result.trained_parameters
    torch.testing.assert_close(merged.predictions[0], apart.predictions[0], atol=1e-5, rtol=1e-5)


def test_lora_says_why_a_backbone_does_not_fit(registry, task):
    lora = registry.get("strategies", "lora")()
    odd = BackboneInfo("odd", ("a",), (4,), {"backbone.blocks.a": ModuleInfo("Conv1d", grouped=True, parameters=8)}, 8)
    assert "no linear or ungrouped" in lora.unfit(task, odd)
