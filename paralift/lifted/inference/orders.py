"""Orders of visiting lifted variables: phases, whose inner variables are moved before the edges (docs/method.md, section 4).

Two variables interact when one feeds the other or when a block reads both. Parts are the variables between cuts; a variable
is inner when all blocks that it meets, and all free variables of these, are in its own part. Variables of one colour may
move at once, on any number of ranks, as if one after the other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

from paralift.lifted.network import Network

ORDERS = ("gauss_seidel", "two_colour", "jacobi")


@dataclass(frozen=True)
class Phase:
    """Variables that are moved between two exchanges, first `inner`, which need nothing from other parts, then `edge`."""

    inner: tuple[int, ...]
    edge: tuple[int, ...]

    @property
    def variables(self) -> tuple[int, ...]:
        """All variables, in the order of their moves."""
        return self.inner + self.edge


def colours(network: Network, part: Sequence[int] | None = None, variables: Collection[int] | None = None) -> dict[int, int]:
    """Return a colour for every variable by greedy colouring, last variable first: two colours for a chain.

    Parameters
    ----------
    network : Network
    part : sequence of int, optional
        The part of every variable. Two variables that interact differ in colour unless they and the block they meet in
        are of one part, where one rank moves one after the other; by default each is a part of its own.
    variables : collection of int, optional
        Those to colour; all by default.
    """
    parts = list(range(len(network.shapes))) if part is None else list(part)
    chosen = set(range(len(parts)) if variables is None else variables)
    apart: dict[int, set[int]] = {v: set() for v in chosen}
    for block in network.blocks:
        for a, b in combinations(sorted(chosen & {block.index, *block.parents}), 2):
            if len({parts[a], parts[b], parts[block.index]}) > 1:
                apart[a].add(b)
                apart[b].add(a)
    colour: dict[int, int] = {}
    for v in sorted(chosen, reverse=True):
        taken = {colour[u] for u in apart[v] if u in colour}
        colour[v] = next(c for c in range(len(chosen)) if c not in taken)
    return colour


def edges(network: Network, part: Sequence[int], variables: Collection[int]) -> set[int]:
    """Return those of the free `variables` whose move reads what another part computes, or is read by another part."""
    found: set[int] = set()
    free = set(variables)
    for block in network.blocks:
        met = free & {block.index, *block.parents}
        if any(part[v] != part[block.index] for v in met):
            found |= met
    return found


def phases(network: Network, order: str, cuts: Sequence[int], variables: Sequence[int]) -> list[Phase]:
    """Return the phases of one iteration over `variables`, last variable first among the inner ones and among the edges.

    Parameters
    ----------
    network : Network
    order : {"gauss_seidel", "two_colour", "jacobi"}
        Gauss-Seidel moves all inner variables of all parts in the first phase, one after the other in each part, and the
        edges by their colours: no part ever waits for another's turn. The other two do not depend on `cuts` but in what
        they call inner.
    cuts : sequence of int
        A cut c separates the variables up to c from those above; empty for plain Gauss-Seidel.
    variables : sequence of int
        The variables that are free to move.
    """
    part = [sum(c < v for c in cuts) for v in range(len(network.shapes))]
    edge = edges(network, part, variables)
    if order == "jacobi":
        colour = dict.fromkeys(variables, 0)
    else:
        colour = colours(network) if order == "two_colour" else colours(network, part, variables)
    found = []
    for c in sorted({colour[v] for v in variables}):
        here = sorted((v for v in variables if colour[v] == c), reverse=True)
        found.append(Phase(tuple(v for v in here if v not in edge), tuple(v for v in here if v in edge)))
    return found
