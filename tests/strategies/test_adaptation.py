"""Adaptation to unlabelled rows: the papers' equations, what is touched, determinism, resume, and what plans say."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from tlplat.athand import AtHand
from tlplat.data.examples import TensorInputs
from tlplat.model import BackboneInfo, ModuleInfo, TransferModel
from tlplat.start import start_model
from tlplat.strategies.adabn import target_statistics
from tlplat.strategies.alignment import statistics_kept
from tlplat.strategies.dann import Adversary, GradientReversal, strength_at
from tlplat.strategies.deep_coral import Coral, coral_loss
from tlplat.strategies.self_training import PseudoLabels, pseudo_labels
from tlplat.tasks.classification import Classification
from tlplat.testing.workbench import toybench
from tlplat.train import FitSettings, fit
from tlplat.trial import Rows

NAMES = ["adabn", "continued_pretraining", "dann", "deep_coral", "self_training"]
TRAINED = ["continued_pretraining", "dann", "deep_coral", "self_training"]
TASK = Classification(["in", "out"])


def lent(toy, **more):
    return AtHand(TASK, toy.rows(40, 1), toy.rows(100, 2, shift=1.0).inputs, toy.rows(70, 3), batch_size=200, **more)


def model_of(toy):
    torch.manual_seed(0)
    return TransferModel(toy.ToyNet(), TASK.head(16))


def test_coral_loss_is_the_papers():
    """Sun & Saenko 2016: C = (D^T D - (1^T D)^T (1^T D) / n) / (n - 1), loss = |C_S - C_T|_F^2 / (4 d^2)."""
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(30, 7)) * 3 + 1, rng.normal(size=(50, 7)) @ rng.normal(size=(7, 7))

    def covariance(d):
        n = len(d)
        sums = np.ones((1, n)) @ d
        return (d.T @ d - sums.T @ sums / n) / (n - 1)

    wanted = ((covariance(source) - covariance(target)) ** 2).sum() / (4 * 7 * 7)
    found = float(coral_loss(torch.from_numpy(source), torch.from_numpy(target)))
    assert found == pytest.approx(wanted, rel=1e-12)
    assert float(coral_loss(torch.from_numpy(source), torch.from_numpy(source + 5))) == pytest.approx(0, abs=1e-20)


def test_corals_term_starts_at_its_weight(toy):
    coral, model = Coral("source", 0.3, 0.0), model_of(toy).eval()
    coral.lend(lent(toy))
    coral.setup(model, torch.Generator())
    coral.begin_step(model, 0, 0.0)
    assert float(coral.step_loss(model).detach()) == pytest.approx(0.3, rel=1e-4)


def test_gradient_reversal_is_the_identity_with_the_gradient_turned_round():
    x = torch.randn(4, 3, requires_grad=True)
    y = GradientReversal.apply(x, 0.7)
    assert torch.equal(y, x)
    weight = torch.randn(4, 3)
    (y * weight).sum().backward()
    torch.testing.assert_close(x.grad, -0.7 * weight)
    assert strength_at(0) == 0
    assert strength_at(1) == pytest.approx(1, abs=1e-4)
    assert strength_at(0.1) == pytest.approx(2 / (1 + np.exp(-1)) - 1)


def test_the_discriminator_descends_and_the_backbone_ascends(toy):
    adversary, model = Adversary(hidden=8, align="source", weight=1.0, source_weight=0.0), model_of(toy).eval()
    adversary.lend(lent(toy))
    adversary.setup(model, torch.Generator().manual_seed(0))
    adversary.begin_step(model, 0, 0.3)
    adversary.step_loss(model).backward()
    rows, cpu = lent(toy), torch.device("cpu")
    source, _ = rows.source_batch(0, cpu)
    again = model_of(toy).eval()
    critic = [p.detach().clone().requires_grad_() for p in adversary.parameters()]

    def score(z):
        return torch.relu(z @ critic[0].T + critic[1]) @ critic[2].T + critic[3]

    right, wrong = score(again.backbone(source)), score(again.backbone(rows.unlabeled_batch(0, cpu)))
    plain = -0.5 * (torch.sigmoid(right).log().mean() + torch.sigmoid(-wrong).log().mean())
    plain.backward()
    for own, reference in zip(adversary.parameters(), critic, strict=True):
        torch.testing.assert_close(own.grad, reference.grad, atol=1e-6, rtol=1e-4)
    for own, reference in zip(model.backbone.parameters(), again.backbone.parameters(), strict=True):
        torch.testing.assert_close(own.grad, -strength_at(0.3) * reference.grad, atol=1e-6, rtol=1e-4)


def test_other_rows_leave_the_running_statistics_alone(toy):
    model = model_of(toy).train()
    before = {k: v.clone() for k, v in model.named_buffers()}
    x = toy.rows(30, 5).inputs.tensor
    with statistics_kept(model):
        inside = model.backbone(x)
    assert all(torch.equal(v, before[k]) for k, v in model.named_buffers())
    model.backbone(x)
    assert not all(torch.equal(v, before[k]) for k, v in model.named_buffers())
    assert not torch.equal(inside, model.eval().backbone(x))  # they were normalised by their batch


def test_adabns_statistics_are_those_of_the_target_and_nothing_else_changes(registry):
    bench = toybench(registry)
    outcome = bench.run("adabn")
    before = bench.source.state
    after = outcome.model.backbone.state_dict()
    moved = {k for k in after if not torch.equal(after[k], before[k])}
    layers = [f"blocks.dense{i}.1" for i in range(3)]
    assert moved == {f"{layer}.{k}" for layer in layers for k in ("running_mean", "running_var")}
    assert torch.equal(outcome.model.head.weight, bench.source.head["weight"])
    state = {k: v.double().numpy() for k, v in before.items()}
    x = bench.bench.unlabeled.tensor.double().numpy()
    halves = np.array_split(np.arange(len(x)), 2)  # 260 rows are more than one batch holds
    assert len(x) == 260
    for i, layer in enumerate(layers):
        hidden = x @ state[f"blocks.dense{i}.0.weight"].T + state[f"blocks.dense{i}.0.bias"]
        np.testing.assert_allclose(after[f"{layer}.running_mean"], hidden.mean(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(after[f"{layer}.running_var"], hidden.var(axis=0, ddof=1), rtol=1e-4, atol=1e-5)
        parts = []
        for rows in halves:
            part = hidden[rows]
            part = (part - part.mean(axis=0)) / np.sqrt(part.var(axis=0) + 1e-5)
            parts.append(np.maximum(part * state[f"{layer}.weight"] + state[f"{layer}.bias"], 0))
        x = np.concatenate(parts)


def test_measuring_statistics_leaves_the_network_as_it_was(toy):
    model = model_of(toy).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = target_statistics(model.backbone, toy.rows(50, 2).inputs)
    assert len(found) == 3
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(m.training for m in model.modules())
    assert all(not m._forward_pre_hooks for m in model.modules())


def test_adabn_says_why_a_backbone_does_not_fit(registry):
    adabn, task = registry.get("strategies", "adabn")(), toybench(registry).bench.task_info
    info = BackboneInfo("odd", ("a",), (4,), {"backbone.blocks.a": ModuleInfo("Linear", parameters=8)}, 8)
    assert "no batch normalisation" in adabn.unfit(task, info)


@pytest.mark.parametrize("name", NAMES)
def test_without_unlabelled_rows_the_reason_names_the_flag(registry, name):
    bench = toybench(registry, bare=True)
    info = BackboneInfo.of(bench.bench.store.backbone(bench.source), True)
    strategy = registry.get("strategies", name)()
    assert strategy.unfit(bench.bench.task_info, info).endswith("add --unlabeled FILE")
    assert strategy.unfit(toybench(registry).bench.task_info, info) is None


@pytest.mark.parametrize("name", ["dann", "deep_coral"])
def test_the_plan_says_what_is_aligned(registry, name):
    def args(source, **changes):
        bench = toybench(registry, source)
        bench.bench = dataclasses.replace(bench.bench, **changes)
        _, plan = bench.candidate(name).declare(bench.bench, Rows.all(bench.labelled))
        return plan.phases[0].behaviours[0].args

    assert (args("rings")["align"], args("rings")["source_weight"]) == ("source", 1.0)
    assert args("headless")["source_weight"] == 0.0
    without = args("rings", source_rows=None)
    assert (without["align"], without["source_weight"]) == ("labelled", 0.0)
    bench = toybench(registry, bare=True)
    bench.bench = dataclasses.replace(bench.bench, unlabeled=toybench(registry).bench.unlabeled)
    assert bench.run(name).predictions[0].shape == (400, 2)


def pretrained(bench, targets=None, steps=20, rate=1e-3):
    """The source after the first phase of continued_pretraining alone, and as it was."""
    train = Rows.all(bench.labelled)
    phase = bench.candidate("continued_pretraining", learning_rate=rate).declare(bench.bench, train)[1].phases[0]
    plan = bench.candidate("full_ft").declare(bench.bench, train)[1]
    model, start = (start_model(bench.source, plan, bench.bench, train, 0) for _ in range(2))
    rows = bench.labelled if targets is None else dataclasses.replace(bench.labelled, targets=targets)
    own = {"settings": FitSettings(), "registry": bench.bench.registry, "rows": bench.bench.at_hand(train, 0)}
    fit(model, [dataclasses.replace(phase, share=1.0)], rows, TASK, steps=steps, seed=0, **own)
    return model, start


def test_continued_pretraining_learns_of_the_inputs(registry):
    """Features keep more of unlabelled rows than the source's do: a linear reading of them errs less."""
    bench = toybench(registry)
    inputs = bench.bench.unlabeled.tensor

    def error(model):
        z = model.backbone.eval()(inputs).detach()
        z, half = torch.cat([z, torch.ones(len(z), 1)], dim=1), len(z) // 2
        return float((z[half:] @ torch.linalg.lstsq(z[:half], inputs[:half]).solution - inputs[half:]).square().mean())

    after, before = pretrained(bench, steps=300, rate=3e-3)
    assert error(after) < 0.9 * error(before)


