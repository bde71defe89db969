"""Proximal gradient descent and FISTA: known numbers of updates, the bounds of their theory at every update, refusals."""

import math

import numpy as np
import pytest
from u1 import U1, gap, gaps, start, updates

from paralift.optim import L1
from paralift.optim.algorithms import FISTA, ProximalGradientDescent
from paralift.optim.algorithms.run import Diverged, Run, StepError, Stop
from paralift.optim.problems import CompositeProblem, LeastSquares
from paralift.optim.team import Alone

L, MU = 1.0, 0.01
R2 = float(U1.solution @ U1.solution)
K = np.arange(1, 401)


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (ProximalGradientDescent(), 635), (FISTA(restart=None), 392), (FISTA(), 85), (FISTA(restart="value"), 86),
        (FISTA(strongly_convex=MU), 88), (FISTA(strongly_convex=0.0), 88),
    ],
)  # fmt: skip
def test_known_numbers_of_updates(algorithm, expected):
    """They are counted from 0 where they were found."""
    assert updates(algorithm) == expected + 1


def test_backtracking_finds_the_step():
    assert updates(FISTA(restart=None, backtracking=True)) == pytest.approx(397, rel=0.02)
    run = start()
    FISTA(backtracking=True, step=64.0).run(run)
    assert 0.5 / L <= run.facts["step"] <= 2.0 / L and gap(run.x) <= 1e-8


def test_bounds_of_proximal_gradients_hold_at_every_update():
    found = gaps(ProximalGradientDescent(), len(K))[1:]
    assert (found <= L * R2 / (2 * K)).all() and (found <= (1 - MU / L) ** K * L * R2 / 2).all()
    assert (np.diff(found) <= 1e-12 * U1.optimum).all()


@pytest.mark.parametrize(("algorithm", "growth"), [(FISTA(restart=None), 1.0), (FISTA(restart=None, backtracking=True), 2.0)])
def test_bounds_of_fista_hold_at_every_update(algorithm, growth):
    assert (gaps(algorithm, len(K))[1:] <= growth * 2 * L * R2 / (K + 1) ** 2).all()


def test_bound_of_strongly_convex_fista_holds_at_every_update():
    found = gaps(FISTA(strongly_convex=MU), len(K))
    bound = (1 - math.sqrt(MU / L)) ** K * (found[0] + MU * R2 / 2)
    assert (found[1:] <= bound + 1e-12 * U1.optimum).all()


def test_residual_ends_a_run_near_the_answer():
    run = Run(U1, Alone(), np.zeros(20), Stop(1e-9, 10_000))
    FISTA().run(run)
    assert run.reason == "tolerance" and np.abs(run.x - U1.solution).max() < 1e-7  # mu = 0.01
    run = Run(U1, Alone(), np.zeros(20), Stop(1e-9, 7))
    FISTA().run(run)
    assert (run.reason, run.updates) == ("updates", 7)


@pytest.mark.parametrize(
    ("algorithm", "text"),
    [
        (ProximalGradientDescent(step=2.0), "step < 2/L, L = 1: .*less than 2"),
        (ProximalGradientDescent(step=-1.0), "step = -1 was given"),
        (FISTA(step=1.5), "acceleration needs a step <= 1/L"),
        (FISTA(strongly_convex=3.0), "needs 0 < mu <= L = 1, mu = 3"),
    ],
)  # fmt: skip
def test_steps_beyond_the_theory_are_refused(algorithm, text):
    with pytest.raises(StepError, match=text):
        algorithm.run(start())


def test_a_longer_step_diverges():
    x, g = np.zeros(20), np.empty(20)
    for _ in range(60):
        U1.gradient(x, g)
        x -= 8.0 * g
        U1.prox(x, 8.0)
    assert not gap(x) < 1e10


def test_wrong_arguments():
    with pytest.raises(ValueError, match="restart = 'often' was given"):
        FISTA(restart="often")
    with pytest.raises(ValueError, match="growth = 1.0"):
        FISTA(growth=1.0)
    with pytest.raises(ValueError, match="backtracking and strongly_convex"):
        FISTA(backtracking=True, strongly_convex=0.1)


def test_backtracking_on_what_is_not_finite_ends():
    class Wrong(CompositeProblem):
        def value(self, x):
            return float("nan")

        def gradient(self, x, out, rows=None):
            out[...] = x

    with pytest.raises(StepError, match="found no step"):
        FISTA(backtracking=True).run(Run(Wrong(np.ones(3)), Alone(), np.ones(3)))


def test_what_is_not_finite_ends_a_run():
    class Bad(LeastSquares):
        def gradient(self, x, out, rows=None):
            out[...] = np.nan

    problem = Bad(np.eye(3), np.ones(3), L1(0.1))
    with pytest.raises(Diverged, match="update 1: the unknowns are not finite"):
        ProximalGradientDescent().run(Run(problem, Alone(), np.zeros(3)))
