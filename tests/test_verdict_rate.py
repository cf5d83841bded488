"""How often a verdict is wrong where nothing is to be found: winner of 20, reference of 3, all equally good in truth.

Whole draws are simulated: rows, the choice by cross-validated AUROC of ridge classifiers on random features, final fits
on all labelled rows, one look at test rows, the jackknife. A new draw of labelled rows would reorder the candidates, so
a difference is a false alarm.
"""

import numpy as np
import pytest
from scipy.stats import binom

from tlplat.evaluate import Resamples, Scores, Standing, judge
from tlplat.metrics import Auroc, weighted_auroc

FEATURES, SEEN, LABELLED, TEST, TRANSFERS, OTHERS, PARTS = 24, 8, 64, 300, 20, 3, 4
DRAWS = 120


def ridge(x, y, other, decay=5.0):
    centre = x.mean(axis=0)
    z = x - centre
    weights = np.linalg.solve(z.T @ z + decay * np.eye(x.shape[1]), z.T @ (2.0 * y - 1))
    return (other - centre) @ weights


def rows(rng, count):
    x = rng.normal(size=(count, FEATURES))
    y = (x.sum(axis=1) / np.sqrt(FEATURES) + rng.normal(size=count) > 0).astype(int)
    return x, y


def without(x, y, other, fold, k):
    return ridge(x[fold != k], y[fold != k], other)


def differences(seed):
    """Winner minus reference: as the verdict gives it, and as it would be without the jackknife."""
    rng = np.random.default_rng([seed, 0xDA7A])
    (x, y), (tx, ty) = rows(rng, LABELLED), rows(rng, TEST)
    sees = [rng.choice(FEATURES, SEEN, replace=False) for _ in range(TRANSFERS + OTHERS)]
    fold = rng.permutation(LABELLED) % PARTS
    scores = np.zeros((len(sees), LABELLED))
    for i, columns in enumerate(sees):
        for k in range(PARTS):
            scores[i, fold == k] = without(x[:, columns], y, x[fold == k][:, columns], fold, k)
    validation = np.array([weighted_auroc(y, s)[0] for s in scores])
    chosen = [int(validation[:TRANSFERS].argmax()), TRANSFERS + int(validation[TRANSFERS:].argmax())]
    draws = Resamples.draw(np.arange(TEST), 1, replicates=250, seed=seed)
    standings = []
    for i in chosen:
        seen, test = x[:, sees[i]], tx[:, sees[i]]
        p = 1 / (1 + np.exp(-ridge(seen, y, test)))
        found = Scores.of(Auroc(), ty, [np.stack([1 - p, p], axis=1)], draws)
        left_out = [[weighted_auroc(ty, without(seen, y, test, f, k))[0] for k in range(PARTS)] for f in parts(seed)]
        standings.append(
            Standing(str(i), i < TRANSFERS, False, False, validation[i], found, 1.0, 1, np.array(left_out))
        )
    bare = standings[0].scores.minus(standings[1].scores, 0.95)
    return judge(standings, True).difference, bare


def parts(seed):
    return [np.random.default_rng([seed, s]).permutation(LABELLED) % PARTS for s in range(3)]


@pytest.mark.slow
def test_helps_and_hurts_are_false_alarms_at_most_at_the_nominal_rate():
    found = [differences(seed) for seed in range(DRAWS)]
    helps = sum(verdict.low > 0 for verdict, _ in found)
    hurts = sum(verdict.high < 0 for verdict, _ in found)
    most = binom.ppf(0.99, DRAWS, 0.025)
    assert helps <= most
    assert hurts <= most
    assert sum(bare.low > 0 for _, bare in found) > most, "without the jackknife the luck of the labelled rows passes"
