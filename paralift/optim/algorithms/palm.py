"""Descent in blocks: a proximal gradient step of one block after the other, each with its own step; with inertia iPALM.

    x_j+ = prox_{r_j / c}(y - grad_j H(..., z, ...) / c),   y = x_j + a (x_j - x_j-),  z = x_j + b (x_j - x_j-),   c = gamma L_j

With a = b = 0 every move lowers H + r by (gamma - 1) L_j / 2 |x_j+ - x_j|^2 at least, and bounded iterates approach a
critical point where the Kurdyka-Lojasiewicz inequality holds. L_j depends on the other blocks and may vanish (gradients by a
factor whose partner is 0): it is kept within bounds, for 1 / L_j is a step.

References
----------
Bolte, Sabach & Teboulle, Math. Program. 146, 2014; Pock & Sabach, SIAM J. Imaging Sci. 9, 2016.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from paralift.kernels import arrays
from paralift.kernels.arrays import Array
from paralift.optim.algorithms.algorithm import Algorithm
from paralift.optim.algorithms.run import Run, StepError, length
from paralift.optim.checks import set_number
from paralift.optim.problems.blocks import BlockProblem

ORDERS = ("cyclic", "random")


@dataclass(frozen=True)
class PALM(Algorithm):
    """Proximal alternating linearised minimisation; with ``gamma=1`` block coordinate proximal gradient descent, for convex H.

    Parameters
    ----------
    gamma : float
        At least 1; more than 1 for a nonconvex H.
    order : {"cyclic", "random"}
        Of the blocks in a sweep; random ones repeat.
    lowest, highest : float
        Bounds of L_j.
    """

    gamma: float = 1.1
    order: str = "cyclic"
    lowest: float = 1e-8
    highest: float = math.inf

    def __post_init__(self) -> None:
        set_number(self, "gamma", low=1.0)
        set_number(self, "lowest")
        if self.order not in ORDERS:
            raise ValueError(
                f"{type(self).__name__}: order = {self.order!r} was given, expected one of {', '.join(map(repr, ORDERS))}"
            )
        if not 0 < self.lowest <= self.highest:
            raise ValueError(
                f"{type(self).__name__}: lowest = {self.lowest}, highest = {self.highest} were given, "
                "expected 0 < lowest <= highest"
            )

    def run(self, run: Run) -> None:
        """Sweep until the run stops: an update of the run is a sweep; its residual the length of all moves times their c."""
        problem, x = run.problem, run.x
        if not isinstance(problem, BlockProblem):
            raise TypeError(
                f"{type(self).__name__}: a problem of type {type(problem).__name__} was given, "
                "expected a BlockProblem: LinearBlocks(model, n)"
            )
        problem.begin(x)
        before = x.copy()
        ahead, gradient = arrays.empty(x.shape, x), arrays.empty(x.shape, x)
        rng, sweep = np.random.default_rng(run.seed), 0
        while True:
            squares = 0.0
            for j in self._blocks(len(problem.blocks), rng):
                squares += self._move(run, problem, j, sweep, before, ahead, gradient) ** 2
            sweep += 1
            if not run.goes_on(x, math.sqrt(squares)):
                return

    def _blocks(self, n: int, rng: np.random.Generator) -> Iterator[int]:
        return iter(range(n)) if self.order == "cyclic" else iter(rng.integers(n, size=n).tolist())

    def _move(self, run: Run, problem: BlockProblem, j: int, sweep: int, before: Array, ahead: Array, gradient: Array) -> float:
        """Move block j; return c |x_j+ - x_j|."""
        x, block = run.x, problem.blocks[j]
        own, old, change = x[block], before[block], ahead[block]
        start, slope = self._inertia(sweep)
        change[...] = own - old
        old[...] = own
        if slope:
            own += slope * change
            problem.moved(j, x, slope * change)
        constant = min(max(run.team.sums(problem.block_lipschitz(j, x))[0], self.lowest), self.highest)
        problem.block_gradient(j, x, gradient[block])
        run.team.sum(gradient[block])
        factor = self._factor(constant, start, slope)
        own[...] = old
        if slope:
            problem.moved(j, x, -slope * change)
        own += start * change
        own -= gradient[block] / factor
        problem.parts[j].prox(own, 1.0 / factor)
        change[...] = own - old
        problem.moved(j, x, change)
        return factor * length(change)

    def _inertia(self, sweep: int) -> tuple[float, float]:
        """Return a and b."""
        return 0.0, 0.0

    def _factor(self, constant: float, start: float, slope: float) -> float:
        """Return c."""
        return self.gamma * constant


@dataclass(frozen=True)
class IPALM(PALM):
    """Inertial PALM.

    c = ((1 + eps) delta + (1 + b) L_j) / (2 - a), delta = (a + 2 b) / (2 (1 - eps - a)) L_j for convex r_j; for any r_j with
    1 - a below, and delta = (a + b) / (1 - eps - 2 a) L_j, a < (1 - eps) / 2.

    Parameters
    ----------
    inertia : float or None
        a = b; None for (k - 1) / (k + 2) with c = gamma L_j, which is often the fastest, without a proof.
    convex : bool
        Whether all r_j are convex.
    eps : float
    gamma, order, lowest, highest
        See `PALM`.
    """

    inertia: float | None = 0.2
    convex: bool = True
    eps: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        set_number(self, "eps", below=1.0)
        if self.inertia is None:
            return
        most = 1.0 - self.eps if self.convex else 0.5 * (1.0 - self.eps)
        if not 0 <= self.inertia < most or (self.convex and self.inertia == 0):
            least = "0 < inertia" if self.convex else "0 <= inertia"  # a = b = 0 is a step of 2/L there, which swings
            text = f"expected {least} < {most:g}, or None; PALM has none"
            raise StepError(f"IPALM: inertia = {self.inertia} was given, {text}")

    def _inertia(self, sweep: int) -> tuple[float, float]:
        a = max(sweep - 1, 0) / (sweep + 2) if self.inertia is None else self.inertia
        return a, a

    def _factor(self, constant: float, start: float, slope: float) -> float:
        if self.inertia is None:
            return self.gamma * constant
        if self.convex:
            delta = (start + 2 * slope) / (2 * (1 - self.eps - start)) * constant
            return ((1 + self.eps) * delta + (1 + slope) * constant) / (2 - start)
        delta = (start + slope) / (1 - self.eps - 2 * start) * constant
        return ((1 + self.eps) * delta + (1 + slope) * constant) / (1 - start)