def test_labels_have_no_part_in_continued_pretraining(registry):
    bench = toybench(registry)
    model, start = pretrained(bench)
    other, _ = pretrained(bench, targets=1 - bench.labelled.targets)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
        kept = name.startswith("head") or "running" in name or "tracked" in name
        assert torch.equal(value, start.state_dict()[name]) == kept, name


def test_a_backbone_without_a_task_of_its_own_says_so(registry):
    task = toybench(registry).bench.task_info
    strategy, info = registry.get("strategies", "continued_pretraining")(), BackboneInfo("odd", ("a",), (4,), {}, 8)
    assert strategy.unfit(task, info) == "the backbone odd offers no self-supervised task to go on with"
    assert strategy.unfit(task, dataclasses.replace(info, self_supervised=True)) is None


def test_pseudo_labels_and_confidence():
    labels, confidence = pseudo_labels(np.array([[0.9, 0.1], [0.4, 0.6]]), False)
    assert (labels.tolist(), confidence.tolist()) == ([0, 1], [0.9, 0.6])
    labels, confidence = pseudo_labels(np.array([[0.9, 0.2], [0.4, 0.99]]), True)
    assert labels.tolist() == [[1, 0], [0, 1]]
    assert confidence.tolist() == pytest.approx([0.8, 0.6])


