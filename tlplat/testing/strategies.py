"""What every strategy owes: :class:`StrategySuite`, run over toy tasks, two backbones and several kinds of source."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from tlplat.errors import TlplatError
from tlplat.members import train_members
from tlplat.model import BackboneInfo, TransferModel
from tlplat.modelio import load_model, save_model
from tlplat.plan import Budget, TransferPlan
from tlplat.registry import Registry
from tlplat.start import start_model
from tlplat.strategy import Family, Strategy
from tlplat.testing import varied
from tlplat.testing.guards import no_network, state_untouched
from tlplat.testing.kit import Suite, check_installed, kit_registry, predictions_of_a_fresh_process
from tlplat.testing.workbench import Toybench, toybench
from tlplat.train import FitSettings
from tlplat.trainable import set_trainable
from tlplat.trial import Outcome, Rows

PLACES: list[dict[str, Any]] = [
    {"task": "quadrants", "backbone": "dense"},
    {"task": "tags", "backbone": "tokens"},
    {"task": "rings", "backbone": "tokens"},
    {"source": "headless"},
    {"bare": True},
    *(
        {"domain": "varied", "predict": kind, "backbone": ("dense", "tokens")[number % 2]}
        for number, kind in enumerate(varied.KINDS)
    ),
]
"""Where a strategy must work, or say that it cannot: every task, two backbones, no source head, no rows lent."""
SETTINGS = FitSettings(checkpoint_seconds=None, checkpoint_steps=7)


class KilledError(Exception):
    """Ends a fit from outside, as a signal would."""


class StrategySuite(Suite):
    """Subclass it with a fixture ``strategy`` that returns an instance; pytest runs the checks.

    Each check trains for at most 60 steps on toy data: a suite takes some seconds.
    """

    @pytest.fixture
    def strategy(self) -> Strategy:
        """The strategy under test, at its defaults."""
        raise NotImplementedError("give the suite a fixture `strategy` that returns an instance")

    @pytest.fixture
    def registry(self, strategy: Strategy, tlplat_kit: Path) -> Registry:
        """The toy domain, tlplat's own plugins, and the one that brings the strategy."""
        return self.once("registry", lambda: kit_registry("strategies", strategy.name))

    @pytest.fixture
    def bench(self, registry: Registry) -> Toybench:
        """120 labelled rows of a two-class task, and a source that predicts the same classes."""
        return self.once("bench", lambda: toybench(registry, labels=120))

    @pytest.fixture
    def fitted(self, strategy: Strategy, bench: Toybench) -> Outcome:
        """One fit of the strategy on the bench."""
        return self.once(strategy.key, lambda: fit(strategy, bench))

    def test_is_what_is_installed(self, strategy: Strategy) -> None:
        """`pip install` makes it known by its name."""
        check_installed("strategies", type(strategy))

    def test_says_what_it_is(self, strategy: Strategy) -> None:
        """Name, family, paper and a first line for listings; hyper-parameters are fields of a frozen dataclass."""
        assert re.fullmatch(r"[a-z][a-z0-9_]*", strategy.name), "names are small letters, digits and underscores"
        assert strategy.family in get_args(Family)
        assert strategy.paper.strip()
        assert 10 <= len(strategy.summary()) <= 120, "the docstring's first line is the summary in listings"
        assert dataclasses.is_dataclass(strategy)
        with pytest.raises(dataclasses.FrozenInstanceError):
            strategy.name = "other"  # type: ignore[misc]
        written = json.dumps(strategy.hyperparameters())
        assert json.dumps(type(strategy)(**json.loads(written)).hyperparameters()) == written

    def test_tries_settings_of_its_own_kind(self, strategy: Strategy) -> None:
        """``grid`` lists distinct settings, few enough for a small budget, the same ones each time."""
        grid = strategy.grid()
        assert 1 <= len(grid) <= 12
        assert all(type(each) is type(strategy) for each in grid)
        assert len({each.key for each in grid}) == len(grid)
        assert list(strategy.grid()) == list(grid)

    def test_plan_is_pure_and_serialisable(self, strategy: Strategy, bench: Toybench) -> None:
        """The same arguments give the same plan; plan and measurements survive JSON."""
        candidate, rows = bench.of(strategy), Rows.all(bench.labelled)
        measured, plan = candidate.declare(bench.bench, rows)
        again, same = candidate.declare(bench.bench, rows)
        assert (json.loads(json.dumps(measured)), plan) == (again, same), "a second call gave another plan"
        assert TransferPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
        info = BackboneInfo.of(bench.bench.store.backbone(bench.source), True, rows.example())
        task, budget = bench.bench.task_info, Budget(60, 32, 120)
        read = json.loads(json.dumps(measured))
        assert strategy.plan(task, info, read, budget) == strategy.plan(task, info, measured, budget)

    def test_keeps_to_the_budget(self, strategy: Strategy, bench: Toybench, fitted: Outcome) -> None:
        """Phases and members share the steps that every strategy gets."""
        plan = TransferPlan.from_json(fitted.plan)
        assert math.fsum(phase.share for phase in plan.phases) <= 1 + 1e-9
        assert fitted.result.steps <= 60 + len(plan.phases) * len(plan.members)

    def test_trains_something_and_leaves_what_is_frozen(self, strategy: Strategy, bench: Toybench) -> None:
        """What no phase trains, buffers included, is bit-identical after training; what one trains has moved."""
        model, plan, before = started(strategy, bench)
        if plan.frozen:
            changes = plan.start != "source_head" or plan.edits or plan.finish
            assert changes or strategy.family == "baseline", "the plan changes nothing of the source"
            return
        patterns = [pattern for phase in plan.phases for pattern in phase.trainable]
        trained = set(set_trainable(model, patterns))
        live = {name for name, module in model.named_modules() if module.training}
        train(model, plan, bench)
        after = model.state_dict()
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        frozen = {name for name in moved if name not in trained and name.rpartition(".")[0] not in live}
        assert not frozen, f"frozen tensors moved: {', '.join(sorted(frozen)[:5])}"
        assert moved & trained, "nothing that the phases train has moved"

    def test_is_better_than_chance(self, bench: Toybench, fitted: Outcome) -> None:
        """AUROC above 0.55 on 400 test rows after 60 steps on 120."""
        score = bench.target.task.metrics[0](bench.target.test.targets.numpy(), fitted.predictions[0])[0]
        assert score > 0.55

    def test_same_seed_same_result(self, strategy: Strategy, bench: Toybench, fitted: Outcome) -> None:
        """A second fit gives the same predictions, bit for bit."""
        np.testing.assert_array_equal(fit(strategy, bench).predictions[0], fitted.predictions[0])

    def test_saved_loaded_and_in_a_fresh_process(
        self, strategy: Strategy, registry: Registry, bench: Toybench, fitted: Outcome, tmp_path: Path
    ) -> None:
        """The saved model predicts what the fitted one did, here and in a process that has seen nothing of it."""
        assert fitted.model is not None
        save_model(tmp_path / "model", fitted.model, bench.target.task.info(), {}, registry, {})
        loaded = load_model(tmp_path / "model", registry)
        inputs = bench.target.test.inputs.take(torch.arange(400))
        assert isinstance(inputs, Tensor)
        with torch.no_grad():
            np.testing.assert_allclose(loaded.task.decode(loaded.model(inputs)), fitted.predictions[0], atol=1e-6)
        fresh = predictions_of_a_fresh_process(tmp_path, inputs, "strategies", strategy.name)
        np.testing.assert_allclose(fresh, fitted.predictions[0], atol=1e-6)

    def test_a_row_alone_is_a_row_among_others(self, bench: Toybench, fitted: Outcome) -> None:
        """A batch of one gives what the row gets in a batch."""
        assert fitted.model is not None
        rows = bench.target.test.inputs.take(torch.arange(5))
        assert isinstance(rows, Tensor)
        with torch.no_grad():
            single = torch.cat([fitted.model(row[None]) for row in rows])
            torch.testing.assert_close(single, fitted.model(rows), atol=1e-5, rtol=1e-5)

    def test_no_row_to_predict(self, strategy: Strategy, bench: Toybench) -> None:
        """Predictions of no row are an empty table."""
        tried, none = short(bench), Rows(bench.target.test, torch.arange(0))
        found = tried.of(strategy).run(tried.bench, Rows.all(bench.labelled), [none], 0)
        assert found.predictions[0].shape == (0, 2)

    def test_resumes_bitwise(self, strategy: Strategy, bench: Toybench, tmp_path: Path) -> None:
        """A fit that is killed after half of its steps and called again ends as one that was not."""
        model, plan, _ = started(strategy, bench)
        if plan.frozen:
            pytest.skip("trains no step")
        train(model, plan, bench)
        left = 30

        def advance(units: float) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError

        killed, _, _ = started(strategy, bench)
        with pytest.raises(KilledError):
            train(killed, plan, bench, checkpoint=tmp_path, advance=advance)
        assert list(tmp_path.rglob("manifest.json")), "no checkpoint was written"
        resumed, _, _ = started(strategy, bench)
        train(resumed, plan, bench, checkpoint=tmp_path)
        wanted, found = model.state_dict(), resumed.state_dict()
        apart = [name for name in wanted if not torch.equal(wanted[name], found[name])]
        assert not apart, f"differ after a resume: {', '.join(apart[:5])} (does a behaviour's state_dict hold all?)"

    @pytest.mark.parametrize("place", PLACES, ids=lambda place: "-".join(map(str, place.values())))
    def test_works_or_says_why_not(
        self, strategy: Strategy, registry: Registry, place: dict[str, Any], tmp_path: Path
    ) -> None:
        """On every task, two backbones, without source head or lent rows: a fit that reloads, or a sentence."""
        bench = toybench(registry, labels=80, steps=8, **place)
        task, test = bench.target.task, bench.target.test
        if (reason := bench.unfit(strategy)) is not None:
            assert len(reason.split()) >= 4, f"{reason!r} is no sentence"
            pytest.skip(reason)
        outcome = fit(strategy, bench)
        said = outcome.predictions[0]
        assert outcome.model is not None
        assert outcome.task is not None
        assert len(said) == len(test)
        assert task.prediction_shape in (None, said.shape[1:])
        assert np.isfinite(said).all()
        assert np.isfinite(task.metrics[0](test.targets.numpy(), said)).all()
        save_model(tmp_path / "model", outcome.model, outcome.task.info(), {}, registry, {})
        again = load_model(tmp_path / "model", registry)
        with torch.no_grad():
            decoded = again.task.decode(again.model(test.inputs.take(torch.arange(len(test)))))
        np.testing.assert_allclose(decoded, said, rtol=1e-4, atol=1e-4)

    def test_one_class_or_nan_is_refused_or_survived(self, strategy: Strategy, bench: Toybench) -> None:
        """Rows of one class, and rows that hold NaN, end in finite predictions or in an error of tlplat."""
        targets = bench.labelled.targets
        one = Rows(bench.labelled, torch.nonzero(targets == targets[0]).flatten())
        inputs = bench.labelled.inputs.take(torch.arange(len(bench.labelled)))
        assert isinstance(inputs, Tensor)
        spoilt = type(bench.labelled.inputs)(inputs.index_fill(0, torch.tensor([3]), math.nan))  # type: ignore[call-arg]
        for rows in (one, Rows.all(dataclasses.replace(bench.labelled, inputs=spoilt))):
            tried = short(bench)
            with suppress(TlplatError):
                found = tried.of(strategy).run(tried.bench, rows, [Rows.all(bench.target.test)], 0)
                assert np.isfinite(found.predictions[0]).all(), "predictions are not finite, and nothing was said"

    def test_touches_no_global_state_and_no_network(self, strategy: Strategy, bench: Toybench) -> None:
        """Random generators, dtype, threads, folder, signals, logging and environment stay; nothing is fetched."""
        tried = short(bench)
        with state_untouched(strategy.name), no_network():
            fit(strategy, tried)


