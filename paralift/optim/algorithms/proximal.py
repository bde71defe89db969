"""Proximal gradient steps on the whole problem, plain and accelerated; one sum over ranks an update.

    x+ = prox_{t r}(y - t grad f(y)),        y+ = x+ + m (x+ - x)

plain: m = 0. Accelerated: m = (t - 1) / t+, t+ = (1 + sqrt(1 + 4 t^2)) / 2, set back to t = 1 where the momentum points
uphill; for a strongly convex f a constant m = (sqrt L - sqrt mu) / (sqrt L + sqrt mu).

References
----------
Beck & Teboulle, SIAM J. Imaging Sci. 2, 2009 (the methods, the bounds 2.1 and 4.4); O'Donoghue & Candes, Found. Comput. Math.
15, 2015 (restarts); Beck, First-Order Methods in Optimization, 2017, section 10.7.7 (strongly convex).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from paralift.kernels import arrays
from paralift.kernels.arrays import Array
from paralift.optim.algorithms.algorithm import Algorithm
from paralift.optim.algorithms.run import Run, StepError, checked_step, inner, length

RESTARTS = ("gradient", "value", None)
SLACK = 1e-12
"""Of |f|, in the test of a step by backtracking: with none, rounding alone makes steps ever shorter (L of U1: 1 to 2.7e11)."""


@dataclass(frozen=True)
class ProximalGradientDescent(Algorithm):
    """Proximal gradient descent: x+ = prox_{t r}(x - t grad f(x)), with t = 1/L, or less than 2/L.

    With t = 1/L, F(x_k) - F* <= L |x_0 - x*|^2 / (2 k), and times (1 - mu/L)^k for a strongly convex f.

    Parameters
    ----------
    step : float, optional
    """

    step: float | None = None

    def run(self, run: Run) -> None:
        """Take steps until the run stops; the residual is |x+ - x| / t."""
        lipschitz = run.lipschitz()
        step = checked_step(
            self.step, 1.0 / lipschitz, 2.0 / lipschitz, f"proximal gradient descent needs a step < 2/L, L = {lipschitz:g}"
        )
        run.facts["step"] = step
        gradient, old = arrays.empty(run.x.shape, run.x), arrays.empty(run.x.shape, run.x)
        while True:
            run.gradient(run.x, gradient)
            old[...] = run.x
            _descend(run, run.x, gradient, step)
            old -= run.x
            if not run.goes_on(run.x, length(old) / step):
                return


@dataclass(frozen=True)
class FISTA(Algorithm):
    """Accelerated proximal gradient descent.

    F(x_k) - F* <= 2 L |x_0 - x*|^2 / (k + 1)^2 without restarts (times `growth` when backtracking); with `strongly_convex`
    (1 - sqrt(mu/L))^k (F_0 - F* + mu/2 |x_0 - x*|^2).

    Parameters
    ----------
    step : float, optional
        At most 1/L; 1/L by default. With `backtracking` the first step that is tried, 1 by default.
    restart : {"gradient", "value", None}
        What sets the momentum back: <y - x+, x+ - x> > 0, or F that rises (costs a value of f an update).
    backtracking : bool
        Find the step by trial: it becomes `growth` times shorter until f(x+) <= f(y) + <grad f(y), x+ - y> + |x+ - y|^2 / (2
        t).
    growth : float
    strongly_convex : float, optional
        mu, for a constant momentum; 0 takes what the problem knows.
    """

    step: float | None = None
    restart: str | None = "gradient"
    backtracking: bool = False
    growth: float = 2.0
    strongly_convex: float | None = None

    def __post_init__(self) -> None:
        if self.restart not in RESTARTS:
            raise ValueError(f"FISTA: restart = {self.restart!r} was given, expected one of {', '.join(map(repr, RESTARTS))}")
        if not self.growth > 1:
            raise ValueError(f"FISTA: growth = {self.growth} was given, expected a number greater than 1")
        if self.backtracking and self.strongly_convex is not None:
            raise ValueError(
                "FISTA: backtracking and strongly_convex were given; the constant momentum needs a known L: leave one out"
            )

    def run(self, run: Run) -> None:
        """Take steps until the run stops; the residual is |x+ - y| / t."""
        step = self._first_step(run)
        momentum = self._constant(run, step) if self.strongly_convex is not None else _Momentum()
        x, old, y, gradient = run.x, *(arrays.empty(run.x.shape, run.x) for _ in range(3))
        y[...] = x
        value, restarts = math.inf, 0
        while True:
            run.gradient(y, gradient)
            old[...] = x
            step = self._move(run, x, y, gradient, step)
            ahead = x - y
            uphill = self.restart == "gradient" and -inner(ahead, x - old) > 0
            if self.restart == "value":
                now = run.objective(x)
                uphill, value = now > value, now
            if uphill and not isinstance(momentum, _Constant):
                momentum.restart()
                restarts += 1
            if not run.goes_on(x, length(ahead) / step):
                run.facts.update(step=step, restarts=restarts)
                return
            y[...] = x
            y += next(momentum) * (x - old)

    def _first_step(self, run: Run) -> float:
        if self.backtracking:
            return 1.0 if self.step is None else self.step
        lipschitz = run.lipschitz()
        limit = (1.0 + 1e-9) / lipschitz
        return checked_step(self.step, 1.0 / lipschitz, limit, f"acceleration needs a step <= 1/L, L = {lipschitz:g}")

    def _constant(self, run: Run, step: float) -> _Constant:
        mu = self.strongly_convex or run.strong_convexity()
        if not 0 < mu <= 1.0 / step:
            raise StepError(
                f"FISTA: strongly_convex needs 0 < mu <= L = {1 / step:g}, mu = {mu:g}; leave it out, restarts need none"
            )
        root = math.sqrt(mu * step)
        return _Constant((1.0 - root) / (1.0 + root))

    def _move(self, run: Run, x: Array, y: Array, gradient: Array, step: float) -> float:
        """Write prox(y - t gradient) into `x`; return t, shortened where it was too long."""
        value = run.smooth(y) if self.backtracking else 0.0
        while True:
            x[...] = y
            _descend(run, x, gradient, step)
            if not self.backtracking:
                return step
            ahead = x - y
            bound = value + inner(gradient, ahead) + inner(ahead, ahead) / (2.0 * step) + SLACK * abs(value)
            if run.smooth(x) <= bound:
                return step
            step /= self.growth
            if step < 1e-300:
                raise StepError("FISTA: backtracking found no step; the gradient is not that of the value, or not finite")


class _Momentum(Iterator[float]):
    """The factors (t - 1) / t+."""

    def __init__(self) -> None:
        self.t = 1.0

    def __next__(self) -> float:
        before, self.t = self.t, 0.5 * (1.0 + math.sqrt(1.0 + 4.0 * self.t * self.t))
        return (before - 1.0) / self.t

    def restart(self) -> None:
        """Forget the past."""
        self.t = 1.0


class _Constant(Iterator[float]):
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __next__(self) -> float:
        return self.factor

    def restart(self) -> None:
        """Do nothing: there is no past in it."""


def _descend(run: Run, x: Array, gradient: Array, step: float) -> None:
    """Overwrite `x` by prox_{t r}(x - t gradient); `gradient` is used up."""
    gradient = gradient * step
    x -= gradient
    run.problem.prox(x, step)
