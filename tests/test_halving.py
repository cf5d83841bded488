"""Halving over scores that a test sets: who is cut, who never is, and what it costs."""

import dataclasses

import numpy as np
import pytest

from tlplat.allowance import DEFAULT_FITS, Allowance, allow, scale
from tlplat.errors import UsageError
from tlplat.halving import Field, climb, final_cost, rungs, search_cost, survivors
from tlplat.pairing import paired_error
from tlplat.rounds import choice, cost, everyone, seek
from tlplat.selection import Search
from tlplat.tasks.classification import Classification
from tlplat.testing.workbench import toybench
from tlplat.trial import BaselineCandidate, Trivial

NAMES = ("full_ft", "l2sp", "lp_ft", "lora", "truncate", "linear_probe", "zero_shot", "scratch")


class Scored(Search):
    """A search whose trials have scores by rule, so that nothing is trained."""

    jobs_done: list
    rule: object

    def error(self, first, second):
        return 0.0

    def trial(self, arm, seed, share):
        candidate = self.at(arm)
        score = self.rule(candidate.name, candidate.hyperparameters.get("learning_rate"), share, seed)
        return _Trial(candidate, seed, share, score)


@dataclasses.dataclass(frozen=True)
class _Trial:
    candidate: object
    seed: int
    share: float
    score: float
    record: dict = dataclasses.field(default_factory=lambda: {"inference_cost": 1.0, "trained_parameters": 1})


@pytest.fixture
def made(registry, tmp_path):
    bench = toybench(registry)
    candidates = [*(bench.candidate(n) for n in NAMES), BaselineCandidate(Trivial(bench.bench.task))]
    return Search(bench.bench, candidates, bench.labelled, bench.target.test, tmp_path / "trials", [0, 1, 2])


def ruled(made, rule):
    """The search with scores by ``rule(name, rate, share, seed)``, and a list that collects its jobs."""
    scored = Scored(made.bench, made.candidates, made.labelled, made.test, made.folder, made.seeds)
    object.__setattr__(scored, "rule", rule)
    jobs = []
    return scored, jobs, jobs.extend


def test_short_rungs_stand_only_where_they_halve():
    assert [(r.share, r.keep) for r in rungs(24, 3)] == [(0.25, 6), (0.5, 3)]
    assert [(r.share, r.keep) for r in rungs(10, 3)] == [(0.5, 3)]
    assert rungs(5, 3) == []


def test_with_room_for_all_every_setting_is_tried_at_full_length(made):
    search, jobs, run = ruled(made, lambda name, rate, share, seed: 0.5)
    climb(search, run, everyone(search), 5, 1.0)
    assert {j.share for j in jobs} == {1.0}
    assert len({j.arm for j in jobs if j.seed == 0}) == sum(len(c.settings()) for c in made.candidates)


def test_the_best_goes_on_and_the_cut_is_told(made):
    good = {"lp_ft": 0.9, "l2sp": 0.8, "lora": 0.7}
    search, _, run = ruled(made, lambda name, rate, share, seed: good.get(name, 0.5) + (rate or 0))
    found = climb(search, run, everyone(search), 1, 1.0)
    assert [(r["steps"], r["cut"] is not None) for r in found.account] == [(15, True), (30, False), (60, False)]
    always = {"full_ft", "linear_probe", "zero_shot", "scratch", "majority"}
    assert {c.key for c in found.chosen} == {"lp_ft", "lora", *always}
    first, _, last = ([(a["candidate"], a["why"]) for a in r["arms"] if a["kept"]] for r in found.account)
    assert set(first) == {("lp_ft", "above the cut"), ("lora", "the best of the structural family")}
    whys = dict(last)
    assert (whys["lp_ft"], whys["scratch"]) == ("nobody was cut", "a baseline: always kept")
    assert whys["full_ft"] == "plain fine-tuning: always kept"
    assert all(a["score"] < found.account[0]["cut"] for a in found.account[0]["arms"] if a["why"] == "below the cut")


def test_a_strategy_goes_on_with_all_its_rates_and_its_usual_one_wins_near_ties(made):
    search, jobs, run = ruled(made, lambda name, rate, share, seed: 0.9 + (rate or 0) if name == "l2sp" else 0.5)
    found = climb(search, run, everyone(search), 1, 1.0)
    full = [j for j in jobs if j.share == 1.0 and made.candidates[j.candidate].name == "l2sp"]
    assert {j.setting for j in full} == {0, 1, 2}
    assert next(c for c in found.chosen if c.key == "l2sp").candidate.hyperparameters["learning_rate"] == 3e-3
    object.__setattr__(search, "error", lambda first, second: 0.01)
    again = climb(search, run, everyone(search), 1, 1.0)
    assert next(c for c in again.chosen if c.key == "l2sp").candidate.hyperparameters["learning_rate"] == 1e-3
    whys = {a["why"] for a in again.account[-1]["arms"] if a["candidate"] == "l2sp"}
    assert "not clearly better than its usual setting" in whys


