"""ARock: known numbers of updates, delays that are given, ranks that come when they come, refusals."""

import sys

import numpy as np
import pytest
from crew import together
from u1 import U1, gap, start, updates

from paralift.optim.algorithms import ARock
from paralift.optim.algorithms.run import Run, StepError, Stop
from paralift.optim.problems import AnalyticLasso, LeastSquares, LinearBlocks
from paralift.optim.team import Alone

EASY = AnalyticLasso(condition=4.0)
LATE = np.random.default_rng(0).integers(0, 8, 100_000)


@pytest.fixture
def quick_turns():
    """Threads that wait for each other take turns more often than they would."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def blocks(problem=U1, n=10):
    return LinearBlocks(problem, n)


def on_ranks(team, algorithm, stop, problem=EASY, n=10):
    run = Run(blocks(problem, n), team, np.zeros(20), stop, every=20, replicated=True)
    algorithm.run(run)
    return run


# Known answers.


def test_known_numbers_of_updates():
    """They are counted from 0 where they were found."""
    assert updates(ARock(), problem=blocks()) == 6180 + 1
    assert updates(ARock(delay_bound=7, relaxation=0.182, delays=LATE), problem=blocks()) == pytest.approx(34_461, rel=0.02)


def test_one_block_is_proximal_gradient_descent():
    assert updates(ARock(relaxation=1.0), problem=blocks(n=1)) == 636


def test_points_are_those_of_the_formulas():
    """With delays that come again from the start where they end, and none beyond the first point."""
    delays, points = [0, 3, 1], [np.zeros(20)]
    run = start(blocks(), -1.0, 30, seed=5)
    run.stop.until = lambda x: points.append(x.copy())
    ARock(delay_bound=3, delays=delays, step=1.5).run(run)
    eta, rng, spans = 0.99 / (1 + 6 / np.sqrt(10)), np.random.default_rng(5), blocks().blocks
    for k, (x, after) in enumerate(zip(points, points[1:], strict=False)):
        span, seen, slope = spans[rng.integers(10)], points[max(k - delays[k % 3], 0)], np.empty(20)
        U1.gradient(seen, slope)
        moved = seen - 1.5 * slope
        U1.prox(moved, 1.5)
        expected = x.copy()
        expected[span] -= eta * (seen - moved)[span]
        np.testing.assert_allclose(after, expected, rtol=0, atol=1e-12)
    assert run.facts == {"step": 1.5, "relaxation": pytest.approx(eta)}


def test_the_residual_ends_a_run_near_the_answer():
    run = Run(blocks(EASY), Alone(), np.zeros(20), Stop(1e-7, 10_000))
    ARock().run(run)
    assert run.reason == "tolerance" and np.abs(run.x - EASY.solution).max() < 1e-6
    run = Run(blocks(EASY), Alone(), np.zeros(20), Stop(1e30, 10_000))
    ARock().run(run)
    assert run.updates >= 10  # every block has been looked at


def test_steps_come_from_the_model():
    problem = LinearBlocks(LeastSquares(2.0 * U1.rows, U1.targets), 10)
    run = Run(problem, Alone(), np.zeros(20), Stop(0.0, 1))
    ARock(delay_bound=2).run(run)
    assert run.facts["step"] == pytest.approx(0.25, rel=1e-10)
    assert run.facts["relaxation"] == pytest.approx(0.99 / (1 + 4 / np.sqrt(10)))


# Ranks.


@pytest.mark.parametrize("lateness", [0.0, 0.001])
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_that_do_not_wait_arrive_together(ranks, lateness, quick_turns):
    runs = together(ranks, lambda team: on_ranks(team, ARock(), Stop(1e-5, 20_000)), lateness)
    first = runs[0]
    for run in runs:
        assert run.reason == "tolerance" and (run.x == first.x).all() and gap(run.x, EASY) < 1e-8
        assert run.updates == first.updates == run.facts["gradients"][0] and min(run.facts["gradients"]) > 10
        assert min(run.facts["letter_bytes"]) > 0 and run.facts["step"] == 1.0
        assert sum(run.facts["delays"]["histogram"].values()) == run.facts["gradients"][runs.index(run)]
    assert all(line["objective"] >= EASY.optimum - 1e-9 for line in first.history) and len(first.history) > 2
    assert first.history[-1]["objective"] < first.history[0]["objective"]


def test_blocks_of_different_lengths_and_more_than_ranks(quick_turns):
    runs = together(3, lambda team: on_ranks(team, ARock(), Stop(1e-5, 20_000), n=7), 0.001)
    assert all(gap(run.x, EASY) < 1e-8 for run in runs)


def test_until_and_updates_end_all_ranks(quick_turns):
    runs = together(3, lambda team: on_ranks(team, ARock(), Stop(0.0, 7)))
    assert {run.reason for run in runs} == {"updates"} and {run.updates for run in runs} == {7}
    near = Stop(0.0, 50_000, until=lambda x: gap(x, EASY) < 1e-3)
    assert {run.reason for run in together(2, lambda team: on_ranks(team, ARock(), near))} == {"until"}


# Refusals.


@pytest.mark.parametrize(
    ("algorithm", "error", "text"),
    [
        (ARock(relaxation=1.01), StepError, r"relaxation = 1.01 was given, expected at most 1 / .* = 1 for tau = 0"),
        (ARock(delay_bound=7, relaxation=0.19), StepError, r"expected at most .*2 tau / sqrt m\) = 0.184\d* for tau = 7"),
        (ARock(relaxation=0.0), StepError, "relaxation = 0 was given"),
        (ARock(step=2.0), StepError, "step = 2 was given, but ARock needs a step < 2/L, L = 1"),
        (ARock(delay_bound=2, delays=[0, 3]), StepError, "a delay of 3 was given, expected at most delay_bound = 2"),
        (ARock(delays=[0, -1]), ValueError, "expected one at least, and whole numbers >= 0"),
        (ARock(delays=[]), ValueError, "expected one at least, and whole numbers >= 0"),
    ],
)  # fmt: skip
def test_parameters_beyond_the_theory_are_refused(algorithm, error, text):
    with pytest.raises(error, match=text):
        algorithm.run(start(blocks()))


def test_problems_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match="ARock: a problem of type AnalyticLasso was given, expected a BlockProblem"):
        ARock().run(start())
    with pytest.raises(StepError, match="the Lipschitz constant of f is 0.0"):
        ARock().run(start(LinearBlocks(LeastSquares(np.zeros((3, 20)), np.ones(3)), 10)))
    with pytest.raises(ValueError, match="ARock: 2 blocks were given to 3 ranks, expected one each at least"):
        together(3, lambda team: on_ranks(team, ARock(), Stop(), n=2))
    with pytest.raises(ValueError, match="delays were given, which are for one rank; expected none on 2 ranks"):
        together(2, lambda team: on_ranks(team, ARock(delays=[0]), Stop()))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="ARock: delay_bound = -1 was given, expected at least 0"):
        ARock(delay_bound=-1)
    with pytest.raises(TypeError, match="ARock: delay_bound = 0.5 was given, expected a whole number"):
        ARock(delay_bound=0.5)
    assert ARock.replicated


@pytest.mark.parametrize("ranks", [1, 2])
def test_what_is_not_finite_ends_a_run(ranks, quick_turns):
    class Bad(LinearBlocks):
        def block_gradient(self, j, x, out):
            out[...] = np.nan

    def act(team):
        ARock().run(Run(Bad(EASY, 2), team, np.zeros(20), Stop(), replicated=True))

    with pytest.raises((RuntimeError, ArithmeticError), match="the unknowns are not finite"):
        together(ranks, act)
