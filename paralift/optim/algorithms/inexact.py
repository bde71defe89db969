"""Proximal gradient steps whose prox is itself the result of a loop, with errors that do no harm.

x+ is a point whose r(x) + |x - (y - t grad f(y))|^2 / (2 t) is least up to eps_k. The rates of exact steps are kept

    plain:        1/k     if sum_k sqrt(eps_k) is finite:       eps_k = O(k^-(2 + d)), d > 0
    accelerated:  1/k^2   if sum_k k sqrt(eps_k) is finite:     eps_k = O(k^-(4 + d)), d > 0

and for a strongly convex f the linear rates, as far as eps_k falls as fast. Errors that stay the same leave F above F*.
With L = 1/t and R = |x_0 - x*|,

    plain:        min_{i<=k} F(x_i) - F* <= L/(2k) (R + 2 A + sqrt(2 B))^2,    A = sum sqrt(2 eps_i / L),    B = sum eps_i / L
    accelerated:  F(x_k) - F* <= 2 L/(k+1)^2 (R + 2 A + sqrt(2 B))^2,    A = sum i sqrt(2 eps_i / L),    B = sum i^2 eps_i / L

References
----------
Schmidt, Le Roux & Bach, NIPS 2011, propositions 1 and 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from paralift.kernels import arrays
from paralift.optim.algorithms.algorithm import Algorithm
from paralift.optim.algorithms.run import Run, StepError, checked_step, length
from paralift.optim.checks import set_number

POWERS = {False: 2.0, True: 4.0}
"""What the power of k must be above, plain and accelerated."""


def summable(k: int, power: float, first: float = 1.0) -> float:
    """Return first / k^power, the accuracy of update k = 1, 2, ..."""
    return first / k**power


@dataclass(frozen=True)
class InexactProximalGradient(Algorithm):
    """Proximal gradient descent, plain or accelerated, with ``problem.prox_within(x, step, accuracy)``.

    Parameters
    ----------
    accelerated : bool
    step : float, optional
        At most 1/L; 1/L by default.
    first : float
        The accuracy of the first update, by |F(x_0)|.
    power : float, optional
        Accuracies fall as k^-power; 2.1 by default, 4.1 with acceleration.
    """

    accelerated: bool = False
    step: float | None = None
    first: float = 0.01
    power: float | None = None

    def __post_init__(self) -> None:
        set_number(self, "first", low=1e-300)
        least = POWERS[self.accelerated]
        if self.power is not None and not least < self.power < math.inf:
            kind = "accelerated" if self.accelerated else "plain"
            raise StepError(
                f"InexactProximalGradient: power = {self.power} was given, but {kind} steps need more than {least:g}"
            )

    def run(self, run: Run) -> None:
        """Take steps until the run stops; the residual is |x+ - y| / t."""
        lipschitz = run.lipschitz()
        limit = (1.0 + 1e-9) / lipschitz
        step = checked_step(self.step, 1.0 / lipschitz, limit, f"inexact steps must be at most 1/L, L = {lipschitz:g}")
        power = POWERS[self.accelerated] + 0.1 if self.power is None else self.power
        first = self.first * (abs(run.objective(run.x)) or 1.0)
        x, y, old, gradient = run.x, *(arrays.empty(run.x.shape, run.x) for _ in range(3))
        y[...] = x
        while True:
            k = run.updates + 1
            accuracy = summable(k, power, first)
            run.gradient(y, gradient)
            gradient *= step
            old[...] = x
            x[...] = y
            x -= gradient
            run.problem.prox_within(x, step, accuracy)
            y -= x
            run.facts.update(step=step, accuracy=accuracy)
            if not run.goes_on(x, length(y) / step):
                return
            y[...] = x
            if self.accelerated:
                old -= x
                old *= -(k - 1.0) / (k + 2.0)
                y += old