def test_plain_fine_tuning_keeps_its_place_unless_another_is_clearly_better(made):
    scores = {"full_ft": 0.8, "lora": 0.83, "zero_shot": 0.81}
    search, _, run = ruled(made, lambda name, rate, share, seed: scores.get(name, 0.5))
    chosen = climb(search, run, everyone(search), 2, 1.0).chosen
    for error, winner, rival in ((0.02, "full_ft", "lora"), (0.014, "lora", None), (float("nan"), "lora", None)):
        object.__setattr__(search, "error", lambda first, second, error=error: error)
        made_choice = choice(search, chosen)
        assert (made_choice.winner.key, made_choice.rival and made_choice.rival.key) == (winner, rival)
    object.__setattr__(search, "error", lambda first, second: 0.02)
    assert choice(search, chosen).ahead == pytest.approx(0.03)
    level = [
        dataclasses.replace(c, validated=tuple(_Trial(c.candidate, 0, 1.0, 0.8) for _ in range(3))) for c in chosen
    ]
    cheap = [c for c in level if c.key in ("full_ft", "zero_shot")]
    cheap[1].validated[0].record["trained_parameters"] = 0
    assert choice(search, cheap).winner.key == "zero_shot", "equal to the last digit: the cheaper one"
    without = [c for c in chosen if c.key != "full_ft"]
    assert choice(search, without).winner.key == "lora"


