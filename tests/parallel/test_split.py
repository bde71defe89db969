"""The exact split against all splits there are: with prices at cuts, and with stages that are not allowed."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paralift.parallel.split import split

prices = st.floats(0, 100)


@st.composite
def problems(draw):
    n = draw(st.integers(1, 9))
    lists = [draw(st.lists(prices, min_size=k, max_size=k)) for k in (n, n + 1, n + 1)]
    return (*lists, draw(st.integers(1, n)))


def slowest(costs, lower, upper, bounds):
    return max(sum(costs[a:b]) + lower[a] + upper[b] for a, b in pairwise(bounds))


def all_bounds(n, stages):
    return [(0, *inner, n) for inner in combinations(range(1, n), stages - 1)]


@given(problems())
@settings(deadline=None, max_examples=150, derandomize=True)
def test_split_is_the_best_of_all(problem):
    costs, lower, upper, stages = problem
    least = min(slowest(costs, lower, upper, bounds) for bounds in all_bounds(len(costs), stages))
    found = split(costs, stages, lower, upper)
    assert len(found) == stages + 1 and found[0] == 0 and found[-1] == len(costs)
    assert slowest(costs, lower, upper, found) == pytest.approx(least)
    zeros = [0.0] * (len(costs) + 1)
    least = min(slowest(costs, zeros, zeros, bounds) for bounds in all_bounds(len(costs), stages))
    assert slowest(costs, zeros, zeros, split(costs, stages)) == pytest.approx(least)


@given(problems(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=150, derandomize=True)
def test_split_into_stages_that_are_allowed(problem, seed):
    costs, lower, upper, stages = problem
    n = len(costs)
    allowed = np.random.default_rng(seed).random((n + 1, n + 1)) < 0.7
    possible = [bounds for bounds in all_bounds(n, stages) if all(allowed[a, b] for a, b in pairwise(bounds))]
    if not possible:
        with pytest.raises(ValueError, match="no split"):
            split(costs, stages, lower, upper, allowed)
        return
    found = split(costs, stages, lower, upper, allowed)
    assert all(allowed[a, b] for a, b in pairwise(found))
    least = min(slowest(costs, lower, upper, bounds) for bounds in possible)
    assert slowest(costs, lower, upper, found) == pytest.approx(least)


def test_equal_blocks_are_dealt_out_evenly():
    assert split(np.ones(1000), 64)[-1] == 1000
    assert max(b - a for a, b in pairwise(split(np.ones(1000), 64))) == 16


@pytest.mark.parametrize("stages", [0, 4])
def test_wrong_numbers_of_stages(stages):
    with pytest.raises(ValueError, match=f"{stages} stages of 3 blocks"):
        split([1.0, 2.0, 3.0], stages)
