import numpy as np
import pytest

from tlplat.evaluate import Resamples, Scores
from tlplat.metrics import ACCURACY
from tlplat.simultaneous import against

ROWS, OTHERS, RIGHT = 150, 8, 0.7


def scores(rng, draws):
    """One candidate whose accuracy is 0.7 in truth."""
    right = rng.random(ROWS) < RIGHT
    predictions = np.where(right[:, None], [[0.9, 0.1]], [[0.1, 0.9]])
    return Scores.of(ACCURACY, np.zeros(ROWS, dtype=int), [predictions], draws)


def test_all_intervals_hold_together_at_the_nominal_rate_and_single_ones_do_not():
    rng = np.random.default_rng(0)
    together, single, repeats = 0, 0, 300
    for repeat in range(repeats):
        draws = Resamples.draw(np.arange(ROWS), 1, replicates=400, seed=repeat)
        reference, *others = (scores(rng, draws) for _ in range(OTHERS + 1))
        found = against(reference, others, True)
        together += all(e.low <= 0 <= e.high for e in found)
        gaps = [o.minus(reference, 0.95) for o in others]
        single += all(g.low <= 0 <= g.high for g in gaps)
    assert together / repeats > 0.92
    assert single / repeats < 0.85


def test_the_point_is_the_difference_and_its_sign_is_that_of_better():
    rng = np.random.default_rng(1)
    draws = Resamples.draw(np.arange(ROWS), 1, replicates=200)
    a, b = scores(rng, draws), scores(rng, draws)
    up, down = against(a, [b], True)[0], against(a, [b], False)[0]
    assert up.mean == pytest.approx(b.seeds.mean() - a.seeds.mean())
    assert down.mean == -up.mean
    assert up.low < up.mean < up.high
    assert against(a, [], True) == []


def test_the_reference_against_itself_is_exactly_zero():
    draws = Resamples.draw(np.arange(ROWS), 1, replicates=200)
    a = scores(np.random.default_rng(2), draws)
    found = against(a, [a], True)[0]
    assert (found.mean, found.low, found.high) == (0, 0, 0)
