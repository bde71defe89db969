"""Plans: the exact split against brute force, and choices that must hold for every network and number of ranks."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import paralift as pl
from paralift.parallel.plan import Plan, block_costs, choose, predict, split

costs_and_stages = st.lists(st.floats(0.01, 100), min_size=1, max_size=9).flatmap(
    lambda costs: st.tuples(st.just(costs), st.integers(1, len(costs)))
)


def mlp(*widths):
    layers = [layer for a, b in zip(widths, widths[1:], strict=False) for layer in (pl.Linear(a, b), pl.ReLU())]
    return pl.Sequential(*layers[:-1], pl.Softmax())


@given(costs_and_stages)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_split_is_the_best_of_all(problem):
    costs, stages = problem
    n = len(costs)

    def slowest(bounds):
        return max(sum(costs[a:b]) for a, b in zip(bounds, bounds[1:], strict=False))

    best = min(slowest((0, *inner, n)) for inner in combinations(range(1, n), stages - 1))
    assert slowest(split(costs, stages)) == pytest.approx(best)


@given(st.integers(1, 12), st.integers(1, 6), st.integers(1, 300))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_chosen_plan_fits(ranks, depth, batch):
    network = mlp(8, *[16] * depth, 4)
    plan = choose(network, ranks, batch)
    plan.check(network, ranks)
    covered = [r for start, stop in plan.rows(batch) for r in range(start, stop)]
    assert covered == list(range(batch))
    others = [choose(network, ranks, batch, stages=s) for s in range(1, depth + 2) if ranks % s == 0]
    assert predict(network, plan, batch).seconds <= min(predict(network, p, batch).seconds for p in others) * (1 + 1e-12)


def test_rows_of_an_empty_share():
    assert Plan(1, 1, (0, 2), 4).rows(0) == [(0, 0)]


def test_prediction_counts_parameters_and_states():
    network = mlp(8, 16, 4)
    found = predict(network, Plan(1, 1, (0, 2)), 10, itemsize=8, states=2).memory[0]
    assert found >= network.n_parameters * 8 * 4
    assert np.isclose(sum(predict(network, Plan(1, 2, (0, 1, 2)), 10).stage_seconds), sum(block_costs(network)) * 10 / 5e10)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, 1, (0, 2)), "at least one shard"),
        ((1, 2, (0, 2)), r"stages \+ 1 = 3"),
        ((1, 2, (0, 2, 2)), "increasing"),
        ((1, 1, (0, 2), 0), "micro-batch"),
    ],
)
def test_wrong_plans(arguments, text):
    with pytest.raises(ValueError, match=text):
        Plan(*arguments)


def test_plan_that_does_not_fit():
    network = mlp(8, 16, 4)
    with pytest.raises(ValueError, match="expected 0 first and 2"):
        Plan(1, 1, (0, 3)).check(network, 1)
    with pytest.raises(ValueError, match="product of 3 ranks"):
        Plan(2, 1, (0, 2)).check(network, 3)
    with pytest.raises(ValueError, match="stages is 5"):
        choose(network, 10, 8, stages=5)
