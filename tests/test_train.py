import dataclasses
import itertools

import pytest
import torch

from tlplat.athand import AtHand
from tlplat.batches import Batches, Gradients
from tlplat.checkpoint import load_checkpoint
from tlplat.data.examples import TensorInputs
from tlplat.edits import Behaviour
from tlplat.errors import NonFiniteError, PluginError, ResourceError
from tlplat.features import apply_in_batches
from tlplat.model import TransferModel
from tlplat.plan import ParamGroup, Phase, Ref
from tlplat.strategies.l2sp import TowardsStart
from tlplat.tasks.classification import Classification
from tlplat.train import FitSettings, fit
from tlplat.trainable import make_optimizer, set_trainable

TASK = Classification(["in", "out"])
ALL = Phase(trainable=("*",), learning_rate=3e-3)


@pytest.fixture
def data(toy):
    return toy.rows(96, 11), toy.rows(64, 12)


def model_of(toy, seed=0):
    torch.manual_seed(seed)
    return TransferModel(toy.ToyNet(), TASK.head(16))


def run(toy, registry, data, phases=(ALL,), steps=40, seed=0, **more):
    model = model_of(toy)
    settings = more.pop("settings", FitSettings(checkpoint_seconds=None))
    result = fit(
        model,
        phases,
        data[0],
        TASK,
        steps=steps,
        seed=seed,
        settings=settings,
        registry=registry,
        validation=data[1],
        **more,
    )
    return model, result


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_training_lowers_the_loss_and_counts_what_it_trained(toy, registry, data):
    model, result = run(toy, registry, data, steps=150)
    assert result.curve[-1]["validation_loss"] < result.curve[0]["validation_loss"]
    assert result.steps == 150
    assert result.trained_parameters == sum(p.numel() for p in model.parameters())


def test_same_seed_same_weights_another_seed_others(toy, registry, data):
    first, second, other = (run(toy, registry, data, seed=s)[0] for s in (0, 0, 1))
    assert same(first, second)
    assert not same(first, other)


def test_frozen_parameters_and_buffers_are_bit_identical(toy, registry, data):
    before = {k: v.clone() for k, v in model_of(toy).state_dict().items()}
    phase = Phase(trainable=("head.*", "backbone.blocks.dense2.*"), learning_rate=1e-2)
    model, _ = run(toy, registry, data, [phase])
    for name, value in model.state_dict().items():
        frozen = "dense0" in name or "dense1" in name
        assert torch.equal(value, before[name]) == frozen, name


def test_a_layer_trains_only_where_a_pattern_names_it(toy):
    model = model_of(toy)
    set_trainable(model, ["backbone.blocks.dense1.*"])
    assert not model.backbone.blocks["dense0"][1].training
    assert not model.backbone.blocks["dense0"][3].training  # dropout of a frozen block is off
    assert model.backbone.blocks["dense1"][1].training
    assert model.backbone.blocks["dense1"][3].training


def test_a_plan_that_trains_nothing_is_refused(toy):
    with pytest.raises(PluginError, match="trains nothing"):
        set_trainable(model_of(toy), ["backbone.blokcs.*"])


def test_parameter_groups_scale_rate_and_decay(toy):
    model = model_of(toy)
    set_trainable(model, ["*"])
    groups = (ParamGroup("head.*", 10.0, 0.5), ParamGroup("*bias", 1.0, 0.0))
    made = make_optimizer(model, Phase(trainable=("*",), learning_rate=1e-3, weight_decay=0.1, groups=groups))
    found = {(g["rate_scale"], g["weight_decay"]): len(g["params"]) for g in made.param_groups}
    assert found == {(10.0, 0.5): 2, (1.0, 0.0): 6, (1.0, 0.1): 6}


def test_phases_share_the_steps(toy, registry, data):
    head = Phase(trainable=("head.*",), learning_rate=1e-2, share=0.25)
    model, result = run(toy, registry, data, [head, Phase(trainable=("*",), learning_rate=1e-3, share=0.75)], steps=40)
    assert result.steps == 40
    assert result.trained_parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("stop", [1, 7, 20, 25, 39])
def test_a_fit_stopped_at_any_step_resumes_bitwise(toy, registry, data, tmp_path, stop):
    """Two phases, a behaviour with state, dropout, batch norm, best weights: killed after ``stop`` steps."""
    pull = Ref("l2sp", {"alpha": 0.1, "beta": 0.01})
    phases = [
        Phase(trainable=("head.*",), learning_rate=1e-2, share=0.5),
        Phase(trainable=("*",), learning_rate=3e-3, share=0.5, behaviours=(pull,)),
    ]
    settings = FitSettings(checkpoint_seconds=None, checkpoint_steps=1)
    whole, wanted = run(toy, registry, data, phases, keep_best=True)
    counter = itertools.count(1)

    class KilledError(Exception):
        pass

    def advance(units):
        if next(counter) > stop:
            raise KilledError

    with pytest.raises(KilledError):
        run(toy, registry, data, phases, keep_best=True, settings=settings, checkpoint=tmp_path, advance=advance)
    saved = load_checkpoint(tmp_path, print)
    assert saved is not None
    assert saved.step == stop
    model, result = run(toy, registry, data, phases, keep_best=True, settings=settings, checkpoint=tmp_path)
    assert same(model, whole)
    assert result.curve == wanted.curve
    assert (result.best_step, result.trained_parameters) == (wanted.best_step, wanted.trained_parameters)


