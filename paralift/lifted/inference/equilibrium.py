"""Iterations to an equilibrium: until the variables stand still, to a tolerance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from paralift.kernels.arrays import Array, empty, namespace
from paralift.lifted.exchange import Neighbours
from paralift.lifted.inference.lifted import LiftedWindow
from paralift.lifted.inference.proxgrad import ProximalGradient


@dataclass(frozen=True)
class Equilibrium(ProximalGradient):
    """Proximal gradient iterations until all variables together move by less than a share of their size.

    Moves are summed over stages and shards, so that all ranks stop together; P ranks find what one rank finds to the
    tolerance.

    Parameters
    ----------
    iterations : int
        At most.
    tolerance : float
        |x - x_before| <= tolerance |x|, root mean squares over all free variables of the batch.
    """

    iterations: int = 100
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.tolerance < math.inf:
            raise ValueError(f"Equilibrium: tolerance is {self.tolerance}, expected a finite number greater than 0")

    def before(self, window: LiftedWindow) -> None:
        """Keep what the variables are before an iteration."""
        for v in _free(window):
            if v not in window.before:
                window.before[v] = empty(window.x[v].shape, window.x[v])
            window.before[v][...] = window.x[v]

    def settled(self, window: LiftedWindow, neighbours: Neighbours) -> bool:
        """Return whether the variables of all samples stand still; collective over stages and shards."""
        sums = np.zeros(2)
        for v in _free(window):
            sums += float(_square(window.x[v] - window.before[v])), float(_square(window.x[v]))
        moved, size = neighbours.sum_shards(neighbours.sum_stages(sums))
        return bool(moved <= self.tolerance**2 * size)


def _free(window: LiftedWindow) -> list[int]:
    clamped = {window.last} if window.roles.loss is not None else set()
    mine = set(window.own) | ({0} if window.stage.has_input else set())
    return sorted(mine - window.roles.fixed - clamped)


def _square(a: Array) -> Array:
    return namespace(a).sum(a * a)
