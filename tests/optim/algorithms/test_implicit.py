"""Implicit stochastic gradient: the closed form, steps of any length, decay, minibatches of several ranks."""

from __future__ import annotations

import numpy as np
import pytest
from lockstep import in_step

from paralift.optim.algorithms.implicit import ISGM
from paralift.optim.algorithms.proximal import FISTA
from paralift.optim.algorithms.run import Diverged, Run, StepError, Stop
from paralift.optim.problems.linear import LeastSquares, Logistic
from paralift.optim.regularizers import L1, Ridge
from paralift.optim.team import Alone

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((60, 10))
TRUTH = RNG.standard_normal(10)
CONSISTENT = LeastSquares(ROWS, ROWS @ TRUTH)
NOISY = LeastSquares(ROWS, ROWS @ TRUTH + RNG.standard_normal(60), L1(5.0))


def error(x):
    return np.linalg.norm(x - TRUTH) / np.linalg.norm(TRUTH)


def run(problem, algorithm, updates, seed=0, **stop):
    result = Run(problem, Alone(), problem.start.copy(), Stop(max_updates=updates, **stop), seed=seed)
    algorithm.run(result)
    return result


@pytest.mark.parametrize("tau", [1.0, 1e2, 1e6])
def test_any_step_solves_a_consistent_system_to_rounding(tau):
    assert error(run(CONSISTENT, ISGM(tau), 3000).x) <= 1e-15


def test_an_update_is_the_closed_form():
    rows = np.array([[1.0, 2.0, 2.0]])
    problem = LeastSquares(rows, np.array([3.0]))
    start = np.array([1.0, 0.0, -1.0])
    result = Run(problem, Alone(), start.copy(), Stop(max_updates=1))
    ISGM(0.5).run(result)
    np.testing.assert_allclose(result.x, start + 0.5 * rows[0] * (3.0 + 1.0) / (1 + 0.5 * 9), rtol=1e-14)


def test_explicit_steps_of_that_length_diverge():
    x, draw = np.zeros(10), np.random.default_rng(0)
    tau = 2.5 / np.min(np.sum(ROWS**2, axis=1))
    for i in draw.integers(60, size=300):
        x += tau * ROWS[i] * (CONSISTENT.targets[i] - ROWS[i] @ x)
    assert error(x) > 1e6


@pytest.mark.parametrize("batch", [1, 7, 20])  # wide and tall
def test_batches_of_several_ranks(batch):
    def act(team):
        part = CONSISTENT.split(3)[team.rank]
        result = Run(part, team, part.start.copy(), Stop(max_updates=4000 // batch, tolerance=1e-14))
        ISGM(10.0, batch=batch).run(result)
        return result

    runs = in_step(3, act)
    assert len({(r.updates, r.reason, r.x.tobytes()) for r in runs}) == 1
    assert error(runs[0].x) <= 1e-12


def test_the_mean_over_ranks_weighs_samples_alike():
    """Ranks of 10 and of 50 samples: after whole passes of both, short steps have gone along the gradient of F / N."""

    def act(team):
        rows = slice(0, 10) if team.rank == 0 else slice(10, 60)
        part = LeastSquares(ROWS[rows], NOISY.targets[rows], Ridge(60.0))
        result = Run(part, team, np.ones(10), Stop(max_updates=10))
        ISGM(1e-7, batch=5).run(result)
        return result.x

    moved = (in_step(2, act)[0] - 1.0) / (10 * 1e-7)
    expected = -(ROWS.T @ (ROWS @ np.ones(10) - NOISY.targets) / 60 + np.ones(10))
    np.testing.assert_allclose(moved, expected, rtol=1e-4)


def test_a_whole_batch_with_a_regulariser_takes_proximal_point_steps():
    """All samples at once: fixed points are the solution of the whole problem, and the distance falls at each update."""
    best = Run(NOISY, Alone(), NOISY.start.copy(), Stop(tolerance=1e-11))
    FISTA().run(best)
    distances = []

    def until(x):
        distances.append(np.linalg.norm(x - best.x))
        return False

    run(NOISY, ISGM(2.0, batch=60), 60, until=until)
    assert distances[-1] <= 1e-9
    assert np.all(np.diff(distances)[:20] < 0)


def test_decay_gives_errors_of_order_1_over_k():
    best = Run(NOISY, Alone(), NOISY.start.copy(), Stop(tolerance=1e-11))
    FISTA().run(best)

    def squared(updates, decay):
        return np.mean([np.sum((run(NOISY, ISGM(0.3, decay), updates, seed).x - best.x) ** 2) for seed in range(3)])

    early, late, constant = squared(50, 0.1), squared(400, 0.1), squared(400, 0.0)
    assert late <= early / 4
    assert constant >= 4 * late


def test_losses_without_closed_form():
    labels = np.sign(ROWS @ TRUTH + 0.5)
    problem = Logistic(ROWS, labels, Ridge(3.0))
    best = Run(problem, Alone(), problem.start.copy(), Stop(tolerance=1e-11))
    FISTA().run(best)
    np.testing.assert_allclose(run(problem, ISGM(5.0, batch=60), 60).x, best.x, rtol=0, atol=1e-8)


def test_a_content_sample_does_not_end_the_run():
    rows, targets = np.eye(2), np.array([0.0, 1.0])  # the first sample has nothing to say
    result = run(LeastSquares(rows, targets), ISGM(1.0), 1000, tolerance=1e-8)
    assert result.reason == "tolerance"
    np.testing.assert_allclose(result.x, [0.0, 1.0], rtol=0, atol=1e-6)


def test_what_is_refused():
    for arguments, text in (((0.0,), "tau = 0"), ((1.0, -1.0), "decay = -1"), ((1.0, 0.0, 0), "batch = 0")):
        with pytest.raises(ValueError, match=text):
            ISGM(*arguments)
    with pytest.raises(StepError, match="batch = 61 .* 60 samples"):
        run(CONSISTENT, ISGM(1.0, batch=61), 1)
    with pytest.raises(Diverged):
        ISGM(1.0).run(Run(CONSISTENT, Alone(), np.full(10, np.nan)))