def test_the_error_of_a_difference_is_that_of_the_paired_bootstrap():
    """A constant shift of all predictions has none; independent noise has that of resampled rows."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 200)
    metric = Classification(["a", "b"]).metrics[0]

    def parts(noise, seeds=3):
        scores = [targets + noise * rng.normal(size=200) for _ in range(seeds)]
        p = [1 / (1 + np.exp(-s)) for s in scores]
        return [(np.arange(200), np.stack([1 - x, x], axis=1)) for x in p]

    one = parts(1.0)
    same = [(rows, p**0.5 / (p**0.5).sum(axis=1, keepdims=True)) for rows, p in one]
    assert paired_error(metric, targets, np.arange(200), one, same) == pytest.approx(0, abs=1e-12)
    two = parts(1.5)
    found = paired_error(metric, targets, np.arange(200), one, two)
    gaps = []
    for _ in range(400):
        rows, seeds = rng.integers(0, 200, 200), rng.integers(0, 3, 3)
        own = [[float(metric(targets[rows], s[k][1][rows])[0]) for k in seeds] for s in (one, two)]
        gaps.append(np.mean(own[0]) - np.mean(own[1]))
    assert found == pytest.approx(np.std(gaps), rel=0.15)
    pairs = np.arange(200) // 2
    assert paired_error(metric, targets, pairs, one, two) != found
    some = [(rows[::2], p[::2]) for rows, p in one], [(rows[::2], p[::2]) for rows, p in two]
    assert paired_error(metric, targets, np.arange(200), *some) > found


def test_a_family_that_is_slow_to_start_reaches_the_full_length(made):
    def rule(name, rate, share, seed):
        late = name in ("lora", "truncate")
        return (0.95 if share == 1 else 0.1) if late else 0.6 + 0.1 * (name == "lp_ft")

    search, _, run = ruled(made, rule)
    found = climb(search, run, everyone(search), 1, 1.0)
    assert max(found.chosen, key=lambda c: c.validation).candidate.family == "structural"


def test_baselines_and_what_takes_no_steps_are_never_short_and_never_cut(made):
    search, jobs, run = ruled(made, lambda name, rate, share, seed: 0.9 if name == "full_ft" else 0.1)
    found = climb(search, run, everyone(search), 1, 1.0)
    aside = {"linear_probe", "zero_shot", "scratch", "majority"}
    assert aside <= {c.key for c in found.chosen}
    assert all(j.share == 1.0 for j in jobs if made.candidates[j.candidate].name in aside)
    rates = {j.setting for j in jobs if made.candidates[j.candidate].name == "scratch" and j.seed == 0}
    assert len(rates) == 3


def test_an_undefined_score_is_worst(made):
    search, _, _ = ruled(made, lambda name, rate, share, seed: float("nan") if rate == 3e-3 else 0.2)
    arms = [a for a in everyone(search).cut if a.setting == a.candidate % 3]
    kept = survivors(search, arms, 2, 0.25)
    assert 0 < len(kept) < len(arms)
    assert all(search.at(a).hyperparameters["learning_rate"] != 3e-3 for a in kept)


def test_the_account_of_the_costs_is_that_of_the_jobs(made):
    search, jobs, run = ruled(made, lambda name, rate, share, seed: {"lora": 0.9, "full_ft": 0.8}.get(name, 0.1))
    field = everyone(search)
    for finalists in (2, 5):
        jobs.clear()
        climb(search, run, field, finalists, 1.0)
        unique = {(j.arm, j.seed, j.share): made.size(j) for j in jobs}
        assert sum(unique.values()) == pytest.approx(search_cost(search, field, finalists))


def test_a_budget_in_trials_and_epochs_is_counted_in_steps(made):
    field = everyone(made)
    assert allow(made, field, "trials=10", 1).steps == 10 * made.fold_count * 60
    assert allow(made, field, "epochs=100", 1).steps == 100  # 40 rows in batches of 32: one step an epoch
    assert scale(made, field, allow(made, field, "trials=1000", 1)).finalists == 4


def test_a_smaller_budget_means_fewer_finalists_then_shorter_fits_then_an_error(made):
    field = everyone(made)
    whole = search_cost(made, field, 4) + final_cost(made, field, 4)
    sizes = [scale(made, field, Allowance("x", round(f * whole * 60))) for f in (1.0, 0.8, 0.45)]
    assert [s.share for s in sizes] == [1.0, 1.0, 0.5]
    assert sizes[0].finalists == 4 > sizes[1].finalists >= 1
    with pytest.raises(UsageError, match=r"TL-BUDGET-SMALL[\s\S]*trials="):
        scale(made, field, Allowance("trials=1", 200))


def test_a_time_is_calibrated_into_steps_once(made):
    field = everyone(made)
    found = allow(made, field, "10m", 2)
    assert found.steps == int(0.85 * 600 * 2 * found.calibrated["steps_per_second"]) or found.steps > 1000
    assert Allowance.from_json(found.to_json()) == found


def test_the_default_pays_for_at_least_two_finalists(made):
    many = dataclasses.replace(made, seeds=list(range(200)))
    assert scale(many, everyone(many), allow(many, everyone(many), None, 1)).finalists >= 2
    assert cost(made, allow(made, everyone(made), None, 1)) <= DEFAULT_FITS


def test_an_unmet_requirement_is_sought_with_longer_fits_until_it_is_met(made):
    def rule(name, rate, share, seed):
        return {1.0: 0.6, 2.0: 0.7, 4.0: 0.9}.get(share, 0.5) if name == "lora" else 0.4

    search, jobs, run = ruled(made, rule)
    told = []
    wanted = lambda chosen: [] if max(c.validation for c in chosen) >= 0.85 else ["auroc>=0.85"]  # noqa: E731
    sought = seek(search, run, Allowance("x", 100_000_000), wanted, told.append)
    assert [r.share for r in sought.rounds] == [1.0, 2.0, 4.0]
    assert [len(t.rounds) for t in told] == [1, 2, 3]
    assert (sought.taken, sought.unmet[-1]) == (2, ())
    scales = {j.scale for j in jobs if j.share == 2.0 and search.candidates[j.candidate].name in ("lora", "scratch")}
    assert len(scales) == 3
    assert sought.spent * search.steps(1.0) <= 100_000_000


def test_the_search_stops_where_the_budget_does_not_pay_for_another_round(made):
    search, _, run = ruled(made, lambda name, rate, share, seed: 0.6 - 0.1 * (share > 1))
    first = search_cost(search, everyone(search), 5) + final_cost(search, everyone(search), 5)
    sought = seek(search, run, Allowance("x", round(60 * (first + 1))), lambda chosen: ["auroc>=0.9"])
    assert len(sought.rounds) == 1
    sought = seek(search, run, Allowance("x", round(60 * (first + 1000))), lambda chosen: ["auroc>=0.9"])
    assert len(sought.rounds) > 1
    assert sought.taken == 0, "the earlier round had the better winner"


def test_a_field_of_one_strategy_is_not_cut(made):
    few = dataclasses.replace(made, candidates=[made.candidates[0], *made.candidates[-2:]])
    field = everyone(few)
    assert isinstance(field, Field)
    assert scale(few, field, allow(few, field, None, 1)).finalists == 1
