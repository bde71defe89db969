"""Decentralised proximal gradient: each rank has a copy x_i of the unknowns and exchanges one vector an update with neighbours.

minimise  sum_i ( f_i(x_i) + r(x_i) / n )  such that all x_i are equal:

this is F, with a share r / n of the regulariser on each rank, so that a step `al` of a rank needs prox_{al r / n}. W are the
Metropolis weights of a graph of ranks, W' = (I + W) / 2, g_k the gradient of f_i at x_k, prox = prox_{al r / n}:

NIDS:      z_1 = x_0 - al g_0,      z_{k+1} = z_k - x_k + W' (2 x_k - x_{k-1} - al (g_k - g_{k-1})),      x_k = prox(z_k)
PG-EXTRA:  z_1 = W x_0 - al g_0,    z_{k+1} = z_k + W x_k - W' x_{k-1} - al (g_k - g_{k-1}),              x_k = prox(z_k)

Sums over ranks of z_k - x_{k-1} + al g_{k-1} stay 0, so that copies that agree and rest solve the problem. The steps of the
theory are those of one rank's f_i: L = max_i L_i, between 1/n of the constant of f and all of it.

References
----------
Li, Shi & Yan, IEEE Trans. Signal Process. 67, 2019 (NIDS); Shi, Ling, Wu & Yin, IEEE Trans. Signal Process. 63, 2015
(PG-EXTRA).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import networkx as nx
import numpy as np

from paralift.kernels import arrays
from paralift.kernels.arrays import Array
from paralift.optim.algorithms.algorithm import Algorithm
from paralift.optim.algorithms.run import Run, StepError, checked_step, inner
from paralift.optim.checks import set_count
from paralift.optim.gossip import Mixing
from paralift.optim.graphs import checked, metropolis

SAFETY = 0.99
"""Of the limit of the theory, the default step."""
Pairs = tuple[tuple[Array, Array], tuple[Array, Array]]
"""Arrays that are equal at a solution: the new and the old point, and two that differ where neighbours do."""


@dataclass(frozen=True)
class Decentralised(Algorithm):
    """Base of the methods of this file.

    Parameters
    ----------
    graph : networkx.Graph or callable
        A connected graph of the ranks 0 to n - 1, or a function of n that returns one, such as `ring`.
    step : float, optional
        0.99 of the limit by default.
    looks : int
        Updates between two sums over ranks of the residual; nothing else is known to all of them. With a `Stop.until` or a
        limit of seconds ranks agree at every update.
    """

    graph: nx.Graph | Callable[[int], nx.Graph]
    step: float | None = None
    looks: int = 10

    def __post_init__(self) -> None:
        set_count(self, "looks", 1)

    def run(self, run: Run) -> None:
        """Update until the run stops, then leave the mean over ranks.

        The residual is the length of (x+ - x, differences of neighbours) of all ranks, by the step. A user's `until` sees the
        first rank's own copy; objectives of the history are those of the mean.
        """
        weights = metropolis(checked(self.graph, run.team.size))
        lipschitz = run.team.largest(run.problem.lipschitz())
        if not (lipschitz > 0 and math.isfinite(lipschitz)):
            raise StepError(f"the largest Lipschitz constant of the ranks' f_i is {lipschitz}: no step is safe")
        limit, condition = self.limit(weights, lipschitz)
        step = checked_step(self.step, SAFETY * limit, limit, f"{type(self).__name__} needs a step < {condition}")
        run.facts["step"] = step
        run.averaged = True
        residual = math.inf
        for pairs in self.updates(run, weights, step):
            if run.updates % self.looks == 0:
                residual = _distance(run, pairs) / step
            if not run.goes_on(run.x, residual):
                break
        run.mean(run.x)

    def limit(self, weights: np.ndarray, lipschitz: float) -> tuple[float, str]:
        """Return what steps must stay below, as a number and as a text."""
        raise NotImplementedError

    def updates(self, run: Run, weights: np.ndarray, step: float) -> Iterator[Pairs]:
        """Yield after every update of ``run.x``."""
        raise NotImplementedError


@dataclass(frozen=True)
class NIDS(Decentralised):
    """Network-independent step sizes: a step < 2/L converges on any connected graph.

    Residuals fall as 1/k, and linearly for a smooth and strongly convex F.
    """

    def limit(self, weights: np.ndarray, lipschitz: float) -> tuple[float, str]:
        """Return 2/L."""
        return 2.0 / lipschitz, f"2/L on any graph, L = {lipschitz:g} of a rank"

    def updates(self, run: Run, weights: np.ndarray, step: float) -> Iterator[Pairs]:
        """Exchange x_k + s_k - s_{k-1} with s_k = x_k - step g_k."""
        mix, x, share = Mixing(run.team, 0.5 * (weights + np.eye(len(weights)))), run.x, step / run.team.size
        z, old, s, s_old, sent, mixed = (arrays.empty(x.shape, x) for _ in range(6))
        _forward(run, x, step, s_old)
        z[...] = s_old
        old[...] = x
        x[...] = z
        run.problem.prox(x, share)
        yield (x, old), (x, old)
        while True:
            _forward(run, x, step, s)
            sent[...] = x
            sent += s
            sent -= s_old
            mix(sent, mixed)
            z += mixed
            z -= x
            old[...] = x
            x[...] = z
            run.problem.prox(x, share)
            s, s_old = s_old, s
            yield (x, old), (sent, mixed)


@dataclass(frozen=True)
class PGExtra(Decentralised):
    """Proximal exact first-order algorithm: a step < 2 lambda_min(W') / L, which depends on the graph; residuals: 1/k."""

    def limit(self, weights: np.ndarray, lipschitz: float) -> tuple[float, str]:
        """Return 2 lambda_min(W') / L."""
        least = 0.5 * (1.0 + float(np.linalg.eigvalsh(weights)[0]))
        return (
            2.0 * least / lipschitz,
            f"2 lambda/L, lambda = {least:g} of this graph, L = {lipschitz:g} of a rank",
        )

    def updates(self, run: Run, weights: np.ndarray, step: float) -> Iterator[Pairs]:
        """Exchange x_k; W' x_{k-1} is kept from the exchange before."""
        mix, x, share = Mixing(run.team, weights), run.x, step / run.team.size
        z, old, gradient, gradient_old, mixed, half = (arrays.empty(x.shape, x) for _ in range(6))
        run.problem.gradient(x, gradient_old)
        mix(x, mixed)
        z[...] = mixed
        z -= step * gradient_old
        while True:
            half[...] = x
            half += mixed
            half *= 0.5
            old[...] = x
            x[...] = z
            run.problem.prox(x, share)
            yield (x, old), (old, mixed)
            run.problem.gradient(x, gradient)
            mix(x, mixed)
            z += mixed
            z -= half
            gradient_old -= gradient
            gradient_old *= step
            z += gradient_old
            gradient, gradient_old = gradient_old, gradient


def _forward(run: Run, x: Array, step: float, out: Array) -> None:
    """Write x - step grad f_i(x) into `out`."""
    run.problem.gradient(x, out)
    out *= -step
    out += x


def _distance(run: Run, pairs: Pairs) -> float:
    squares = [inner(a - b, a - b) for a, b in pairs]
    return math.sqrt(run.team.sums(sum(squares))[0])
