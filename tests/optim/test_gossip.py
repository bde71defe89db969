"""Gossip: the matrices that rounds amount to, their bounds, and how many words they take."""

from __future__ import annotations

import math

import numpy as np
import pytest
from crew import together

from paralift.optim.gossip import Mixing, chebyshev, gossip, one_peer_exponential
from paralift.optim.graphs import (
    complete,
    exponential_weights,
    gossip_factor,
    grid,
    hypercube,
    laplacian,
    metropolis,
    path,
    ring,
    spectrum,
    star,
)
from paralift.optim.team import Alone


def matrix(n, act):
    """Return what ``act(team, x)`` does to the arrays of n ranks."""

    def rows(team):
        x = np.eye(n)[team.rank].copy()
        act(team, x)
        return x

    return np.stack(together(n, rows))


def error(m):
    return np.linalg.norm(m - 1 / len(m), 2)


@pytest.mark.parametrize(
    "weights", [metropolis(grid(6)), metropolis(star(5)), exponential_weights(6)], ids=["grid", "star", "one-way"]
)
def test_plain_gossip_is_a_power_of_the_weights(weights):
    m = matrix(len(weights), lambda team, x: gossip(team, weights, x, 5))
    np.testing.assert_allclose(m, np.linalg.matrix_power(weights, 5), rtol=0, atol=1e-15)
    assert error(m) <= gossip_factor(weights) ** 5 + 1e-15


@pytest.mark.parametrize("graph", [ring(16), path(5), complete(4), hypercube(8), star(7)], ids=str)
@pytest.mark.parametrize("rounds", [0, 1, 2, 8])
def test_chebyshev_gossip_meets_its_bound(graph, rounds):
    lap = laplacian(graph)
    low, high = spectrum(lap)
    c = (1 - math.sqrt(low / high)) / (1 + math.sqrt(low / high))
    m = matrix(len(graph), lambda team, x: chebyshev(team, lap, x, rounds))
    np.testing.assert_allclose(m.sum(axis=0), 1.0, rtol=0, atol=1e-14)
    assert error(m) <= 2 * c**rounds / (1 + c ** (2 * rounds)) + 1e-14


@pytest.mark.parametrize(("rounds", "least", "bound"), [(8, 0.0817, 0.0845), (32, 5.3e-6, 6.4e-6)])
def test_numbers_of_chebyshev_gossip_on_the_cycle_of_16(rounds, least, bound):
    """The error of normal numbers, the worst, which is the bound, and the error of plain gossip after 32 rounds."""
    lap = laplacian(ring(16))
    m = matrix(16, lambda team, x: chebyshev(team, lap, x, rounds))
    x = np.random.default_rng(0).standard_normal(16)
    x -= x.mean()
    assert np.linalg.norm(m @ x) / np.linalg.norm(x) == pytest.approx(least, rel=0.01)
    assert error(m) == pytest.approx(bound, rel=0.01)
    plain = np.linalg.matrix_power(np.eye(16) - lap / spectrum(lap)[1], 32)
    assert np.linalg.norm(plain @ x) / np.linalg.norm(x) == pytest.approx(0.18, abs=0.005)


def test_many_rounds_do_not_overflow():
    lap = laplacian(ring(4))
    assert error(matrix(4, lambda team, x: chebyshev(team, lap, x, 1500))) <= 1e-14


@pytest.mark.parametrize("n", [2, 4, 8, 16])
def test_one_peer_is_exact_after_log2_n_rounds(n):
    assert error(matrix(n, one_peer_exponential)) <= 1e-16


def test_one_peer_leaves_a_difference_between_12_ranks():
    def three_rounds(team, x):
        one_peer_exponential(team, x, 3)

    m = matrix(12, three_rounds)
    x = np.random.default_rng(0).standard_normal(12)
    assert np.linalg.norm(m @ x - x.mean()) / np.linalg.norm(x - x.mean()) == pytest.approx(0.24, abs=0.01)
    full = matrix(12, one_peer_exponential)
    np.testing.assert_allclose(full.sum(axis=0), 1.0)
    assert error(full) == pytest.approx(0.5 * error(m))
    assert error(full) == pytest.approx(0.209, abs=0.001)
    assert error(matrix(12, lambda team, x: one_peer_exponential(team, x, 40))) < 1e-6


def test_words_are_one_array_a_neighbour_and_round():
    lap = laplacian(ring(6))

    def sent(act):
        def count(team):
            act(team, np.zeros(10))
            return team.bytes_sent

        return together(6, count)

    assert sent(lambda team, x: chebyshev(team, lap, x, 7)) == [7 * 2 * 80] * 6
    assert sent(lambda team, x: gossip(team, metropolis(star(6)), x, 3)) == [3 * 5 * 80] + [3 * 80] * 5
    assert sent(one_peer_exponential) == [3 * 2 * 80] * 6  # 1 and 5, 2 and 4, 4 and 2


def test_shapes_and_types_stay():
    def mixed(team):
        x = np.full((2, 3), team.rank, dtype=np.float32)
        gossip(team, metropolis(ring(4)), x, 30)
        return x

    for x in together(4, mixed):
        assert x.dtype == np.float32
        np.testing.assert_allclose(x, np.full((2, 3), 1.5), rtol=1e-6)


def test_a_rank_alone_is_its_own_mean():
    x = np.array([1.0, 2.0])
    gossip(Alone(), metropolis(path(1)), x, 3)
    chebyshev(Alone(), laplacian(path(1)), x, 3)
    one_peer_exponential(Alone(), x)
    np.testing.assert_array_equal(x, [1.0, 2.0])


def test_weights_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 3\) were given, expected \(1, 1\)"):
        Mixing(Alone(), np.eye(3))