class Noisy(TensorInputs):
    """Rows with noise in training."""

    def select(self, index):
        return Noisy(self.tensor[index])

    def varied(self, index):
        return self.tensor[index] + torch.randn(self.tensor[index].shape)


def test_a_step_sees_varied_rows_by_its_seed_and_all_else_sees_them_plain(toy, registry, data):
    noisy = tuple(dataclasses.replace(d, inputs=Noisy(d.inputs.tensor)) for d in data)
    plain, _ = run(toy, registry, data)
    model, result = run(toy, registry, noisy)
    again, _ = run(toy, registry, (noisy[0], data[1]))
    assert not same(model, plain)
    assert same(model, again)
    outputs = apply_in_batches(model, model, data[1].inputs)
    assert result.curve[-1]["validation_loss"] == pytest.approx(float(TASK.loss(outputs, data[1].targets)), abs=1e-6)


def test_early_stopping_keeps_the_best_weights(toy, registry):
    train, validation = toy.rows(24, 1), toy.rows(200, 2)
    settings = FitSettings(evaluations=20, patience=3, checkpoint_seconds=None)
    model, result = run(toy, registry, (train, validation), steps=400, keep_best=True, settings=settings)
    losses = {p["step"]: p["validation_loss"] for p in result.curve}
    assert result.steps < 400
    assert result.best_step == min(losses, key=losses.__getitem__)
    with torch.no_grad():
        loss = float(TASK.loss(model(validation.inputs.take(torch.arange(200))), validation.targets))
    assert loss == pytest.approx(min(losses.values()), abs=1e-6)


def test_stop_at_ends_the_same_schedule_early(toy, registry, data):
    short, result = run(toy, registry, data, stop_at=17)
    assert result.steps == 17
    assert not same(short, run(toy, registry, data, steps=17)[0])


def test_a_diverging_fit_is_an_error_and_saves_nothing_infinite(toy, registry, data, tmp_path):
    settings = FitSettings(checkpoint_seconds=None, checkpoint_steps=1)
    phase = Phase(trainable=("*",), learning_rate=1e30)
    with pytest.raises(NonFiniteError, match=r"step \d+.*last finite checkpoint"):
        run(toy, registry, data, [phase], settings=settings, checkpoint=tmp_path)
    saved = load_checkpoint(tmp_path, print)
    assert saved is None or all(v.isfinite().all() for v in saved.tensors.values() if v.is_floating_point())


def test_row_order_is_a_function_of_seed_and_step_and_covers_each_epoch(data):
    first, again = Batches(data[0], 32, 5), Batches(data[0], 32, 5)
    assert torch.equal(first.index(7), again.index(7))
    epoch = torch.cat([first.index(s) for s in range(first.per_epoch)])
    assert sorted(epoch.tolist()) == list(range(96))
    assert not torch.equal(epoch, torch.cat([first.index(s) for s in range(first.per_epoch, 2 * first.per_epoch)]))


def test_accumulation_gives_the_same_gradient(toy, data):
    model = model_of(toy).eval()
    grads = []
    for parts in (1, 4):
        Gradients(model, TASK, "float32", parts, print).compute(torch.arange(50), data[0], [], 0)
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(grads[0], grads[1], atol=1e-6, rtol=1e-5)


class Hungry(torch.nn.Module):
    """Refuses batches above ``limit`` as the CPU allocator does."""

    def __init__(self, inner, limit):
        super().__init__()
        self.inner, self.limit = inner, limit

    def forward(self, batch):
        if len(batch) > self.limit:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: 1e12 bytes"
            )
        return self.inner(batch)


