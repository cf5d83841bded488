"""What each parameter strategy moves, and its penalty against a re-derivation in NumPy float64."""

import dataclasses

import numpy as np
import pytest
import torch

from tlplat.combine import Option
from tlplat.edits import Behaviour
from tlplat.members import Decision
from tlplat.model import BackboneInfo, ModuleInfo
from tlplat.plan import Budget
from tlplat.start import start_model
from tlplat.strategies.bitfit import is_bias
from tlplat.strategies.bss import SpectralShrinkage, spectral_penalty
from tlplat.strategies.delta import TowardsMaps, attention, map_distance
from tlplat.strategies.surgical import relative_gradient_norm
from tlplat.testing.workbench import toybench
from tlplat.trial import Rows


def moved(bench, outcome):
    """Names of the backbone's tensors that differ from the source's."""
    found = outcome.model.backbone.state_dict()
    return {name for name, value in found.items() if not torch.equal(value, bench.source.state[name])}


def context(bench, name="full_ft"):
    """The measuring context of a strategy over all labelled rows."""
    seen = []
    candidate = bench.candidate(name)

    class Spy(type(candidate.strategy)):
        def measure(self, context):
            seen.append(context)
            return super().measure(context)

    candidate.strategy = Spy()
    candidate.declare(bench.bench, Rows.all(bench.labelled))
    return seen[0]


def info_of(bench):
    return BackboneInfo.of(bench.bench.store.backbone(bench.source), True)


def bare(blocks=("a",), names=(), modules=None, dims=(4,)):
    return BackboneInfo("odd", blocks, dims, modules or {}, 8, parameter_names=names)


# discriminative


def stopped(bench, name, step):
    decision = Decision((step,), Option((0,)))
    rows = Rows.all(bench.labelled)
    return bench.candidate(name).run(bench.bench, rows, [Rows.all(bench.target.test)], 0, decision=decision)


def test_discriminative_unfreezes_from_the_top_when_it_says(registry):
    bench = toybench(registry, steps=60)
    blocks = [{n.split(".")[1] for n in moved(bench, stopped(bench, "discriminative", s))} for s in (10, 20, 30, 60)]
    assert blocks == [set(), {"dense2"}, {"dense1", "dense2"}, {"dense0", "dense1", "dense2"}]
    head = stopped(bench, "discriminative", 10).model.head.weight
    assert not torch.equal(head, bench.source.head["weight"])


def test_discriminative_lowers_the_rate_from_part_to_part(registry):
    bench = toybench(registry)
    strategy = bench.candidate("discriminative").strategy
    plan = strategy.plan(bench.target.task.info(), info_of(bench), {}, Budget(60, 32, 40))
    scales = [round(g.rate_scale, 6) for g in plan.phases[-1].groups]
    assert scales == [round(2.6**-i, 6) for i in range(5)]
    assert sum(p.share for p in plan.phases) == pytest.approx(1)
    many = bare(tuple(f"b{i}" for i in range(10)), dims=(4,) * 10)
    phases = strategy.plan(bench.target.task.info(), many, {}, Budget(60, 32, 40)).phases
    assert [len(p.trainable) for p in phases] == [1, 3, 6, 8, 1]
    assert phases[1].trainable == ("head.*", "backbone.blocks.b9.*", "backbone.blocks.b8.*")
    assert "names no blocks" in strategy.unfit(bench.target.task.info(), bare((), dims=()))


# delta


def numpy_distance(now, start, weights):
    rows, channels, positions = now.shape
    total = 0.0
    for r in range(rows):
        for c in range(channels):
            total += weights[c] * float(((now[r, c] - start[r, c]) ** 2).sum()) * channels / positions / 2
    return total / rows


def test_the_map_distance_equals_numpy_and_is_zero_at_the_start():
    rng = np.random.default_rng(0)
    now, start = rng.normal(size=(2, 5, 7, 3))
    weights = rng.dirichlet(np.ones(7))
    tensors = [torch.from_numpy(a) for a in (now, start, weights)]
    assert float(map_distance(*tensors)) == pytest.approx(numpy_distance(now, start, weights), rel=1e-12)
    assert float(map_distance(tensors[0], tensors[0], tensors[2])) == 0.0


def test_attention_prefers_channels_that_the_loss_needs():
    effects = np.array([0.3, -0.1, 0.0, 0.9])
    z = (effects - effects.mean()) / effects.std() / 5
    np.testing.assert_allclose(attention(effects.tolist()), np.exp(z) / np.exp(z).sum(), rtol=1e-5)
    assert attention([0.2, 0.2]) == [0.5, 0.5]


def behaviour_loss(bench, behaviour, nudge=0.0):
    """The behaviour's loss on the labelled rows, in eval mode, after ``nudge`` is added to the backbone's weights."""
    backbone = bench.source.build(bench.bench.registry)
    from tlplat.model import TransferModel

    model = TransferModel(backbone, bench.target.task.head(16)).eval()
    behaviour.setup(model, torch.Generator())
    with torch.no_grad():
        for p in model.backbone.parameters():
            p += nudge
    batch = bench.labelled.inputs.take(torch.arange(40))
    loss = behaviour.loss(model, batch, model(batch))
    behaviour.close(model)
    assert not any(m._forward_hooks for m in model.modules())
    return loss, model


