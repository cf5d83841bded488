import dataclasses

import numpy as np
import pytest

from tlplat.evaluate import Resamples, Scores, Standing, best, judge, labelling_error
from tlplat.metrics import ACCURACY, Auroc


def standing(
    key, validation, shift, *, transfers=True, cost=1.0, trained=1, seeds=3, n=600, noise=0.0, draws=None, **more
):
    """A candidate whose scores separate the classes by ``shift``."""
    rng = np.random.default_rng(5)
    y = np.arange(n) % 2
    base = rng.normal(size=n)
    predictions = []
    for s in range(seeds):
        wobble = np.random.default_rng(s).normal(size=n) * noise
        p = 1 / (1 + np.exp(-(base + shift * y + wobble)))
        predictions.append(np.stack([1 - p, p], axis=1))
    draws = draws or Resamples.draw(np.arange(n), seeds)
    return Standing(
        key=key,
        transfers=transfers,
        scratch=key == "scratch",
        zero_shot=key == "zero_shot",
        validation=validation,
        scores=Scores.of(Auroc(), y, predictions, draws),
        inference_cost=cost,
        trained=trained,
    )


def test_helps_hurts_and_ties():
    good, bad = standing("good", 0.9, 2.0), standing("scratch", 0.6, 0.3, transfers=False)
    verdict = judge([good, bad], True)
    assert (verdict.outcome, verdict.winner, verdict.reference, verdict.recommended) == (
        "helps",
        "good",
        "scratch",
        "good",
    )
    assert verdict.difference.low > 0
    assert not verdict.negative_transfer
    verdict = judge([standing("good", 0.6, 0.3), standing("scratch", 0.9, 2.0, transfers=False)], True)
    assert verdict.outcome == "hurts"
    assert verdict.negative_transfer
    assert verdict.recommended == "scratch"
    verdict = judge([standing("good", 0.9, 1.0, cost=5.0), standing("scratch", 0.9, 1.0, transfers=False)], True)
    assert verdict.outcome == "ties"
    assert verdict.recommended == "scratch"


def test_a_classical_winner_is_hurts_but_not_negative_transfer():
    transfer, scratch = standing("t", 0.7, 0.8), standing("scratch", 0.6, 0.3, transfers=False)
    classical = standing("kmer", 0.95, 2.0, transfers=False)
    verdict = judge([transfer, scratch, classical], True)
    assert verdict.outcome == "hurts"
    assert verdict.reference == "kmer"
    assert not verdict.negative_transfer


def test_beating_a_badly_chosen_reference_is_no_help_where_scratch_does_as_well():
    transfer, scratch = standing("t", 0.9, 2.0), standing("scratch", 0.5, 2.0, transfers=False, cost=0.5)
    classical = standing("kmer", 0.7, 0.3, transfers=False)
    verdict = judge([transfer, scratch, classical], True)
    assert verdict.reference == "kmer"
    assert verdict.difference.low > 0
    assert (verdict.outcome, verdict.recommended) == ("ties", "t")
    assert judge([transfer, classical], True).outcome == "helps"


def test_the_choice_is_made_on_validation_not_on_test():
    lucky = standing("lucky", 0.5, 3.0)
    chosen = standing("chosen", 0.8, 1.0)
    assert judge([lucky, chosen, standing("scratch", 0.1, 0.1, transfers=False)], True).winner == "chosen"


def test_lower_is_better_flips_the_sign():
    low, high = standing("low", 0.1, 0.0), standing("scratch", 0.9, 2.0, transfers=False)
    verdict = judge([low, high], False)
    assert verdict.winner == "low"
    assert verdict.outcome == "helps"


def test_nan_validation_never_wins():
    assert best([standing("nan", float("nan"), 2.0), standing("ok", 0.1, 0.0)], True).key == "ok"


def test_paired_difference_of_equal_candidates_is_exactly_zero():
    draws = Resamples.draw(np.arange(600), 3)
    a, b = (standing(k, 0.5, 1.0, draws=draws) for k in "ab")
    gap = a.scores.minus(b.scores, 0.95)
    assert (gap.mean, gap.low, gap.high) == (0.0, 0.0, 0.0)


def test_rows_of_a_unit_are_drawn_together():
    units = np.repeat(np.arange(10), 5)
    draws = Resamples.draw(units, 2, replicates=50)
    by_unit = draws.rows.reshape(50, 10, 5)
    assert (by_unit == by_unit[:, :, :1]).all()
    assert (draws.rows.sum(axis=1) == 50).all()
    np.testing.assert_allclose(draws.seeds.sum(axis=1), 1.0)


def test_interval_covers_at_the_nominal_rate_for_rows_and_needs_units_for_clusters():
    """600 draws of 40 clusters of 10 equal rows: intervals by cluster cover, intervals by row do not."""
    rng = np.random.default_rng(0)
    covered = {"cluster": 0, "row": 0}
    truth, repeats = 0.7, 150
    for _ in range(repeats):
        right = np.repeat(rng.random(40) < truth, 10)
        y = np.zeros(400, dtype=int)
        p = np.where(right[:, None], [[0.9, 0.1]], [[0.1, 0.9]])
        for name, units in (("cluster", np.repeat(np.arange(40), 10)), ("row", np.arange(400))):
            found = Scores.of(ACCURACY, y, [p], Resamples.draw(units, 1, replicates=400)).estimate()
            covered[name] += found.low <= truth <= found.high
    assert covered["cluster"] / repeats > 0.88
    assert covered["row"] / repeats < 0.7


def test_seeds_widen_the_interval():
    calm, wild = standing("calm", 0.5, 1.0, seeds=5), standing("wild", 0.5, 1.0, seeds=5, noise=1.5)
    width = [e.high - e.low for e in (calm.scores.estimate(), wild.scores.estimate())]
    assert width[1] > width[0] * 0.9
    assert len(set(wild.scores.seeds)) == 5


def test_the_labelling_error_widens_the_interval_and_is_the_jackknifes():
    rng = np.random.default_rng(3)
    spread = rng.normal(size=(3, 4)) * 0.05
    good, bad = standing("good", 0.9, 1.2), standing("scratch", 0.6, 0.9, transfers=False)
    sharp = judge([good, bad], True).difference
    shaky = dataclasses.replace(good, jackknife=0.8 + spread)
    wide = judge([shaky, bad], True).difference
    assert wide.mean == sharp.mean
    assert wide.high - wide.low > 1.5 * (sharp.high - sharp.low)
    by_hand = np.sqrt(np.mean([0.75 * ((row - row.mean()) ** 2).sum() for row in spread]))
    assert labelling_error(shaky, bad) == pytest.approx(by_hand)
    assert labelling_error(shaky, dataclasses.replace(bad, jackknife=0.5 + spread)) == pytest.approx(0.0, abs=1e-12)
    assert labelling_error(good, bad) == 0.0
