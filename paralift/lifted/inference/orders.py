"""Orders of visiting lifted variables: lists of phases, each a list of variables.

Two variables interact when one feeds the other or when a block reads both. Variables of one colour do not interact, so they
may move at once, on any number of ranks, as if one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from paralift.lifted.network import Network

ORDERS = ("gauss_seidel", "two_colour", "jacobi")


def colours(network: Network) -> list[int]:
    """Return a colour for every variable by greedy colouring, last variable first: two colours for a chain."""
    n = len(network.shapes)
    neighbours: list[set[int]] = [set() for _ in range(n)]
    for block in network.blocks:
        for a, b in combinations({block.index, *block.parents}, 2):
            neighbours[a].add(b)
            neighbours[b].add(a)
    colour = [-1] * n
    for v in reversed(range(n)):
        taken = {colour[u] for u in neighbours[v]}
        colour[v] = next(c for c in range(n) if c not in taken)
    return colour


def phases(network: Network, order: str, cuts: Sequence[int], variables: Sequence[int]) -> list[list[int]]:
    """Return the phases of one iteration over `variables`, last variable first within a phase.

    Parameters
    ----------
    network : Network
    order : {"gauss_seidel", "two_colour", "jacobi"}
        Gauss-Seidel runs inside the parts between `cuts`; the even parts move first, then the odd ones, so that parts
        on different ranks need not wait for each other.
    cuts : sequence of int
        A cut c separates the variables up to c from those above; empty for plain Gauss-Seidel.
    variables : sequence of int
        The variables that are free to move.
    """
    descending = sorted(variables, reverse=True)
    if order == "jacobi":
        return [descending]
    if order == "two_colour":
        colour = colours(network)
        wanted = sorted({colour[v] for v in descending})
        return [[v for v in descending if colour[v] == c] for c in wanted]
    part = {v: sum(c < v for c in cuts) for v in descending}
    return [group for parity in (0, 1) if (group := [v for v in descending if part[v] % 2 == parity])]
