"""Consensus ADMM: ranks solve problems of their own, and one sum an update makes them agree.

x_i = argmin f_i(x) + rho_i/2 |x - z + u_i|^2                           on each rank
v_i = a x_i + (1 - a) z,    z+ = prox_{r / R}( sum_i rho_i (v_i + u_i) / R ),    R = sum_i rho_i
u_i+ = u_i + v_i - z+                                                   times the old rho_i by the new, where it changes

With equal rho_i, z+ = prox_{r / (n rho)}(mean of v_i + u_i). It converges for any rho > 0 and any relaxation 0 < a < 2; the
speed depends on rho much.

References
----------
Boyd, Parikh, Chu, Peleato & Eckstein, Found. Trends Mach. Learn. 3, 2011, section 7; Eckstein & Bertsekas, Math. Program. 55,
1992 (relaxation, and x_i with errors that have a finite sum); Xu, Taylor, Li, Figueiredo, Yuan & Goldstein, ICML 2017 (rho_i).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from paralift.kernels import arrays
from paralift.kernels.arrays import Array
from paralift.optim.algorithms.algorithm import Algorithm
from paralift.optim.algorithms.inexact import summable
from paralift.optim.algorithms.inner import approach
from paralift.optim.algorithms.penalty import Penalty
from paralift.optim.algorithms.run import Run, StepError, inner, length

CONDITION = 100.0
"""L/mu that the default rho supposes where mu is not known."""
NUMBERS = 3
"""Numbers that travel behind the vector of the sum: rho_i, rho_i^2, |x_i - z|^2."""
REDUCTION = 0.1
"""Of an inner loop's bound at the first update; it falls as k^-2.1, so that square roots, errors of x_i, have a finite sum."""


@dataclass(frozen=True)
class ConsensusADMM(Algorithm):
    """Alternating direction method of multipliers with a copy of the unknowns on each rank.

    Parameters
    ----------
    rho : float, optional
        The penalty, or the first one; sqrt(mu L) by default, with the means over ranks of the constants of f_i.
    relaxation : float
        a, between 0 and 2.
    spectral : bool
        Whether each rank adapts its rho_i to the curvatures that it meets (see `Penalty`).
    """

    rho: float | None = None
    relaxation: float = 1.6
    spectral: bool = True

    def __post_init__(self) -> None:
        if self.rho is not None and not 0 < self.rho < math.inf:
            raise StepError(f"ConsensusADMM: rho = {self.rho} was given, expected a finite number greater than 0")
        if not 0 < self.relaxation < 2:
            raise StepError(f"ConsensusADMM: relaxation = {self.relaxation} was given, expected more than 0 and less than 2")

    def run(self, run: Run) -> None:
        """Update until the run stops; the result is z.

        The residual is the larger of r = sqrt(sum_i |x_i - z|^2), with the z before the update so that squares travel with the
        one sum, and s = sqrt(sum_i rho_i^2) |z+ - z|.
        """
        penalty = Penalty(self._first_rho(run), self.spectral)
        z, solve = run.x, _Local(run)
        x, u, v, gradient, old = (arrays.empty(z.shape, z) for _ in range(5))
        message = arrays.empty((z.size + NUMBERS,), z)
        x[...] = z
        u[...] = 0
        while True:
            rho = penalty.rho
            v[...] = z
            v -= u
            solve(v, rho, x)
            gradient[...] = v
            gradient -= x
            gradient *= rho
            old[...] = z
            v[...] = x
            v -= z
            message[-1] = inner(v, v)
            v *= self.relaxation
            v += z
            v += u
            total, squares, gap = self._agree(run, message, v, rho)
            z /= total
            run.problem.prox(z, 1.0 / total)
            u[...] = v
            u -= z
            old -= z
            v[...] = u
            v *= rho
            now = penalty.update(run.updates + 1, x, gradient, z, v)
            if now != rho:
                u *= rho / now
            primal, dual = math.sqrt(gap), math.sqrt(squares) * length(old)
            run.facts.update(rho=now, primal=primal, dual=dual)
            if not run.goes_on(z, max(primal, dual)):
                return

    def _agree(self, run: Run, message: Array, v: Array, rho: float) -> tuple[float, float, float]:
        """Sum rho_i v_i over ranks into ``run.x``; return the sums of rho_i, rho_i^2 and of what stands last in the message."""
        message[: v.size] = rho * v.reshape(-1)
        message[v.size], message[v.size + 1] = rho, rho * rho
        run.team.sum(message)
        run.x[...] = message[: v.size].reshape(v.shape)
        return float(message[v.size]), float(message[v.size + 1]), float(message[v.size + 2])

    def _first_rho(self, run: Run) -> float:
        if self.rho is not None:
            return self.rho
        lipschitz = run.team.sums(run.problem.lipschitz())[0] / run.team.size
        mu = run.strong_convexity() / run.team.size or lipschitz / CONDITION
        rho = math.sqrt(mu * lipschitz)
        if not 0 < rho < math.inf:
            raise StepError(f"ConsensusADMM: no rho is known for a Lipschitz constant of {lipschitz}; give rho")
        return rho


class _Local:
    """Solves for x_i: in closed form, else by an inner loop from where x_i was."""

    def __init__(self, run: Run) -> None:
        self.run, self.lipschitz = run, 0.0

    def __call__(self, centre: Array, rho: float, x: Array) -> None:
        """Overwrite `x` by argmin f_i + rho/2 |x - centre|^2, or by a point near to it."""
        problem = self.run.problem
        if problem.nearest(centre, rho, x):
            return
        self.lipschitz = self.lipschitz or problem.lipschitz()
        reduction = summable(self.run.updates + 1, 2.1, REDUCTION)
        approach(problem.gradient, None, centre, rho, self.lipschitz, x, reduction)
