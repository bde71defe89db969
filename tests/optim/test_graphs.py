"""Graphs of ranks: known values of the n = 16 table, closed forms, and what is refused."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest

from paralift.optim import graphs
from paralift.optim.graphs import checked, chi_1, chi_2, exponential_weights, gossip_factor, laplacian, metropolis

ALL = ["ring", "path", "star", "complete", "grid", "exponential", "hypercube"]
TABLE = {  # edges, chi_1, chi_2, sqrt(2 chi_1 chi_2) of 16 nodes and one event a unit of time
    "star": (15, 15.0, 7.5, 15.0),
    "complete": (120, 7.5, 7.5, 10.607),
    "ring": (16, 105.1, 7.5, 39.705),
    "path": (15, 390.3, 7.5, 76.517),
    "grid": (24, 40.97, 8.41, 26.25),
    "hypercube": (32, 16.0, 7.5, 15.49),
    "exponential": (56, 14.0, 7.66, 14.64),
}
CLOSED = {
    "star": lambda n: n - 1,
    "complete": lambda n: (n - 1) / math.sqrt(2),
    "ring": lambda n: math.sqrt(n * (n - 1) / (2 - 2 * math.cos(2 * math.pi / n))),
    "path": lambda n: (n - 1) / math.sqrt(2 - 2 * math.cos(math.pi / n)),
}


def mixing_rate(lap):
    return math.sqrt(2 * chi_1(lap) * chi_2(lap))


@pytest.mark.parametrize("name", TABLE)
def test_table_of_16_nodes(name):
    edges, first, second, rate = TABLE[name]
    graph = checked(getattr(graphs, name), 16)
    lap = laplacian(graph)
    assert graph.number_of_edges() == edges
    assert chi_1(lap) == pytest.approx(first, rel=5e-4)
    assert chi_2(lap) == pytest.approx(second, rel=7e-4)
    assert mixing_rate(lap) == pytest.approx(rate, rel=5e-4)
    assert chi_2(lap) <= chi_1(lap) * (1 + 1e-12)


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("n", [5, 16, 33])
def test_closed_forms(name, n):
    assert mixing_rate(laplacian(getattr(graphs, name)(n))) == pytest.approx(CLOSED[name](n), rel=1e-9)


def test_published_rate_of_the_star_of_300():
    assert mixing_rate(laplacian(graphs.star(300))) == pytest.approx(299, rel=1e-9)


def test_resistances_of_edges_add_up_to_n_minus_1():
    """Foster: the sum of rate times resistance; all edges of an edge-transitive graph have the same."""
    assert chi_2(laplacian(graphs.complete(64))) == pytest.approx(63 / 2, rel=1e-9)
    assert chi_2(laplacian(graphs.complete(64), rate=32.0)) == pytest.approx(63 / 64, rel=1e-9)  # 1.067 with a coarse cutoff


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n", [1, 2, 4, 16])
def test_metropolis_weights_are_symmetric_and_keep_the_mean(name, n):
    weights = metropolis(checked(getattr(graphs, name), n))
    np.testing.assert_array_equal(weights, weights.T)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=0, atol=1e-15)
    assert weights.min() >= -1e-15 and np.linalg.eigvalsh(weights)[0] > -1
    assert gossip_factor(weights) < 1


@pytest.mark.parametrize("name", [name for name in ALL if name != "hypercube"])
@pytest.mark.parametrize("n", [3, 7, 12])
def test_graphs_of_any_number_of_ranks(name, n):
    assert len(checked(getattr(graphs, name), n)) == n


def test_a_grid_is_as_square_as_it_can_be():
    assert sorted(graphs.grid(12).edges) == sorted(nx.convert_node_labels_to_integers(nx.grid_2d_graph(3, 4)).edges)
    assert nx.is_isomorphic(graphs.grid(7), graphs.path(7))


@pytest.mark.parametrize("n", [8, 16, 12, 64])
def test_gossip_factor_of_the_exponential_graph(n):
    weights = exponential_weights(n)
    np.testing.assert_allclose(weights.sum(axis=0), 1.0)
    assert gossip_factor(weights) == pytest.approx(1 - 2 / (1 + math.ceil(math.log2(n))), rel=1e-12)  # .5 for 8, .6 for 16


def test_own_graphs():
    barbell = nx.barbell_graph(3, 2)
    assert checked(barbell, 8) is barbell
    loop = nx.Graph([(0, 0), (0, 1), (1, 2)])
    np.testing.assert_array_equal(laplacian(loop), laplacian(nx.Graph([(0, 1), (1, 2)])) * 2 / 3)


@pytest.mark.parametrize(
    ("graph", "n", "error", "text"),
    [
        (nx.path_graph(3), 4, ValueError, "a graph of 3 nodes .* expected the ranks 0 to 3"),
        (nx.Graph([("a", "b")]), 2, ValueError, "'a'"),
        (nx.Graph([(0, 1), (2, 3)]), 4, ValueError, "2 parts .* no path leads from 0 to 2"),
        (nx.DiGraph([(0, 1)]), 2, TypeError, "DiGraph .* undirected"),
        ([(0, 1)], 2, TypeError, "list"),
        (graphs.hypercube, 6, ValueError, "6 ranks .* power of 2"),
    ],
)
def test_what_is_refused(graph, n, error, text):
    with pytest.raises(error, match=text):
        checked(graph, n)


def test_a_lonely_node_has_no_chi():
    with pytest.raises(ValueError, match="at least 2"):
        chi_1(laplacian(graphs.path(1)))
