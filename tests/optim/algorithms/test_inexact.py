"""Inexact proximal gradient: the published bounds hold for errors of the whole size allowed, and constant errors stall."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paralift.optim.algorithms.inexact import InexactProximalGradient, summable
from paralift.optim.algorithms.proximal import FISTA, ProximalGradientDescent
from paralift.optim.algorithms.run import Run, StepError, Stop
from paralift.optim.denoising import TotalVariation
from paralift.optim.problems.analytic import AnalyticLasso
from paralift.optim.team import Alone

UPDATES = 300


class Careless(AnalyticLasso):
    """A lasso whose prox is wrong by exactly the accuracy, or by more, in a random direction."""

    least = 0.0

    def prox_within(self, x, step, accuracy):
        self.given = [*getattr(self, "given", []), accuracy]
        v = x.copy()
        self.prox(x, step)
        exact, away = x.copy(), np.random.default_rng(len(self.given)).standard_normal(x.size)

        def worse(size):
            p = exact + size * away
            return self.regularizer.value(p) + np.sum((p - v) ** 2) / (2 * step) - best

        best = self.regularizer.value(exact) + np.sum((exact - v) ** 2) / (2 * step)
        goal, low, high = max(accuracy, self.least), 0.0, 100.0
        for _ in range(100):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if worse(middle) <= goal else (low, middle)
        x[...] = exact + low * away


def gaps(algorithm, problem):
    """Return F(x_k) - F* for k = 1, 2, ..."""
    found = []

    def until(x):
        found.append(problem.value(x) + problem.penalty(x) - problem.optimum)
        return False

    algorithm.run(Run(problem, Alone(), problem.start.copy(), Stop(max_updates=UPDATES, until=until)))
    return np.array(found)


def bounds(accelerated, problem):
    """Return those of propositions 1 and 2 of Schmidt, Le Roux & Bach, L = 1."""
    k, eps = np.arange(1, UPDATES + 1), np.array(problem.given)
    weights = k if accelerated else np.ones_like(k)
    a, b = np.cumsum(weights * np.sqrt(2 * eps)), np.cumsum(weights**2 * eps)
    whole = (np.linalg.norm(problem.solution) + 2 * a + np.sqrt(2 * b)) ** 2
    return 2 * whole / (k + 1) ** 2 if accelerated else whole / (2 * k)


@pytest.mark.parametrize("accelerated", [False, True])
def test_rates_are_kept(accelerated):
    problem = Careless(condition=1e4, weight=0.01)
    found = gaps(InexactProximalGradient(accelerated), problem)
    if not accelerated:
        found = np.minimum.accumulate(found)
    assert np.all(found <= bounds(accelerated, problem))
    exact = gaps(FISTA(restart=None) if accelerated else ProximalGradientDescent(), AnalyticLasso(condition=1e4, weight=0.01))
    assert found[-1] <= 1.5 * exact[-1]


@pytest.mark.parametrize("accelerated", [False, True])
def test_constant_errors_stall(accelerated):
    exact, stalled = Careless(condition=100.0), Careless(condition=100.0)
    stalled.least = 0.1
    falling, staying = (gaps(InexactProximalGradient(accelerated, first=1e-4), p) for p in (exact, stalled))
    assert falling[-1] <= 0.01
    assert staying[-100:].min() >= 0.05
    assert staying[-100:].mean() >= 0.5 * staying[-200:-100].mean()  # as high as before


def test_without_errors_it_is_proximal_gradient_descent():
    problem, runs = AnalyticLasso(), []
    for algorithm in (InexactProximalGradient(), ProximalGradientDescent()):
        runs.append(Run(problem, Alone(), problem.start.copy(), Stop(max_updates=30)))
        algorithm.run(runs[-1])
    np.testing.assert_allclose(runs[0].x, runs[1].x, rtol=0, atol=1e-13)


def test_acceleration_is_faster():
    problem = AnalyticLasso(condition=1e4, weight=0.01)
    plain, fast = (gaps(InexactProximalGradient(accelerated), problem)[-1] for accelerated in (False, True))
    assert fast < 0.1 * plain


@pytest.mark.parametrize("accelerated", [False, True])
def test_total_variation_by_inner_loops(accelerated):
    """Steps of 1/2 instead of 1, which would be the prox itself."""
    noisy = np.repeat([0.0, 2.0, 1.0], 8) + 0.1 * np.random.default_rng(0).standard_normal(24)
    problem = TotalVariation(noisy, 0.5)
    run = Run(problem, Alone(), problem.start.copy(), Stop(max_updates=40))
    InexactProximalGradient(accelerated, step=0.5).run(run)
    best = noisy.copy()
    problem.prox(best, 1.0)

    def objective(x):
        return problem.value(x) + problem.penalty(x)

    assert abs(objective(run.x) - objective(best)) <= 1e-4 * objective(best)


@pytest.mark.parametrize(("accelerated", "power"), [(False, 2.1), (True, 4.1)])
def test_accuracies_fall_as_promised(accelerated, power):
    problem = Careless()
    start = problem.value(problem.start)
    gaps(InexactProximalGradient(accelerated, first=0.5), problem)
    assert problem.given == pytest.approx([summable(k, power, 0.5 * start) for k in range(1, UPDATES + 1)])
    assert summable(1, 3.0) == 1.0 and summable(2, 3.0, 16.0) == 2.0
    weight = 1.0 if accelerated else 0.0
    assert sum(k**weight * math.sqrt(summable(k, power)) for k in range(1, 10**5)) < 21  # less than zeta(1.05) = 20.6


def test_what_the_theory_forbids_is_refused():
    with pytest.raises(StepError, match="power = 2.0 .* plain steps need more than 2"):
        InexactProximalGradient(power=2.0)
    with pytest.raises(StepError, match="accelerated steps need more than 4"):
        InexactProximalGradient(accelerated=True, power=2.1)
    with pytest.raises(ValueError, match="first = 0"):
        InexactProximalGradient(first=0.0)
    problem = AnalyticLasso()
    with pytest.raises(StepError, match="at most 1/L"):
        InexactProximalGradient(step=1.5).run(Run(problem, Alone(), problem.start.copy()))