def test_out_of_memory_halves_the_batch_and_keeps_the_gradient(toy, data):
    model, said = model_of(toy).eval(), []
    Gradients(model, TASK, "float32", 1, print).compute(torch.arange(50), data[0], [], 0)
    wanted = [p.grad.clone() for p in model.parameters()]
    gradients = Gradients(Hungry(model, 13), TASK, "float32", 1, said.append)
    gradients.compute(torch.arange(50), data[0], [], 0)
    for a, b in zip(wanted, (p.grad for p in model.parameters()), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
    assert any("batch 50 -> 25" in s for s in said)
    with pytest.raises(ResourceError, match="TL-OOM"):
        Gradients(Hungry(model, 0), TASK, "float32", 1, said.append).compute(torch.arange(50), data[0], [], 0)


def test_a_loss_over_a_set_is_never_split(toy, data):
    class SetTask(Classification):
        loss_unit = "set"

    with pytest.raises(ResourceError, match="cannot be split"):
        Gradients(Hungry(model_of(toy), 13), SetTask(["in", "out"]), "float32", 4, print).compute(
            torch.arange(50), data[0], [], 0
        )


def test_bfloat16_autocast_trains_float32_weights(toy, registry, data):
    settings = FitSettings(precision="bfloat16", checkpoint_seconds=None)
    model, result = run(toy, registry, data, settings=settings, steps=100)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert result.curve[-1]["validation_loss"] < result.curve[0]["validation_loss"]


def test_behaviours_see_batches_losses_and_progress(toy, registry, data):
    seen = {"batches": 0, "progress": []}

    class Spy(Behaviour):
        name = "spy"

        def on_batch(self, batch, targets, generator):
            seen["batches"] += 1
            return batch, targets

        def loss(self, model, batch, outputs):
            return 0.0 * outputs.sum()

        def on_step(self, model, progress):
            seen["progress"].append(progress)

    registry.add("behaviours", Spy, "test")
    run(toy, registry, data, [Phase(trainable=("*",), learning_rate=1e-3, behaviours=(Ref("spy"),))], steps=10)
    assert seen["batches"] == 10
    assert seen["progress"][-1] == 1.0


class Beside(Behaviour):
    """Weights of its own that tell unlabelled rows from source rows."""

    name = "beside"

    def lend(self, rows):
        self.rows = rows

    def setup(self, model, generator):
        self.critic = torch.nn.Linear(16, 1)
        with torch.no_grad():
            self.critic.weight.normal_(generator=generator)
            self.critic.bias.zero_()

    def parameters(self):
        return list(self.critic.parameters())

    def begin_step(self, model, step, progress):
        self.step = step
        assert 0 <= progress < 1

    def step_loss(self, model):
        cpu = torch.device("cpu")
        target, (source, _) = self.rows.unlabeled_batch(self.step, cpu), self.rows.source_batch(self.step, cpu)
        gap = self.critic(model.backbone(target)).mean() - self.critic(model.backbone(source)).mean()
        return gap.square()

    def state_dict(self):
        return {k: v.detach().clone() for k, v in self.critic.state_dict().items()}

    def load_state_dict(self, state):
        self.critic.load_state_dict(state)


def beside(toy, registry, data, **more):
    registry.add("behaviours", Beside, "test")
    rows = AtHand(TASK, data[0], toy.rows(100, 5).inputs, toy.rows(100, 6), 0, 32)
    phase = Phase(trainable=("*",), learning_rate=3e-3, behaviours=(Ref("beside"),))
    return run(toy, registry, data, [phase], rows=rows, **more)


def test_a_behaviour_trains_weights_of_its_own_on_rows_of_its_own_and_leaves_none_in_the_model(toy, registry, data):
    plain, _ = run(toy, registry, data)
    model, result = beside(toy, registry, data)
    assert plain.state_dict().keys() == model.state_dict().keys()
    assert not same(plain, model)
    assert result.trained_parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("stop", [3, 25])
def test_a_fit_with_rows_and_weights_beside_resumes_bitwise(toy, registry, data, tmp_path, stop):
    settings = FitSettings(checkpoint_seconds=None, checkpoint_steps=1)
    whole, wanted = beside(toy, registry, data)
    counter = itertools.count(1)

    class KilledError(Exception):
        pass

    def advance(units):
        if next(counter) > stop:
            raise KilledError

    with pytest.raises(KilledError):
        beside(toy, registry, data, settings=settings, checkpoint=tmp_path, advance=advance)
    model, result = beside(toy, registry, data, settings=settings, checkpoint=tmp_path)
    assert same(model, whole)
    assert result.curve == wanted.curve


def test_a_loss_beside_the_batch_counts_once_however_the_batch_is_split(toy, data):
    class Pull(Behaviour):
        name = "pull"

        def step_loss(self, model):
            return model.head.weight.square().sum()

    model, grads = model_of(toy).eval(), []
    for parts in (1, 4):
        Gradients(model, TASK, "float32", parts, print).compute(torch.arange(50), data[0], [Pull()], 0)
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(grads[0], grads[1], atol=1e-6, rtol=1e-5)


def test_l2sp_keeps_weights_nearer_to_the_start(toy, registry, data):
    start = model_of(toy)

    def distance(alpha):
        pull = Ref("l2sp", {"alpha": alpha, "beta": 0.0})
        phase = Phase(trainable=("*",), learning_rate=1e-2, behaviours=(pull,))
        model, _ = run(toy, registry, data, [phase], steps=80)
        pairs = zip(start.backbone.parameters(), model.backbone.parameters(), strict=True)
        return float(sum((a - b).detach().square().sum() for a, b in pairs))

    assert distance(10.0) < 0.5 * distance(0.0)
    assert TowardsStart(0.1, 0.1).state_dict() == {}
