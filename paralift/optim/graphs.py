"""Graphs of ranks: who may write to whom, and what mixing over a graph costs.

| symbol | name |
|---|---|
| W, mixing weights | `metropolis`, `exponential_weights` |
| Lap = sum_ij lam_ij (e_i - e_j)(e_i - e_j)^T, lam_ij events of edge ij a unit of time | `laplacian` |
| chi_1 = 1 / lambda_2(Lap) | `chi_1` |
| chi_2 = max_ij (e_i - e_j)^T Lap^+ (e_i - e_j) / 2 over edges | `chi_2` |
| rho = norm of W - J/n, J all ones | `gossip_factor` |

chi_1 is the time in which differences of ranks fade, chi_2 half the largest effective resistance of an edge; chi_2 <= chi_1.

References
----------
Boyd, Diaconis & Xiao, SIAM Rev. 46, 2004 (Metropolis weights); Nabli & Oyallon, ICML 2023 (chi_1, chi_2); Ying, Yuan, Chen,
Hu, Pan & Yin, NeurIPS 2021 (exponential graphs).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import networkx as nx
import numpy as np


def ring(n: int) -> nx.Graph:
    """Return the cycle: each rank has two neighbours, one if there are two ranks."""
    return nx.path_graph(n) if n < 3 else nx.cycle_graph(n)


def path(n: int) -> nx.Graph:
    """Return a line from rank 0 to rank n - 1."""
    return nx.path_graph(n)


def star(n: int) -> nx.Graph:
    """Return the graph in which rank 0 is the neighbour of all others."""
    return nx.star_graph(n - 1)


def complete(n: int) -> nx.Graph:
    """Return the graph of all pairs."""
    return nx.complete_graph(n)


def grid(n: int) -> nx.Graph:
    """Return the grid of n ranks in rows, as near to a square as n allows; a path for a prime n."""
    rows = max(k for k in range(1, math.isqrt(n) + 1) if n % k == 0)
    return nx.convert_node_labels_to_integers(nx.grid_2d_graph(rows, n // rows), ordering="sorted")


def hypercube(n: int) -> nx.Graph:
    """Return the graph of ranks whose numbers differ in one bit.

    Raises
    ------
    ValueError
        If n is no power of 2.
    """
    if n < 1 or n & (n - 1):
        raise ValueError(
            f"a hypercube of {n} ranks was asked for, expected a power of 2; exponential({n}) works for any number"
        )
    return _on(n, ((i, i ^ jump) for i in range(n) for jump in jumps(n)))


def exponential(n: int) -> nx.Graph:
    """Return the graph of ranks at distances 1, 2, 4, ... on a ring."""
    return _on(n, ((i, (i + jump) % n) for i in range(n) for jump in jumps(n)))


def jumps(n: int) -> list[int]:
    """Return the powers of 2 that are less than n."""
    return [1 << k for k in range((n - 1).bit_length())]


def checked(graph: nx.Graph | Callable[[int], nx.Graph], n: int) -> nx.Graph:
    """Return a graph that n ranks can use: `graph`, or what it returns for n.

    Raises
    ------
    TypeError
        If it is no undirected networkx graph.
    ValueError
        If its nodes are not 0 to n - 1, or it is not connected.
    """
    graph = graph(n) if callable(graph) else graph
    if not isinstance(graph, nx.Graph) or graph.is_directed() or graph.is_multigraph():
        raise TypeError(f"a graph of type {type(graph).__name__} was given, expected an undirected networkx.Graph")
    if set(graph.nodes) != set(range(n)):
        given = ", ".join(sorted(map(repr, graph.nodes))[:8])
        raise ValueError(f"a graph of {len(graph)} nodes ({given}, ...) was given, expected the ranks 0 to {n - 1}")
    parts = [sorted(part) for part in nx.connected_components(graph)]
    if len(parts) > 1:
        apart = f"no path leads from {parts[0][0]} to {parts[1][0]}"
        raise ValueError(f"a graph of {len(parts)} parts was given, expected a connected one: {apart}")
    return graph


def metropolis(graph: nx.Graph) -> np.ndarray:
    """Return W_ij = 1 / (1 + max(degrees of i and j)) for edges, the rest of 1 on the diagonal; shape (n, n)."""
    weights = np.zeros((len(graph), len(graph)))
    for i, j in _edges(graph):
        weights[i, j] = weights[j, i] = 1.0 / (1 + max(graph.degree[i], graph.degree[j]))
    return weights + np.diag(1.0 - weights.sum(axis=1))


def exponential_weights(n: int) -> np.ndarray:
    """Return equal weights of a rank and of those at distances 1, 2, 4, ... ahead of it; not symmetric; shape (n, n).

    For an even n its gossip factor is 1 - 2 / (1 + ceil(log2 n)).
    """
    ahead = [0, *jumps(n)]
    return np.mean([np.roll(np.eye(n), jump, axis=1) for jump in ahead], axis=0)


def laplacian(graph: nx.Graph, rate: float = 1.0) -> np.ndarray:
    """Return Lap for `rate` events a unit of time, equally likely on all edges; shape (n, n)."""
    share = rate / max(1, graph.number_of_edges())
    result = np.zeros((len(graph), len(graph)))
    for i, j in _edges(graph):
        result[i, j] = result[j, i] = -share
    return result - np.diag(result.sum(axis=1))


def chi_1(laplacian: np.ndarray) -> float:
    """Return 1 / lambda_2."""
    return 1.0 / spectrum(laplacian)[0]


def chi_2(laplacian: np.ndarray) -> float:
    """Return half the largest effective resistance of an edge."""
    n = len(laplacian)
    mean = np.full((n, n), 1.0 / n)
    # The default cutoff of a pseudoinverse is too coarse: on the complete graph of 64 it makes chi_2 8 % wrong.
    inverse = np.linalg.inv(laplacian + mean) - mean
    own = np.diag(inverse)
    resistances = own[:, None] + own[None, :] - 2.0 * inverse
    return 0.5 * float(resistances[laplacian < 0].max())


def spectrum(laplacian: np.ndarray) -> tuple[float, float]:
    """Return lambda_2 and lambda_max.

    Raises
    ------
    ValueError
        If there is one node only.
    """
    if len(laplacian) < 2:
        raise ValueError("the Laplacian of 1 node was given, expected at least 2: a rank that is alone has nobody to mix with")
    values = np.linalg.eigvalsh(laplacian)
    return float(values[1]), float(values[-1])


def gossip_factor(weights: np.ndarray) -> float:
    """Return rho, by which a round of mixing shortens the differences of ranks from their mean, at the least."""
    return float(np.linalg.norm(weights - 1.0 / len(weights), 2))


def _on(n: int, edges: object) -> nx.Graph:
    graph = nx.empty_graph(n)
    graph.add_edges_from(edges)
    return graph


def _edges(graph: nx.Graph) -> list[tuple[int, int]]:
    return [(i, j) for i, j in graph.edges if i != j]