def test_self_training_uses_only_rows_over_the_threshold(toy):
    model = model_of(toy).eval()
    rows = lent(toy)

    with torch.no_grad():
        p = torch.softmax(model(rows.unlabeled.tensor).double(), dim=1)
        confidence = p.max(dim=1).values
        first, last = float(confidence.quantile(0.7)), float(confidence.quantile(0.2))
        sure = torch.nonzero(confidence >= first).flatten()
        behaviour = PseudoLabels(first, last, 4, 0.5)
        behaviour.lend(rows)
        behaviour.begin_step(model, 3, 0.0)
        loss = behaviour.step_loss(model)
        assert len(sure) == 30
        assert torch.equal(behaviour.chosen, sure)
        wanted = TASK.loss(model(rows.unlabeled.tensor[sure]), p[sure].argmax(dim=1))
    assert float(loss) == pytest.approx(0.5 * float(wanted), rel=1e-5)
    assert [behaviour.threshold(c) for c in range(4)] == pytest.approx(np.linspace(first, last, 4))
    behaviour.begin_step(model, 9, 0.8)
    assert len(behaviour.chosen) == 80
    nobody = PseudoLabels(1.1, 1.1, 1, 0.5)
    nobody.lend(rows)
    nobody.begin_step(model, 0, 0.0)
    assert nobody.step_loss(model) is None


