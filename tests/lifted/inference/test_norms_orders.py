"""Spectral norms by power iterations, and the orders in which variables are visited."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import problems, skips

import paralift as pl
from paralift.lifted.inference.norms import MARGIN, Norms
from paralift.lifted.inference.orders import ORDERS, colours, phases
from paralift.lifted.stage import Stage

few = settings(deadline=None, max_examples=25, derandomize=True)


def stage_of(network, params=None, start=0, stop=None):
    stage = Stage(network, start, len(network.blocks) if stop is None else stop, np.zeros(1))
    stage.load(params) if params else stage.init(0)
    return stage


# Norms


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 10**6))
@few
def test_power_iterations_find_the_norm_within_the_margin(n, m, seed):
    network = pl.Sequential(pl.Linear(n, m), pl.Tanh(), pl.Linear(m, 2))
    stage = stage_of(network)
    weight = stage.params["linear1"]["weight"]
    weight[...] = np.random.default_rng(seed).standard_normal((n, m))
    exact = np.linalg.norm(weight, 2) ** 2
    found = Norms(stage).squared(network.blocks[0], 0)
    assert exact <= found <= MARGIN * exact * (1 + 1e-12)


def test_small_moves_are_followed():
    network = pl.Sequential(pl.Linear(12, 9), pl.Tanh())
    stage = stage_of(network)
    norms, rng, weight = Norms(stage), np.random.default_rng(0), stage.params["linear1"]["weight"]
    norms.squared(network.blocks[0], 0)
    for _ in range(30):
        weight += 0.01 * rng.standard_normal(weight.shape)
        exact = np.linalg.norm(weight, 2) ** 2
        assert exact <= norms.squared(network.blocks[0], 0) <= MARGIN * exact * (1 + 1e-12)


def test_maps_of_zeros():
    network = pl.Sequential(pl.Linear(3, 3), pl.Tanh())
    stage = stage_of(network)
    norms, weight = Norms(stage), stage.params["linear1"]["weight"]
    weight[...] = 0.0
    assert norms.squared(network.blocks[0], 0) == 0.0
    weight[...] = np.diag([3.0, 2.0, 1.0])
    assert norms.squared(network.blocks[0], 0) == pytest.approx(9.0 * MARGIN, rel=1e-3)


def test_lipschitz_constants_add_over_children():
    network = pl.Graph(
        a=(["input"], pl.Linear(4, 4), pl.Tanh()),
        b=(["a"], pl.Linear(4, 4), pl.Softmax()),
        c=(["a"], pl.Diagonal(4)),
        d=(["a", "b", "c"], pl.Add()),
        e=(["d", "b"], pl.Concatenate(), pl.Tanh()),
        f=(["e"], pl.Linear(8, 3), pl.Softmax()),
    )
    stage = stage_of(network)
    for arrays in stage.params.values():
        for a in arrays.values():
            a[...] = np.random.default_rng(a.size).standard_normal(a.shape)
    norm = {k: np.linalg.norm(a["weight"], 2) ** 2 for k, a in stage.params.items() if "weight" in a}
    gain = np.abs(stage.params["diagonal1"]["gain"]).max() ** 2
    exact = [0.0, 0.5 * norm["linear2"] + gain + 1, 1 + 1, 1.0, 1.0, 0.5 * norm["linear3"], 0.0]
    found = Norms(stage).lipschitz()
    assert (found[1:] >= np.array(exact)[1:] * (1 - 1e-12)).all()
    assert (found[1:] <= np.array(exact)[1:] * MARGIN * (1 + 1e-12)).all()
    weighted = Norms(stage).lipschitz(0.25)
    assert weighted[5] == pytest.approx(0.25 * found[5]) and weighted[1] == pytest.approx(found[1])


@pytest.mark.parametrize("combine", [pl.Add(), pl.Concatenate()], ids=repr)
def test_a_variable_that_is_read_twice(combine):
    """The pull of a block that reads x twice is Lipschitz with |A_1 + A_2|^2: 4 for x + x, 2 for (x, x)."""
    network = pl.Graph(a=(["input"], pl.Linear(3, 4)), b=(["a", "a"], combine))
    exact = 4.0 if combine == pl.Add() else 2.0
    assert Norms(stage_of(network)).lipschitz()[1] >= exact


def test_stages_add_theirs():
    network = skips(pl.Tanh())
    params = network.init(0, np.float64)
    whole = Norms(stage_of(network, params)).lipschitz()
    for cut in range(1, len(network.blocks)):
        parts = [Norms(stage_of(network, params, *part)).lipschitz() for part in ((0, cut), (cut, None))]
        np.testing.assert_allclose(sum(parts)[1:], whole[1:], rtol=1e-12)


def test_the_input_counts_where_it_is_free():
    network = pl.Sequential(pl.Linear(4, 3), pl.Tanh())
    stage = Stage(network, 0, 1, np.zeros(1), free_input=True)
    stage.init(0)
    exact = np.linalg.norm(stage.params["linear1"]["weight"], 2) ** 2
    assert exact <= Norms(stage).lipschitz()[0] <= MARGIN * exact * (1 + 1e-12)


# Orders


def interact(network, a, b):
    """Whether one feeds the other or a block reads both."""
    return any({a, b} <= {block.index, *block.parents} for block in network.blocks)


def parts(cuts, n):
    return [sum(c < v for c in cuts) for v in range(n)]


def any_cuts(data, network):
    n = len(network.blocks)
    return tuple(sorted(data.draw(st.sets(st.integers(1, max(n - 1, 1)), max_size=4))))


@given(problems())
@few
def test_colouring_is_proper(problem):
    network = problem.network
    colour = colours(network)
    assert set(colour) == set(range(len(network.shapes))) and set(colour.values()) == set(range(max(colour.values()) + 1))
    for a, b in combinations(range(len(network.shapes)), 2):
        assert colour[a] != colour[b] or not interact(network, a, b)


@pytest.mark.parametrize("depth", [1, 2, 5, 8])
def test_a_chain_needs_two_colours(depth):
    network = pl.Sequential(*[pl.Linear(3, 3) for _ in range(depth)])
    assert colours(network) == {v: (depth - v) % 2 for v in range(depth + 1)}


@given(problems(), st.data())
@few
def test_phases_visit_every_variable_once(problem, data):
    network = problem.network
    cuts = any_cuts(data, network)
    variables = data.draw(st.lists(st.integers(0, len(network.blocks)), unique=True))
    for order in ORDERS:
        found = phases(network, order, cuts, variables)
        assert sorted(v for phase in found for v in phase.variables) == sorted(variables)
        assert all(phase.variables for phase in found)
        for phase in found:
            for half in (phase.inner, phase.edge):
                assert list(half) == sorted(half, reverse=True)


@given(problems(), st.data())
@few
def test_variables_of_a_phase_do_not_wait_for_each_other(problem, data):
    """What parts move in one phase they may move at once: only variables and blocks of one part meet."""
    network = problem.network
    cuts = any_cuts(data, network)
    part = parts(cuts, len(network.shapes))
    free = range(1, len(network.blocks))
    for phase in phases(network, "two_colour", cuts, free):
        assert not any(interact(network, a, b) for a, b in combinations(phase.variables, 2))
    for phase in phases(network, "gauss_seidel", cuts, free):
        for block in network.blocks:
            met = {block.index, *block.parents} & set(phase.variables)
            assert len(met) < 2 or len({part[v] for v in met | {block.index}}) == 1


@given(problems(), st.data())
@few
def test_inner_variables_meet_their_own_part_only(problem, data):
    network = problem.network
    cuts = any_cuts(data, network)
    part = parts(cuts, len(network.shapes))
    free = set(range(1, len(network.blocks)))
    for order in ORDERS:
        for phase in phases(network, order, cuts, sorted(free)):
            for v in free & set(phase.variables):
                blocks = [b for b in network.blocks if v in (b.index, *b.parents)]
                met = {u for b in blocks for u in (b.index, *(set(b.parents) & free))}
                assert (v in phase.inner) == all(part[u] == part[v] for u in met)


def as_lists(found):
    return [(list(phase.inner), list(phase.edge)) for phase in found]


def test_orders_of_a_chain():
    network = pl.Sequential(*[pl.Linear(3, 3) for _ in range(6)])
    free = range(1, 6)
    assert as_lists(phases(network, "gauss_seidel", (), free)) == [([5, 4, 3, 2, 1], [])]
    assert as_lists(phases(network, "jacobi", (2,), free)) == [([5, 4, 1], [3, 2])]
    assert as_lists(phases(network, "two_colour", (), free)) == [([4, 2], []), ([5, 3, 1], [])]
    assert as_lists(phases(network, "two_colour", (3,), free)) == [([2], [4]), ([5, 1], [3])]
    assert as_lists(phases(network, "gauss_seidel", (3,), free)) == [([5, 2, 1], [4]), ([], [3])]
    assert as_lists(phases(network, "gauss_seidel", (2, 4), free)) == [([1], [5, 3]), ([], [4, 2])]
    assert as_lists(phases(network, "gauss_seidel", (1, 2, 3, 4, 5), free)) == [([], [5, 3, 1]), ([], [4, 2])]
    assert phases(network, "gauss_seidel", (2, 4), []) == []


def test_two_variables_that_a_block_of_another_part_reads_take_turns():
    """A stage knows the pull of the stages above at the start of a phase: its second variable would miss the first's move."""
    network = pl.Graph(
        a=(["input"], pl.Linear(3, 3), pl.Tanh()),
        b=(["a"], pl.Linear(3, 3), pl.Tanh()),
        c=(["a", "b"], pl.Add()),
        d=(["c"], pl.Linear(3, 2)),
    )
    assert as_lists(phases(network, "gauss_seidel", (2,), [1, 2, 3])) == [([], [3]), ([], [2]), ([], [1])]