def fit(strategy: Strategy, bench: Toybench) -> Outcome:
    """A fit on all labelled rows, and predictions of the test rows."""
    test = Rows.all(bench.target.test)
    return bench.of(strategy).run(bench.bench, Rows.all(bench.labelled), [test], 0)


def short(bench: Toybench) -> Toybench:
    """The bench with fits of twelve steps."""
    return dataclasses.replace(bench, bench=dataclasses.replace(bench.bench, steps=lambda rows: 12))


def started(strategy: Strategy, bench: Toybench) -> tuple[TransferModel, TransferPlan, dict[str, Tensor]]:
    """The model before its first step, its plan, and a copy of its tensors."""
    rows = Rows.all(bench.labelled)
    _, plan = bench.of(strategy).declare(bench.bench, rows)
    model = start_model(bench.source, plan, bench.bench, rows, 0)
    return model, plan, {name: tensor.clone() for name, tensor in model.state_dict().items()}


def train(model: TransferModel, plan: TransferPlan, bench: Toybench, **more: Any) -> None:
    """The plan's phases and members on the labelled rows, without the edits that finish it."""
    rows = Rows.all(bench.labelled)
    train_members(
        model,
        plan,
        bench.labelled,
        bench.target.task,
        steps=60,
        seed=0,
        settings=SETTINGS,
        registry=bench.bench.registry,
        rows=bench.bench.at_hand(rows, 0),
        **more,
    )
