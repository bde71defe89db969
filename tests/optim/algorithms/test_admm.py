"""Consensus ADMM: known counts, penalties that adapt, local problems solved by a loop, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from lockstep import in_step

from paralift.optim.algorithms.admm import ConsensusADMM
from paralift.optim.algorithms.penalty import Penalty, curvature
from paralift.optim.algorithms.proximal import FISTA
from paralift.optim.algorithms.run import Run, StepError, Stop
from paralift.optim.problems.analytic import AnalyticLasso
from paralift.optim.problems.linear import LeastSquares, Logistic
from paralift.optim.regularizers import L1
from paralift.optim.team import Alone

LASSO = AnalyticLasso()
COUNTS = {  # updates, less one, until F - F* <= 1e-8
    (1e-3, 1.0): 2117,
    (1e-3, 1.6): 1321,
    (1e-2, 1.0): 215,
    (1e-2, 1.6): 133,
    (1e-1, 1.0): 515,
    (1e-1, 1.6): 317,
}


def above(x):
    return LASSO.value(x) + LASSO.penalty(x) - LASSO.optimum


def solve(algorithm, n=8, closed=True, **stop):
    """Return the runs of n ranks on their parts of the lasso."""

    def act(team):
        part = LASSO.part(team.rank, n)
        if not closed:
            part.nearest = lambda *arguments: False
        run = Run(part, team, part.start.copy(), Stop(**stop))
        if team.rank and run.stop.until is not None:
            run.stop.until = lambda x: False  # only the first rank is asked
        algorithm.run(run)
        return run

    return in_step(n, act)


@pytest.mark.parametrize(("rho", "relaxation"), COUNTS)
def test_counts_of_updates_to_an_objective_within_1e_8(rho, relaxation):
    run = solve(ConsensusADMM(rho, relaxation, spectral=False), until=lambda x: above(x) <= 1e-8)[0]
    assert run.reason == "until"
    assert abs(run.updates - 1 - COUNTS[rho, relaxation]) <= 1  # rounding may move it
    assert run.facts["rho"] == rho


def test_a_penalty_of_1_is_slow():
    run = solve(ConsensusADMM(1.0, 1.0, spectral=False), max_updates=1000)[0]
    assert above(run.x) > 1e-3


@pytest.mark.parametrize("rho", [None, 1e-3, 1.0, 100.0])
def test_spectral_penalties_are_as_fast_from_any_start(rho):
    """The best fixed penalty needs 134 updates."""
    run = solve(ConsensusADMM(rho), until=lambda x: above(x) <= 1e-8, max_updates=1000)[0]
    assert run.reason == "until" and run.updates <= 150


def test_the_default_penalty_is_near_the_best():
    run = solve(ConsensusADMM(spectral=False), until=lambda x: above(x) <= 1e-8, max_updates=1000)[0]
    assert run.updates <= 150
    assert 1e-3 < run.facts["rho"] < 0.1


@pytest.mark.parametrize("spectral", [False, True])
def test_local_problems_without_closed_form(spectral):
    """Inner loops are as exact as outer updates need: the count hardly changes."""
    exact, loop = (
        solve(ConsensusADMM(1e-2, spectral=spectral), 4, closed, until=lambda x: above(x) <= 1e-8, max_updates=1000)[0].updates
        for closed in (True, False)
    )
    assert loop <= 1.3 * exact + 10


def test_ranks_agree():
    runs = solve(ConsensusADMM(), 3, tolerance=1e-7, max_updates=2000)
    assert {run.reason for run in runs} == {"tolerance"}
    assert len({(run.updates, run.x.tobytes()) for run in runs}) == 1
    assert np.linalg.norm(runs[0].x - LASSO.solution) <= 1e-4
    assert {run.facts["primal"] for run in runs} == {runs[0].facts["primal"]}
    assert max(runs[0].facts["primal"], runs[0].facts["dual"]) <= 1e-7


def test_one_sum_an_update():
    def sent(n_updates):
        return solve(ConsensusADMM(0.1), 2, max_updates=n_updates)[0].team.bytes_sent

    assert sent(7) - sent(2) == 5 * 8 * (20 + 3)


def test_one_rank():
    run = Run(LASSO, Alone(), LASSO.start.copy(), Stop(tolerance=1e-9))
    ConsensusADMM().run(run)
    np.testing.assert_allclose(run.x, LASSO.solution, rtol=0, atol=1e-7)


def test_logistic_regression_agrees_with_fista():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 5))
    labels = np.sign(rows @ rng.standard_normal(5) + 0.5 * rng.standard_normal(60))
    whole = Logistic(rows, labels, L1(1.0))
    best = Run(whole, Alone(), whole.start.copy(), Stop(tolerance=1e-11))
    FISTA().run(best)

    def act(team):
        part = whole.split(3)[team.rank]
        run = Run(part, team, part.start.copy(), Stop(tolerance=1e-8))
        ConsensusADMM().run(run)
        return run.x

    np.testing.assert_allclose(in_step(3, act)[0], best.x, rtol=0, atol=1e-6)


def test_curvatures():
    bends = np.array([1.0, 4.0])
    dx = np.array([1.0, 1.0])
    short, long = 5 / 17, 2 / 5  # <dx, dg> / |dg|^2 and |dx|^2 / <dx, dg>
    assert 2 * short > long
    assert curvature(dx, bends * dx) == pytest.approx(1 / short)
    assert curvature(dx, 3 * dx) == pytest.approx(3)
    bends, dx = np.array([0.1, 1.0]), np.array([1.0, 0.4])
    short, long = 0.26 / 0.17, 1.16 / 0.26
    assert 2 * short < long
    assert curvature(dx, bends * dx) == pytest.approx(1 / (long - short / 2))
    assert curvature(dx, -dx) is None
    assert curvature(np.zeros(2), dx) is None
    assert curvature(np.array([1.0, 0.0]), np.array([0.1, 1.0])) is None


def test_a_penalty_changes_at_every_other_update_by_a_bounded_factor():
    x = np.array([1.0, 0.0])
    penalty = Penalty(1.0, spectral=True)
    assert penalty.update(1, x, x, x, x) == 1.0
    assert penalty.update(2, x, x, x, x) == 1.0  # nothing to compare with
    assert penalty.update(3, 2 * x, 9 * x, x, x) == 1.0
    assert penalty.update(4, 2 * x, 9 * x, x, x) == pytest.approx(8.0)  # of f alone
    assert penalty.update(6, 3 * x, 11 * x, 2 * x, 9 * x) == pytest.approx(4.0)  # of both, 2 and 8
    late = Penalty(1.0, spectral=True)
    late.update(10**6, x, x, x, x)
    assert late.update(10**6 + 2, 2 * x, 9 * x, x, x) == pytest.approx(1.01, rel=1e-4)
    assert Penalty(1.0, spectral=False).update(2, x, x, x, x) == 1.0


@pytest.mark.parametrize("relaxation", [0.0, 2.0, -1.0])
def test_relaxations_are_checked(relaxation):
    with pytest.raises(StepError, match="expected more than 0 and less than 2"):
        ConsensusADMM(relaxation=relaxation)


@pytest.mark.parametrize("rho", [0.0, -1.0, float("inf"), float("nan")])
def test_penalties_are_checked(rho):
    with pytest.raises(StepError, match="greater than 0"):
        ConsensusADMM(rho)


def test_a_constant_f_needs_a_penalty():
    problem = LeastSquares(np.zeros((2, 3)), np.ones(2))
    with pytest.raises(StepError, match="give rho"):
        ConsensusADMM().run(Run(problem, Alone(), problem.start.copy()))
