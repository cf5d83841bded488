import itertools

import numpy as np
import pytest
import torch

from tlplat.combine import Option, average, choose, interpolate, mixed, options, pooled, untuned
from tlplat.plan import Member, Phase, TransferPlan


def plan(combine, count=3, **more):
    phases = (Phase(trainable=("*",), learning_rate=1e-3),)
    return TransferPlan(phases=phases, members=(Member(share=1 / count),) * count, combine=combine, **more)


def state(seed):
    generator = torch.Generator().manual_seed(seed)
    return {"w": torch.randn(50, generator=generator), "count": torch.tensor(seed)}


def test_what_may_be_chosen():
    assert options(plan("none")) == [Option((0,)), Option((1,)), Option((2,))]
    assert options(plan("average")) == [Option((0, 1, 2))]
    assert len(options(plan("greedy_average", 5))) == 31
    assert options(plan("interpolate", 1, coefficients=(0.0, 0.3))) == [Option((0,), 0.0), Option((0,), 0.3)]
    assert untuned(plan("interpolate", 1, coefficients=(0.0, 0.5, 1.0))) == Option((0,), 0.5)
    assert untuned(plan("greedy_average")) == Option((0, 1, 2))
    assert untuned(plan("none")) == Option((0,))


def test_average_is_the_mean_and_exact_where_it_must_be():
    states = [state(1), state(2), state(3)]
    wanted = np.mean([s["w"].double().numpy() for s in states], axis=0)
    np.testing.assert_allclose(average(states)["w"].numpy(), wanted, atol=1e-7)
    assert average(states)["w"].dtype == torch.float32
    assert int(average(states)["count"]) == 1
    for copies in range(1, 6):
        assert torch.equal(average([state(1)] * copies)["w"], state(1)["w"])


def test_interpolation_meets_its_ends_exactly():
    start, end = state(1), state(2)
    assert torch.equal(interpolate(start, end, 0.0)["w"], start["w"])
    assert torch.equal(interpolate(start, end, 1.0)["w"], end["w"])
    wanted = 0.7 * start["w"].double().numpy() + 0.3 * end["w"].double().numpy()
    np.testing.assert_allclose(interpolate(start, end, 0.3)["w"].numpy(), wanted, atol=1e-6)
    assert [int(interpolate(start, end, c)["count"]) for c in (0.0, 0.4, 0.6, 1.0)] == [1, 1, 2, 2]


def test_mixed_takes_the_asked_members_only():
    start, members = state(0), {0: state(1), 2: state(3)}
    assert torch.equal(mixed(start, members, Option((2,)))["w"], members[2]["w"])
    mean = average([members[0], members[2]])["w"]
    assert torch.equal(mixed(start, members, Option((0, 2)))["w"], mean)
    assert torch.equal(mixed(start, members, Option((0, 2), 0.0))["w"], start["w"])


def greedy(losses, count):
    """Wortsman et al. 2022, algorithm 1, written out on sets."""
    order = sorted(range(count), key=lambda i: losses[frozenset([i])])
    soup = frozenset([order[0]])
    for i in order[1:]:
        if losses[soup | {i}] <= losses[soup]:
            soup = soup | {i}
    return soup


@pytest.mark.parametrize("seed", range(20))
def test_greedy_soup_follows_the_papers_algorithm(seed):
    rng = np.random.default_rng(seed)
    count = 4
    sets = [frozenset(c) for k in range(1, count + 1) for c in itertools.combinations(range(count), k)]
    losses = {s: float(rng.normal()) for s in sets}
    found = choose("greedy_average", {Option(tuple(sorted(s))): v for s, v in losses.items()})
    assert set(found.members) == greedy(losses, count)


def test_a_soup_of_one_is_the_best_member_where_every_mean_is_worse():
    ways = options(plan("greedy_average"))
    losses = {o: 1.0 - 0.1 * o.members[0] if len(o.members) == 1 else 2.0 for o in ways}
    assert choose("greedy_average", losses) == Option((2,))


def test_least_loss_wins_else_and_undefined_loses():
    losses = {Option((0,), 0.0): float("nan"), Option((0,), 0.5): 0.4, Option((0,), 1.0): 0.4}
    assert choose("interpolate", losses) == Option((0,), 0.5)


def test_folds_count_by_their_rows():
    a, b = Option((0,)), Option((1,))
    assert pooled([(10, {a: 1.0, b: 2.0}), (30, {a: 1.0, b: 0.5})]) == {a: 40.0, b: 35.0}