def test_delta_is_zero_at_the_start_and_the_sum_over_blocks_after_it(registry):
    bench = toybench(registry)
    weights = {"dense0": attention(list(range(16))), "dense2": attention([1.0] + [0.0] * 15)}
    assert float(behaviour_loss(bench, TowardsMaps(0.3, 0.0, weights))[0].detach()) == 0.0
    loss, model = behaviour_loss(bench, TowardsMaps(0.3, 0.1, weights), nudge=0.05)
    batch = bench.labelled.inputs.take(torch.arange(40))
    source = bench.source.build(bench.bench.registry).eval()
    wanted = 0.05 * sum(float(p.detach().double().square().sum()) for p in model.head.parameters())
    with torch.no_grad():
        pairs = list(zip(model.backbone.depth_features(batch), source.depth_features(batch), strict=True))
    for depth, block in ((0, "dense0"), (2, "dense2")):
        now, start = (x.double().numpy()[..., None] for x in pairs[depth])
        wanted += 0.3 * numpy_distance(now, start, np.array(weights[block]))
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-5)


def test_channel_effects_follow_what_ablation_finds(registry):
    """First-order effects against the rise of the loss when each channel of a block is switched off in turn."""
    bench = toybench(registry, labels=120)
    effects = context(bench).channel_effects()
    plan = bench.candidate("wise_ft").declare(bench.bench, Rows.all(bench.labelled))[1]
    model = start_model(bench.source, plan, bench.bench, Rows.all(bench.labelled), 0).eval()
    batch = bench.labelled.inputs.take(torch.arange(120))
    task, targets = bench.target.task, bench.labelled.targets
    with torch.no_grad():
        whole = float(task.loss(model(batch), targets))
        rises = []
        for channel in range(16):

            def without(module, given, output, channel=channel):
                mask = torch.ones(16)
                mask[channel] = 0
                return output * mask

            handle = model.backbone.blocks["dense2"].register_forward_hook(without)
            rises.append(float(task.loss(model(batch), targets)) - whole)
            handle.remove()
    assert set(effects) == {"dense0", "dense1", "dense2"}
    assert np.corrcoef(effects["dense2"], rises)[0, 1] > 0.8


# bss


@pytest.mark.parametrize(("rows", "width", "k"), [(12, 7, 1), (12, 7, 3), (5, 9, 2), (3, 3, 3)])
def test_bss_is_the_sum_of_the_smallest_squared_singular_values(rows, width, k):
    features = np.random.default_rng(rows).normal(size=(rows, width))
    gram = features @ features.T if rows < width else features.T @ features
    wanted = 0.01 * np.sort(np.linalg.eigvalsh(gram))[:k].sum()
    assert float(spectral_penalty(torch.from_numpy(features), 0.01, k)) == pytest.approx(wanted, rel=1e-9)


def test_the_bss_behaviour_looks_at_what_the_head_receives(registry):
    bench = toybench(registry)
    loss, model = behaviour_loss(bench, SpectralShrinkage(1.0, 4))
    with torch.no_grad():
        features = model.backbone(bench.labelled.inputs.take(torch.arange(40))).double().numpy()
    wanted = np.sort(np.linalg.eigvalsh(features.T @ features))[:4].sum()
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-3, abs=1e-6)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.backbone.parameters() if p.grad is not None)
    assert behaviour_loss(bench, SpectralShrinkage(1.0, 16))[0] is None
    strategy = registry.get("strategies", "bss")()
    assert "no more than" in strategy.unfit(bench.target.task.info(), bare(dims=(1,)))


@pytest.mark.parametrize("name", ["delta", "bss"])
def test_a_penalty_changes_the_result_and_leaves_no_hook(registry, name):
    bench = toybench(registry)
    off = {"delta": {"alpha": 0.0, "beta": 0.0}, "bss": {"eta": 0.0}}[name]
    plain, held = bench.run(name, **off), bench.run(name, **dict.fromkeys(off, 10.0))
    assert not np.array_equal(plain.predictions[0], held.predictions[0])
    assert not any(m._forward_hooks for m in held.model.modules())


def test_delta_holds_the_features_near_the_source(registry):
    bench = toybench(registry)
    batch = bench.labelled.inputs.take(torch.arange(40))
    source = bench.source.build(bench.bench.registry).eval()

    def distance(alpha):
        model = bench.run("delta", alpha=alpha, beta=0.0, learning_rate=1e-2).model
        with torch.no_grad():
            return float((model.backbone(batch) - source(batch)).square().sum())

    assert distance(10.0) < 0.5 * distance(0.0)