def test_where_classes_count_alike_losses_are_of_rows_as_they_are(toy):
    """Pseudo-labels of the model as it stands, and source rows at the frequencies of the source."""
    rows, model = lent(toy), model_of(toy).eval()
    alike = dataclasses.replace(rows, task=TASK.balanced().settled(torch.tensor([0] * 9 + [1])))
    said, coral = PseudoLabels(0.5, 0.5, 1, 1.0), Coral("source", 1.0, 1.0)
    said.lend(alike)
    coral.lend(alike)
    with torch.no_grad():
        said.begin_step(model, 0, 0.0)
        assert torch.equal(said.labels, model(rows.unlabeled.tensor).argmax(dim=1))
        assert (alike.task.decode(model(rows.unlabeled.tensor)).argmax(axis=1) != said.labels.numpy()).any()
        coral.begin_step(model, 0, 0.0)
        x, targets = rows.source_batch(0, torch.device("cpu"))
        shares = torch.bincount(rows.source.targets) / len(rows.source)
        moved = model(x) - torch.tensor([0.9, 0.1]).log() + shares.log()
        torch.testing.assert_close(coral.streams(model)[1], TASK.loss(moved, targets))


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("stop", [9, 33])
def test_a_trial_killed_and_resumed_is_bitwise_the_same(registry, tmp_path, name, stop):
    bench = toybench(registry, steps=40)
    test, train = [Rows.all(bench.target.test)], Rows.all(bench.labelled)
    whole = bench.run(name)
    settings = FitSettings(checkpoint_seconds=None, checkpoint_steps=1)
    kept = dataclasses.replace(bench.bench, fit_settings=settings)
    counter = itertools.count(1)

    class KilledError(Exception):
        pass

    def advance(units):
        if next(counter) > stop:
            raise KilledError

    candidate = bench.candidate(name)
    with pytest.raises(KilledError):
        candidate.run(kept, train, test, 0, checkpoint=tmp_path, advance=advance)
    again = candidate.run(kept, train, test, 0, checkpoint=tmp_path)
    np.testing.assert_array_equal(again.predictions[0], whole.predictions[0])
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key]), key


@pytest.mark.parametrize("name", NAMES)
def test_the_unlabelled_rows_matter_and_the_model_is_the_sources_shape(registry, name):
    bench, other = toybench(registry), toybench(registry)
    moved = bench.bench.unlabeled.tensor * 2 + 1
    other.bench = dataclasses.replace(other.bench, unlabeled=TensorInputs(moved))
    first, second = bench.run(name), other.run(name)
    assert not np.array_equal(first.predictions[0], second.predictions[0])
    train = Rows.all(bench.labelled)
    _, plan = bench.candidate("full_ft").declare(bench.bench, train)
    plain = start_model(bench.source, plan, bench.bench, train, 0)
    assert first.model.state_dict().keys() == plain.state_dict().keys()  # no discriminator, no pseudo-label is in it


def test_alignment_brings_shifted_features_nearer(registry):
    """What the loss is for: after deep_coral the covariances of source and target features differ less."""

    def gap(name, **settings):
        bench = toybench(registry, steps=120)
        stretched = TensorInputs(bench.bench.unlabeled.tensor * torch.linspace(0.5, 2, 12))
        bench.bench = dataclasses.replace(bench.bench, unlabeled=stretched)
        model = bench.run(name, **settings).model
        with torch.no_grad():
            z = [model.backbone(part.tensor) for part in (bench.bench.source_rows.inputs, stretched)]
        scale = z[0].square().mean()
        return float(coral_loss(*z) / scale**2)

    assert gap("deep_coral", learning_rate=3e-3, weight=10.0) < 0.6 * gap("deep_coral", learning_rate=3e-3, weight=0.0)
