"""What every task owes: :class:`TaskSuite`, over toy rows whose targets the suite makes from a hidden number."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from tlplat.config import RunConfig
from tlplat.data.examples import Examples
from tlplat.domain import Baseline, TargetTask
from tlplat.errors import DataError, UsageError
from tlplat.modelio import load_model, save_model
from tlplat.progress import Reporter
from tlplat.registry import Registry
from tlplat.runner import run
from tlplat.tasks.base import Task
from tlplat.testing import toy
from tlplat.testing.guards import no_network, state_untouched
from tlplat.testing.kit import Suite, built_in, check_installed, kit_registry, predictions_of_a_fresh_process
from tlplat.testing.workbench import Toybench, toybench
from tlplat.trial import Rows

Targets = Callable[[Tensor], Tensor]


class TaskSuite(Suite):
    """Subclass it with a fixture ``task`` that returns an instance; pytest runs the checks.

    Targets are made of a hidden number a row, about normal, which the toy inputs tell up to noise. By default a task
    with labels gets classes, in order of that number, and any other task the number itself; a task with other targets
    (counts, times with events) gives the fixture ``targets``.
    """

    @pytest.fixture
    def task(self) -> Task:
        """The task under test."""
        raise NotImplementedError("give the suite a fixture `task` that returns an instance")

    @pytest.fixture
    def targets(self, task: Task) -> Targets:
        """Targets (n, ...) of hidden numbers (n,)."""
        labels = len(task.info().labels)
        if not labels:
            return lambda hidden: hidden
        edges = torch.linspace(-1, 1, labels + 1)[1:-1]
        return lambda hidden: torch.bucketize(hidden, edges)

    @pytest.fixture
    def registry(self, task: Task, tlplat_kit: Path) -> Registry:
        """The toy domain with the task's targets, tlplat's own plugins, and the one that brings the task."""
        return self.once("registry", lambda: kit_registry("tasks", task.name))

    @pytest.fixture
    def rows(self, targets: Targets) -> Examples:
        """200 rows to learn from."""
        return rows_of(targets, 200, 1)

    @pytest.fixture
    def bench(self, task: Task, targets: Targets, registry: Registry) -> Toybench:
        """80 labelled rows, a source that knows the hidden number's sign, and fits of twelve steps."""
        return self.once(repr(task.info().options), lambda: _bench(task, targets, registry))

    def test_is_what_is_installed(self, task: Task) -> None:
        """`pip install` makes it known by its name."""
        check_installed("tasks", type(task))

    def test_says_what_it_is(self, task: Task) -> None:
        """Name and summary; ``info`` is JSON, and builds the same task again."""
        assert re.fullmatch(r"[a-z][a-z0-9_]*", task.name)
        assert task.summary.strip()
        info = task.info()
        assert info.kind == task.name
        assert info.outputs >= 1
        assert "loss" in info.offers or "fit_head" in info.offers, "a task that offers neither can be learnt by nobody"
        again = type(task)(**json.loads(json.dumps(dict(info.options))))
        assert again.info() == info
        assert type(task).example().info().kind == task.name

    def test_targets_are_checked(self, task: Task, rows: Examples) -> None:
        """Good targets pass; one that is missing, infinite or far out of range is an error that names the row."""
        task.check(rows.targets, rows.ids)
        task.check_labelled(rows.targets)
        assert task.strata(rows.targets).dtype == torch.int64
        assert task.strata(rows.targets).shape in ((len(rows),), (len(rows), task.info().outputs))
        json.dumps(task.facts(rows.targets))
        wrong = [float("nan"), float("inf")] if rows.targets.is_floating_point() else [-(10**6), 10**6]
        for value in wrong:
            spoilt = rows.targets.clone()
            spoilt[3] = value
            with pytest.raises(DataError) as caught:
                task.check(spoilt, rows.ids)
            assert rows.ids[3] in str(caught.value)

    def test_the_loss_has_a_true_gradient(self, task: Task, rows: Examples) -> None:
        """A finite scalar; its gradient is that of finite differences; far outputs do not make it NaN."""
        if "loss" not in task.info().offers:
            pytest.skip("offers no loss")
        task, y = _ready(task, rows)
        outputs = torch.randn(12, task.info().outputs, generator=_generator(), dtype=torch.float64)
        few = y[:12].double() if y.is_floating_point() else y[:12]
        assert torch.autograd.gradcheck(lambda z: task.loss(z, few), [outputs.requires_grad_()])
        for scale in (0.0, 30.0):
            loss = task.loss(scale * outputs.detach().float(), y[:12])
            assert loss.shape == ()
            assert torch.isfinite(loss)

    def test_the_loss_of_rows_is_their_mean(self, task: Task, rows: Examples) -> None:
        """Where ``row_loss`` is offered, a batch may be split."""
        if "row_loss" not in task.info().offers:
            pytest.skip("offers no row_loss")
        assert task.loss_unit == "row"
        task, y = _ready(task, rows)
        outputs = torch.randn(len(y), task.info().outputs, generator=_generator())
        parts = [task.loss(outputs[part], y[part]) * len(outputs[part]) for part in (slice(0, 50), slice(50, None))]
        torch.testing.assert_close(sum(parts) / len(y), task.loss(outputs, y), atol=1e-5, rtol=1e-5)

    def test_decode_is_row_by_row(self, task: Task, rows: Examples) -> None:
        """float64 of the shape that the task says; a row alone, and none, decode as among others."""
        task, _ = _ready(task, rows)
        outputs = torch.randn(7, task.info().outputs, generator=_generator())
        many = task.decode(outputs)
        assert many.dtype == np.float64
        if task.prediction_shape is not None:
            assert many.shape == (7, *task.prediction_shape)
            assert task.decode(outputs[:0]).shape == (0, *task.prediction_shape)
        np.testing.assert_allclose(np.concatenate([task.decode(row[None]) for row in outputs]), many, rtol=1e-6)
        assert len(task.prediction_rows(many, None)) == 7
        json.dumps(task.prediction_rows(many, None))

    def test_metrics_weigh_rows(self, task: Task, rows: Examples) -> None:
        """A weight of two is a row that stands there twice; the order of rows does not matter."""
        settled, _ = _ready(task, rows)
        assert [m.name for m in settled.metrics] == [m.name for m in task.metrics] != []
        assert len({m.name for m in task.metrics}) == len(task.metrics)
        y = rows.targets.numpy()
        said = settled.decode(torch.randn(len(y), settled.info().outputs, generator=_generator()))
        weights = np.random.default_rng(0).integers(0, 3, (2, len(y)))
        for metric in settled.metrics:
            plain = metric(y, said)
            assert plain.shape == (1,)
            np.testing.assert_allclose(metric(y, said, np.ones((1, len(y)))), plain, rtol=1e-9, err_msg=metric.name)
            np.testing.assert_allclose(metric(y[::-1].copy(), said[::-1].copy()), plain, rtol=1e-9)
            repeated = [metric(np.repeat(y, w, axis=0), np.repeat(said, w, axis=0))[0] for w in weights]
            found = metric(y, said, weights.astype(np.float64))
            np.testing.assert_allclose(found, repeated, rtol=1e-6, err_msg=metric.name)

    def test_each_of_its_metrics_can_come_first(self, task: Task) -> None:
        """``--metric``: where there is a choice, the chosen one is primary, also in the task that is built again."""
        if "metric" not in task.info().options:
            pytest.skip("has no choice of a metric")
        for metric in task.metrics:
            chosen = task.measured_by(metric.name)
            again = type(task)(**chosen.info().options)
            assert [m.name for m in again.metrics] == [m.name for m in chosen.metrics]
            assert chosen.metrics[0].name == metric.name
            assert {m.name for m in chosen.metrics} == {m.name for m in task.metrics}
        with pytest.raises(UsageError, match="TL-TASK-METRIC"):
            task.measured_by("charm")

    def test_learns_more_than_the_trivial_baseline(self, task: Task, rows: Examples, targets: Targets) -> None:
        """A linear head, by steps and by ``fit_head``, on features that tell the hidden number."""
        settled, y = _ready(task, rows)
        test = rows_of(targets, 400, 2)
        z, held = _features(rows), _features(test)
        metric, sign = settled.metrics[0], 1 if settled.metrics[0].higher_is_better else -1
        flat = np.repeat(settled.trivial(rows.targets)[None], len(test), axis=0)
        if settled.prediction_shape is not None:
            assert flat.shape == (len(test), *settled.prediction_shape)
        floor = sign * metric(test.targets.numpy(), flat)[0]
        for name, outputs in _fitted(settled, z, y, held).items():
            score = sign * metric(test.targets.numpy(), settled.decode(outputs))[0]
            assert np.isnan(floor) or score > floor, f"{name}: {metric.name} {sign * score}, trivial {sign * floor}"

    def test_touches_no_global_state_and_no_network(self, task: Task, rows: Examples) -> None:
        """Random generators, dtype, threads, folder, signals, logging and environment stay; nothing is fetched."""
        with state_untouched(task.name), no_network():
            settled, y = _ready(task, rows)
            settled.decode(torch.zeros(3, settled.info().outputs))
            if "fit_head" in task.info().offers:
                settled.fit_head(_features(rows), y, {})

    @pytest.mark.parametrize("name", built_in("strategies"))
    def test_serves_the_strategy(self, bench: Toybench, name: str) -> None:
        """Every strategy of tlplat's own trains on it, or says why it cannot."""
        candidate = bench.candidate(name)
        if (reason := bench.unfit(candidate.strategy)) is not None:
            pytest.skip(reason)
        test = bench.target.test
        found = candidate.run(bench.bench, Rows.all(bench.labelled), [Rows.all(test)], 0).predictions[0]
        assert np.isfinite(found).all()
        assert np.isfinite(bench.target.task.metrics[0](test.targets.numpy(), found)).all()

    def test_saved_loaded_and_in_a_fresh_process(
        self, task: Task, registry: Registry, bench: Toybench, tmp_path: Path
    ) -> None:
        """The saved model decodes as the fitted one did, with what the task has settled on."""
        outcome = bench.run("full_ft")
        assert outcome.model is not None
        assert outcome.task is not None
        save_model(tmp_path / "model", outcome.model, outcome.task.info(), {}, registry, {})
        loaded = load_model(tmp_path / "model", registry)
        inputs = bench.target.test.inputs.take(torch.arange(400))
        assert isinstance(inputs, Tensor)
        with torch.no_grad():
            here = loaded.task.decode(loaded.model(inputs))
        np.testing.assert_allclose(here, outcome.predictions[0], atol=1e-5)
        fresh = predictions_of_a_fresh_process(tmp_path, inputs, "tasks", task.name)
        np.testing.assert_allclose(fresh, here.reshape(400, -1), atol=1e-6)

    def test_a_whole_run(
        self, task: Task, targets: Targets, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`tlplat run`, short, on the toy rows: it ends with a verdict, a report and a model."""
        made = dataclasses.replace(registry, entries=dict(registry.entries))
        made.entries["domains", "toy"] = domain_of(task, targets)
        config = {
            "domain": "toy",
            "strategies": ("full_ft",),
            "seeds": 2,
            "jobs": 1,
            "threads": 1,
            "labels": 80,
            "train": {"steps": 6, "learning_rate": 1e-3, "batch_size": max(32, task.least_batch)},
            "out": tmp_path / "run",
        }
        report = run(RunConfig.model_validate(config), made, Reporter()).report
        assert report["verdict"]["outcome"] in ("helps", "ties", "hurts")
        assert report["metric"]["name"] == task.metrics[0].name
        assert (tmp_path / "run" / "report" / "report.html").exists()


def hidden(count: int, seed: int) -> Tensor:
    """The number behind each of :func:`tlplat.testing.toy.rows`, with noise, about normal."""
    x = toy.rows(count, seed).inputs.take(torch.arange(count))
    assert isinstance(x, Tensor)
    noise = 0.2 * torch.randn(count, generator=torch.Generator().manual_seed(seed))
    return (torch.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.5 * x[:, 3]) / 1.3 + noise


def rows_of(targets: Targets, count: int, seed: int, shift: float = 0.0) -> Examples:
    """Toy rows with targets made of their hidden numbers."""
    return dataclasses.replace(toy.rows(count, seed, shift), targets=targets(hidden(count, seed)))


def domain_of(task: Task, targets: Targets) -> type[toy.Toy]:
    """The toy domain with the task's targets on its rows, and a source whose head predicts something else."""

    class Problem(toy.Toy):
        name: ClassVar[str] = "toy"

        def target(self, options: Any, data: Any, source: Any, context: Any) -> TargetTask:
            plain = super().target(options, data, source, context)
            pool, test = rows_of(targets, 300, 3, 0.3), rows_of(targets, 400, 4, 0.3)
            return dataclasses.replace(plain, task=task, pool=pool, test=test, unlabeled=pool.inputs)

        def baselines(self, target: TargetTask) -> Sequence[Baseline]:
            return super().baselines(target) if "probabilities" in task.info().offers else ()

    return Problem


def _bench(task: Task, targets: Targets, registry: Registry) -> Toybench:
    registry.entries["domains", "toy"] = domain_of(task, targets)
    return toybench(registry, labels=80, steps=12)


def _ready(task: Task, rows: Examples) -> tuple[Task, Tensor]:
    """The task settled on the rows' targets, and the targets as its loss takes them."""
    settled = task.settled(rows.targets)
    if not settled.prepares:
        return settled, rows.targets
    return settled, settled.prepare((_features(rows), rows.targets), [], 0)[0]


def _features(rows: Examples) -> Tensor:
    """Inputs, and the terms that the hidden number is made of."""
    x = rows.inputs.take(torch.arange(len(rows)))
    assert isinstance(x, Tensor)
    return torch.cat([x, torch.sin(2 * x[:, :1]), x[:, 1:2] * x[:, 2:3]], dim=1)


def _fitted(task: Task, z: Tensor, y: Tensor, held: Tensor) -> dict[str, Tensor]:
    """Outputs on ``held`` of a head trained by steps, and of one that the task solves, as far as it offers them."""
    found = {}
    offers = task.info().offers
    if "loss" in offers:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            head = task.head(z.shape[1])
        optimizer = torch.optim.AdamW(head.parameters(), lr=0.03)
        for _ in range(200):
            optimizer.zero_grad()
            task.loss(head(z), y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        found["steps"] = head(held).detach()
    if "fit_head" in offers:
        fit = task.fit_head(z, y, {})
        found["fit_head"] = held @ fit.weight.T + fit.bias
    return found


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
