"""Members trained from one start, combined as validation decides, in trials that are killed and in searches."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from tlplat.combine import Option, average, interpolate
from tlplat.data.splits import folds
from tlplat.members import Decision, Scored, member_seed
from tlplat.plan import Member, Phase, TransferPlan
from tlplat.selection import Search
from tlplat.start import start_model
from tlplat.storage import read_json
from tlplat.strategy import Strategy
from tlplat.testing.workbench import toybench
from tlplat.train import FitSettings
from tlplat.trial import Outcome, Rows, StrategyCandidate, settle

PHASE = Phase(trainable=("*",), learning_rate=3e-3)
THIRDS = tuple(Member(0.5 * 2**i, seed_offset=i, share=1 / 3) for i in range(3))
WAYS = {
    "none": TransferPlan(start="fitted", phases=(PHASE,), members=THIRDS),
    "average": TransferPlan(start="fitted", phases=(PHASE,), members=THIRDS, combine="average"),
    "greedy_average": TransferPlan(start="fitted", phases=(PHASE,), members=THIRDS, combine="greedy_average"),
    "interpolate": TransferPlan(
        start="fitted", phases=(PHASE,), combine="interpolate", coefficients=(0.0, 0.25, 0.5, 0.75, 1.0)
    ),
}


@dataclass(frozen=True)
class Declared(Strategy):
    """A plan as it is given."""

    name: ClassVar[str] = "declared"
    family: ClassVar[str] = "parameter"
    paper: ClassVar[str] = "none"
    way: str = "none"
    member: int | None = None

    def plan(self, task, backbone, measured, budget):
        plan = WAYS[self.way]
        if self.member is None:
            return plan
        return TransferPlan(start="fitted", phases=(PHASE,), members=(plan.members[self.member],))


def candidate(bench, way, member=None):
    return StrategyCandidate(Declared(way, member), bench.source, True)


def trial(bench, way, member=None, seed=0, **more):
    rows = Rows.all(bench.labelled)
    return candidate(bench, way, member).run(bench.bench, rows, [Rows.all(bench.target.test)], seed, **more)


def state(outcome):
    return outcome.model.state_dict()


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))


@pytest.fixture
def bench(registry):
    return toybench(registry, steps=30)


def test_members_share_the_steps_and_their_mean_is_the_result(bench):
    outcome = trial(bench, "average")
    alone = [state(trial(bench, "average", member)) for member in range(3)]
    assert outcome.result.steps == 30
    assert not same(alone[0], alone[1])
    assert same(state(outcome), average(alone))
    assert [p["step"] for p in outcome.result.curve] == sorted(p["step"] for p in outcome.result.curve)


def test_members_have_seeds_of_their_own():
    assert member_seed(7, 0) == 7
    assert len({member_seed(s, o) for s in range(20) for o in range(5)}) == 100


def test_interpolation_at_its_ends_is_the_start_and_the_fine_tuned(bench):
    ends = [trial(bench, "interpolate", decision=Decision((None,), Option((0,), c))) for c in (0.0, 1.0)]
    start = start_model(bench.source, WAYS["interpolate"], bench.bench, Rows.all(bench.labelled), 0)
    assert same(state(ends[0]), start.state_dict())
    assert same(state(ends[1]), state(trial(bench, "interpolate", 0)))


def test_validation_chooses_the_least_loss_and_the_model_has_it(bench):
    held = Rows.all(bench.target.test)
    outcome = trial(bench, "interpolate", validation=held)
    losses = {s.option.coefficient: s.loss for s in outcome.scored}
    assert list(losses) == [0.0, 0.25, 0.5, 0.75, 1.0]
    best = min(losses, key=losses.__getitem__)
    assert outcome.decision.option.coefficient == best
    start = start_model(bench.source, WAYS["interpolate"], bench.bench, Rows.all(bench.labelled), 0).state_dict()
    assert same(state(outcome), interpolate(start, state(trial(bench, "interpolate", 0)), best))
    targets = held.targets
    for s in outcome.scored:
        log_loss = -np.log(s.predictions[np.arange(len(targets)), targets.numpy()]).mean()
        assert s.loss == pytest.approx(log_loss, abs=1e-5)


def test_none_keeps_the_best_member_alone(bench):
    outcome = trial(bench, "none", validation=Rows.all(bench.target.test))
    losses = [s.loss for s in outcome.scored]
    [best] = outcome.decision.option.members
    assert best == int(np.argmin(losses))
    assert same(state(outcome), state(trial(bench, "none", best)))


def test_a_decision_trains_only_its_members_to_their_steps(bench):
    outcome = trial(bench, "greedy_average", decision=Decision((None, 4, 6), Option((1, 2))))
    assert outcome.result.steps == 10
    assert not outcome.scored


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("stop", [1, 12, 29])
def test_a_trial_killed_within_any_member_resumes_bitwise(bench, tmp_path, way, stop):
    object.__setattr__(bench.bench, "fit_settings", FitSettings(checkpoint_seconds=None, checkpoint_steps=1))
    held = {"validation": Rows.all(bench.target.test), "keep_best": True}
    whole = trial(bench, way, **held)
    counter = itertools.count(1)

    def advance(units):
        if next(counter) > stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trial(bench, way, checkpoint=tmp_path, advance=advance, **held)
    again = trial(bench, way, checkpoint=tmp_path, **held)
    assert same(state(again), state(whole))
    assert again.decision == whole.decision
    assert again.result.curve == whole.result.curve


def test_folds_agree_on_one_decision_and_never_score_a_choice_on_its_own_rows(bench):
    outcomes, made = [], folds(bench.labelled, 0, bench.target.task)
    for fold in made:
        held = Rows(bench.labelled, fold.validation)
        train = Rows(bench.labelled, fold.train)
        outcomes.append(candidate(bench, "interpolate").run(bench.bench, train, [held], 0, validation=held))
    rows = [len(fold.validation) for fold in made]
    decision, parts = settle(outcomes, rows)
    losses = np.array([[s.loss for s in o.scored] for o in outcomes]) * np.array(rows)[:, None]
    ways = WAYS["interpolate"].coefficients
    assert decision.option.coefficient == ways[losses.sum(axis=0).argmin()]
    for i, (outcome, part) in enumerate(zip(outcomes, parts, strict=True)):
        chosen = np.delete(losses, i, axis=0).sum(axis=0).argmin()
        np.testing.assert_array_equal(part, outcome.scored[chosen].predictions)


def test_a_fold_is_predicted_with_what_the_other_fold_chooses():
    """Fold 0 clearly prefers the start, fold 1 slightly the end."""
    start, end = Option((0,), 0.0), Option((0,), 1.0)
    folds = [{start: 0.1, end: 0.9}, {start: 0.5, end: 0.4}]
    outcomes = [
        Outcome(
            [np.full(1, 9.0)],
            plan={"combine": "interpolate"},
            decision=Decision((None,), start),
            scored=[Scored(option, loss, np.full(1, option.coefficient)) for option, loss in fold.items()],
        )
        for fold in folds
    ]
    decision, parts = settle(outcomes, [10, 10])
    assert decision.option == start
    assert [float(part[0]) for part in parts] == [1.0, 0.0]
    assert settle(outcomes, [10, 100])[0].option == end
    alone, [part] = settle(outcomes[:1], [10])
    assert (alone.option, float(part[0])) == (start, 9.0)


def test_the_final_fit_uses_what_validation_decided(bench, tmp_path):
    search = Search(bench.bench, [], bench.labelled, bench.target.test, tmp_path, [0])
    validated = search.validate(candidate(bench, "greedy_average"), 0)
    stored = read_json(validated.folder / "metrics.json")["validation"]["decision"]
    assert stored["stop_at"] == [None, None, None]
    assert stored["members"]
    final = search.finish(validated)
    direct = trial(bench, "greedy_average", decision=Decision.from_json(stored))
    np.testing.assert_array_equal(final.predictions, direct.predictions[0])
    assert Decision.from_json(stored).to_json() == stored