def test_behaviours_are_closed_also_when_a_step_fails(registry):
    bench = toybench(registry)
    closed = []

    class Failing(Behaviour):
        name = "failing"

        def loss(self, model, batch, outputs):
            raise RuntimeError("no")

        def close(self, model):
            closed.append(model)

    registry.add("behaviours", Failing, "test")
    candidate = bench.candidate("full_ft")
    plan = type(candidate.strategy).plan

    class Planning(type(candidate.strategy)):
        def plan(self, *given):
            from tlplat.plan import Ref

            made = plan(self, *given)
            phases = tuple(dataclasses.replace(p, behaviours=(Ref("failing"),)) for p in made.phases)
            return dataclasses.replace(made, phases=phases)

    candidate.strategy = Planning()
    with pytest.raises(RuntimeError, match="no"):
        candidate.run(bench.bench, Rows.all(bench.labelled), [], 0)
    assert len(closed) == 1


# surgical, bitfit, norm_tune


def test_surgical_tunes_the_block_of_the_largest_relative_gradient_and_no_other(registry):
    bench = toybench(registry, labels=120)
    outcome = bench.run("surgical")
    block, found = outcome.measured["block"], outcome.measured["relative_gradient_norms"]
    assert found[block] == max(found.values())
    changed = moved(bench, outcome)
    assert changed
    assert all(name.startswith(f"blocks.{block}.") for name in changed)


def test_relative_gradient_norms_are_those_of_autograd(registry):
    bench = toybench(registry, labels=120)
    norms = context(bench).gradient_norms()
    plan = bench.candidate("wise_ft").declare(bench.bench, Rows.all(bench.labelled))[1]
    model = start_model(bench.source, plan, bench.bench, Rows.all(bench.labelled), 0).eval().double()
    batch = bench.labelled.inputs.tensor.double()
    hidden = batch
    for block in model.backbone.blocks.values():
        hidden = block(hidden)
    bench.target.task.loss(model.head(hidden), bench.labelled.targets).backward()
    for name, p in model.named_parameters():
        if name.startswith("backbone."):
            assert norms[name] == pytest.approx((float(p.grad.norm()), float(p.detach().norm())), rel=1e-3, abs=1e-6)
    assert relative_gradient_norm([(3.0, 6.0), (4.0, 8.0)]) == pytest.approx(0.5)
    assert relative_gradient_norm([(1.0, 0.0)]) == float("inf")


def test_surgical_says_why_there_is_nothing_to_choose(registry):
    strategy = registry.get("strategies", "surgical")()
    info = bare(("a", "pool"), ("backbone.blocks.a.weight",), dims=(4, 4))
    assert "1 block(s) with weights" in strategy.unfit(toybench(registry).target.task.info(), info)


def test_bitfit_moves_biases_and_what_comes_with_them(registry):
    bench = toybench(registry)
    changed = moved(bench, bench.run("bitfit"))
    assert {n for n in changed if is_bias(n)} == {n for n in bench.source.state if n.endswith("bias")}
    assert all(is_bias(n) or "running" in n or "num_batches" in n for n in changed)
    assert [is_bias(f"backbone.{n}") for n in ("lstm.bias_ih_l0", "a.in_proj_bias", "bias.weight", "a.debiased")] == [
        True,
        True,
        False,
        False,
    ]
    assert "no bias" in bench.candidate("bitfit").strategy.unfit(bench.target.task.info(), bare(names=("b.weight",)))


def test_norm_tune_moves_normalisation_layers_alone(registry):
    bench = toybench(registry)
    changed = moved(bench, bench.run("norm_tune"))
    assert {n.split(".")[2] for n in changed} == {"1"}
    assert {n.split(".")[3] for n in changed} >= {"weight", "bias", "running_mean"}
    plain = bare(modules={"backbone.blocks.a": ModuleInfo("Linear", parameters=8)})
    task = bench.target.task.info()
    assert "no normalisation layer" in bench.candidate("norm_tune").strategy.unfit(task, plain)


# wise_ft, greedy_soup


def test_wise_ft_at_its_ends_is_the_probe_and_the_fine_tuned(registry):
    bench = toybench(registry, "headless")

    def at(coefficient):
        decision = Decision((None,), Option((0,), coefficient))
        rows = Rows.all(bench.labelled)
        return bench.candidate("wise_ft").run(bench.bench, rows, [Rows.all(bench.target.test)], 0, decision=decision)

    probe, tuned = bench.run("linear_probe"), bench.run("lp_ft")
    np.testing.assert_array_equal(at(1.0).predictions[0], tuned.predictions[0])
    start = at(0.0).model.state_dict()
    assert all(torch.equal(start[f"backbone.{n}"], v) for n, v in bench.source.state.items())
    assert torch.equal(start["head.weight"], probe.model.head.weight)
    between = at(0.5).predictions[0]
    assert not np.array_equal(between, tuned.predictions[0])


def test_a_greedy_soup_of_one_is_that_fine_tuning(registry):
    bench = toybench(registry, "headless")
    soup = bench.run("greedy_soup", rate_scales=(1.0,))
    np.testing.assert_array_equal(soup.predictions[0], bench.run("lp_ft").predictions[0])


def test_the_soups_members_share_the_budget(registry):
    bench = toybench(registry)
    assert bench.run("greedy_soup").result.steps == bench.run("full_ft").result.steps == 60
