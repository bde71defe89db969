"""Damped least squares: closed forms of `nearest`, dense and sparse, wide and tall, for any damping."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from paralift.optim.algorithms.inner import approach
from paralift.optim.problems import linear
from paralift.optim.problems.damped import Damped
from paralift.optim.problems.linear import LeastSquares, Logistic
from paralift.optim.regularizers import L1

RNG = np.random.default_rng(0)
SHAPES = [(12, 5), (5, 12), (1, 4), (6, 6)]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rho", [1e-6, 1e-2, 1.0, 1e6])
def test_nearest_solves_the_normal_equations(sparse, shape, rho):
    rows, targets, centre = RNG.standard_normal(shape), RNG.standard_normal(shape[0]), RNG.standard_normal(shape[1])
    problem = LeastSquares(csr_array(rows) if sparse else rows, targets, scale=0.3)
    x, slope = np.empty(shape[1]), np.empty(shape[1])
    assert problem.nearest(centre, rho, x)
    problem.gradient(x, slope)
    np.testing.assert_allclose(slope + rho * (x - centre), 0.0, rtol=0, atol=1e-10 * (1 + rho))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 9])
def test_nearest_of_some_samples(sparse, batch):
    rows, targets, centre = RNG.standard_normal((12, 5)), RNG.standard_normal(12), RNG.standard_normal(5)
    problem = LeastSquares(csr_array(rows) if sparse else rows, targets)
    chosen = RNG.choice(12, batch, replace=False)
    x = np.empty(5)
    assert problem.nearest(centre, 0.2, x, chosen)
    part = rows[chosen]
    np.testing.assert_allclose(x, np.linalg.solve(part.T @ part + 0.2 * np.eye(5), part.T @ targets[chosen] + 0.2 * centre))


def test_one_factor_serves_all_dampings(monkeypatch):
    made = []

    def counted(rows, scale):
        made.append(rows.shape)
        return Damped(rows, scale)

    monkeypatch.setattr(linear, "Damped", counted)
    problem, x = LeastSquares(RNG.standard_normal((6, 4)), np.ones(6)), np.empty(4)
    for rho in (0.1, 1.0, 10.0):
        assert problem.nearest(np.zeros(4), rho, x)
    assert made == [(6, 4)]


def test_problems_without_closed_form_say_so(monkeypatch):
    x = np.full(4, 7.0)
    assert not Logistic(RNG.standard_normal((6, 4)), np.ones(6)).nearest(np.zeros(4), 1.0, x)
    monkeypatch.setattr(linear, "DENSE", 3)
    assert not LeastSquares(RNG.standard_normal((6, 4)), np.ones(6)).nearest(np.zeros(4), 1.0, x)
    np.testing.assert_array_equal(x, 7.0)


@pytest.mark.parametrize("weight", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("prox", [None, L1(0.4, on="all").apply], ids=["smooth", "l1"])
def test_the_inner_loop_comes_as_near_as_it_says(weight, prox):
    rows, centre = RNG.standard_normal((8, 5)), RNG.standard_normal(5)
    problem = LeastSquares(rows, RNG.standard_normal(8))

    def solve(reduction):
        x = np.zeros(5)
        return x, approach(problem.gradient, prox, centre, weight, problem.lipschitz(), x, reduction)

    def value(x):
        return problem.value(x) + (0.4 * np.abs(x).sum() if prox else 0.0) + 0.5 * weight * np.sum((x - centre) ** 2)

    (best, _), gaps, turns = solve(1e-24), [], []
    for reduction in (1e-1, 1e-4, 1e-8):
        x, n = solve(reduction)
        gaps.append(value(x) - value(best))
        turns.append(n)
    assert turns == sorted(turns)
    assert gaps[2] <= 1e-7 * max(value(np.zeros(5)) - value(best), 1e-3) + 1e-13
    if prox is None:
        exact = np.empty(5)
        problem.nearest(centre, weight, exact)
        np.testing.assert_allclose(best, exact, rtol=0, atol=1e-9)


def test_an_inner_loop_at_its_goal_takes_one_turn():
    problem, exact = LeastSquares(np.eye(3), np.ones(3)), np.empty(3)
    problem.nearest(np.zeros(3), 1.0, exact)
    x = exact.copy()
    assert approach(problem.gradient, None, np.zeros(3), 1.0, 1.0, x, 0.1) <= 2
    np.testing.assert_allclose(x, exact, rtol=1e-15)
