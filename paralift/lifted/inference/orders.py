"""Orders of visiting lifted variables: lists of phases, each a list of variables.

Two variables interact when one feeds the other or when a block reads both. Variables of one colour do not interact, so they
may move at once, on any number of ranks, as if one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from paralift.lifted.network import Network

ORDERS = ("gauss_seidel", "two_colour", "jacobi")


def colours(network: Network, groups: Sequence[int] | None = None) -> list[int]:
    """Return a colour for every group of variables by greedy colouring, last group first: two colours for a chain.

    Parameters
    ----------
    network : Network
    groups : sequence of int, optional
        The group of every variable; by default each is its own.
    """
    group = list(range(len(network.shapes))) if groups is None else list(groups)
    n = max(group) + 1
    neighbours: list[set[int]] = [set() for _ in range(n)]
    for block in network.blocks:
        for a, b in combinations(sorted({group[v] for v in (block.index, *block.parents)}), 2):
            neighbours[a].add(b)
            neighbours[b].add(a)
    colour = [-1] * n
    for k in reversed(range(n)):
        taken = {colour[j] for j in neighbours[k]}
        colour[k] = next(c for c in range(n) if c not in taken)
    return colour


def phases(network: Network, order: str, cuts: Sequence[int], variables: Sequence[int]) -> list[list[int]]:
    """Return the phases of one iteration over `variables`, last variable first within a phase.

    Parameters
    ----------
    network : Network
    order : {"gauss_seidel", "two_colour", "jacobi"}
        Gauss-Seidel runs inside the parts between `cuts`. Parts of one colour, which do not interact, move at once (in a
        chain: every second part), so that parts on different ranks need not wait for each other.
    cuts : sequence of int
        A cut c separates the variables up to c from those above; empty for plain Gauss-Seidel.
    variables : sequence of int
        The variables that are free to move.
    """
    descending = sorted(variables, reverse=True)
    if order == "jacobi":
        return [descending]
    group = list(range(len(network.shapes)))
    if order == "gauss_seidel":
        group = [sum(c < v for c in cuts) for v in group]
    colour = colours(network, group)
    found = {c: [v for v in descending if colour[group[v]] == c] for c in range(max(colour) + 1)}
    return [phase for phase in found.values() if phase]
