"""Runs: why they end, what is written down, what counts as time, constants of the whole, ranks that agree."""

from types import SimpleNamespace

import numpy as np
import pytest
from crew import together
from u1 import U1, gap

from paralift.optim import L1
from paralift.optim.algorithms import run as module
from paralift.optim.algorithms.algorithm import Algorithm
from paralift.optim.algorithms.run import Diverged, Run, StepError, Stop, checked_step, inner, length
from paralift.optim.problems import CompositeProblem, LeastSquares
from paralift.optim.team import Alone


class Bowl(CompositeProblem):
    """1/2 (|x|^2 - 1): no curvature is known, constants are those that were given."""

    def __init__(self, lipschitz=2.0, convexity=0.5):
        super().__init__(np.zeros(2), 3)
        self.constants = lipschitz, convexity

    def value(self, x):
        return 0.5 * float(x @ x - 1.0)

    def gradient(self, x, out, rows=None):
        out[...] = x

    def lipschitz(self):
        return self.constants[0]

    def strong_convexity(self):
        return self.constants[1]


def made(stop=None, problem=None, team=None, **more):
    problem = Bowl() if problem is None else problem
    return Run(problem, team or Alone(), problem.start.copy(), stop or Stop(), **more)


X = np.array([3.0, 4.0])
"""f(X) = 12."""


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is moved."""
    hands = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: hands.now))
    return hands


# When a run ends.


@pytest.mark.parametrize(
    ("stop", "residual", "reason"),
    [
        (Stop(1e-3), 1e-3, "tolerance"), (Stop(1e-3), 2e-3, ""), (Stop(1e-3), np.inf, ""), (Stop(0.0), 0.0, ""),
        (Stop(until=lambda x: x[0] == 3.0), 1.0, "until"), (Stop(until=lambda x: x[0] != 3.0), 1.0, ""),
        (Stop(max_updates=1), 1.0, "updates"), (Stop(max_updates=2), 1.0, ""), (Stop(seconds=-1.0), 1.0, "seconds"),
        (Stop(1.0, 1, -1.0, lambda x: True), 1.0, "tolerance"), (Stop(0.0, 1, -1.0, lambda x: True), 1.0, "until"),
        (Stop(0.0, 1, -1.0), 1.0, "updates"),
    ],
)  # fmt: skip
def test_reasons_to_end_and_which_comes_first(stop, residual, reason):
    run = made(stop)
    assert run.goes_on(X, residual) == (not reason) and run.reason == reason and run.updates == 1
    alone = made(stop)
    assert alone.goes_on_alone(X, residual) == (not reason) and alone.reason == reason and alone.updates == 1


def test_seconds_end_a_run(clock):
    run = made(Stop(seconds=5.0), _began=clock.now)
    clock.now += 5.0
    assert run.elapsed == 5.0 and run.goes_on(X)
    clock.now += 0.5
    assert not run.goes_on(X) and run.reason == "seconds"


def test_evaluations_take_no_time(clock):
    def slow(*_):
        clock.now += 10.0
        return False

    class Slow(Bowl):
        def value(self, x):
            slow()
            return 1.0

    run = made(Stop(seconds=5.0, until=slow), Slow(), every=1, listeners=[slow], _began=clock.now)
    clock.now += 1.0
    assert run.paused(slow) is False and run.elapsed == 1.0
    for _ in range(3):
        assert run.goes_on(X)
    clock.now += 1.0
    assert run.elapsed == 2.0 and [line["seconds"] for line in run.history] == [1.0] * 3


@pytest.mark.parametrize("who", [0, 1])
def test_the_first_rank_decides(who):
    """About clocks and `until`, on which ranks may differ; residuals are the same on all."""

    def act(team):
        mine = team.rank == who
        run = made(Stop(until=lambda x: mine), team=team)
        timed = made(Stop(seconds=-1.0 if mine else 1e9), team=team)
        return run.goes_on(X), run.reason, timed.goes_on(X), timed.reason

    expected = (False, "until", False, "seconds") if who == 0 else (True, "", True, "")
    assert together(3, act) == [expected] * 3


# What is written down.


def test_the_history_has_every_second_update_and_the_last():
    told = []
    run = made(Stop(max_updates=5), problem=LeastSquares(np.eye(2), np.zeros(2), L1(1.0)), every=2, listeners=[told.append] * 2)
    k = 0
    while run.goes_on(k * X, 10.0 - k):
        k += 1
    assert [line["update"] for line in run.history] == [2, 4, 5]
    assert [line["residual"] for line in run.history] == [9.0, 7.0, 6.0]
    assert [line["objective"] for line in run.history] == [12.5 * k**2 + 7.0 * k for k in (1, 3, 4)]
    assert all(set(line) == {"update", "seconds", "residual", "bytes", "objective"} for line in run.history)
    assert told == [line for line in run.history for _ in range(2)]


def test_no_history_is_written_unless_asked_for():
    run = made(Stop(max_updates=3))
    while run.goes_on(X):
        pass
    assert run.history == [] and run.updates == 3
    run.write(X, 0.5, note=7)
    assert run.history[0]["note"] == 7 and "objective" not in run.history[0]


def test_objectives_of_copies_are_those_of_their_mean():
    def act(team):
        run = made(Stop(max_updates=1), team=team, every=1, averaged=True)
        x = X * (team.rank + 1)
        run.goes_on(x)
        return run.history[0], x

    for rank, (line, x) in enumerate(together(2, act)):
        assert line["objective"] == 2 * 0.5 * (2.25 * 25 - 1) and line["bytes"] > 0
        np.testing.assert_array_equal(x, X * (rank + 1))


def test_what_is_not_finite_ends_a_run():
    class Bad(Bowl):
        def value(self, x):
            return float(x[0])

    with pytest.raises(Diverged, match="update 1: the unknowns are not finite"):
        made().goes_on(X, np.nan)
    with pytest.raises(ArithmeticError, match="update 1: the unknowns are not finite"):
        made().goes_on_alone(X, np.nan)
    for number in (np.nan, np.inf, -np.inf):
        run = made(problem=Bad(), every=2)
        assert run.goes_on(X)
        with pytest.raises(Diverged, match=f"update 2: the objective is {number}; the step is too long"):
            run.goes_on(np.full(2, number))
        assert len(run.history) == 0


# The whole problem.


def whole(team, replicated=False):
    """Return all that a run knows of the whole problem."""
    out = np.empty(20)
    known = LeastSquares(U1.rows, U1.targets, U1.regularizer)
    part = known if replicated else known.split(team.size)[team.rank]
    run = made(problem=part, team=team, replicated=replicated)
    run.gradient(U1.solution, out)
    return [run.smooth(U1.solution), run.objective(U1.solution), run.lipschitz(), run.strong_convexity(), run.n_samples(), *out]


@pytest.mark.parametrize("replicated", [False, True])
@pytest.mark.parametrize("ranks", [1, 3])
def test_ranks_know_the_whole(ranks, replicated):
    slope = np.empty(20)
    U1.gradient(U1.solution, slope)
    expected = [U1.value(U1.solution), U1.optimum, 1.0, 0.0, 160, *slope]
    found = together(ranks, lambda team: whole(team, replicated))
    assert all(one == found[0] for one in found)
    np.testing.assert_allclose(found[0], expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("replicated", [False, True])
def test_constants_without_curvature_are_sums(replicated):
    def act(team):
        problem = Bowl(2.0, 0.5) if replicated else Bowl(1.0 + team.rank, 0.5 * team.rank)
        run = made(problem=problem, team=team, replicated=replicated)
        return run.lipschitz(), run.strong_convexity(), run.n_samples()

    assert together(3, act) == [(2.0, 0.5, 3) if replicated else (6.0, 1.5, 9)] * 3


def test_constants_that_are_known_are_taken():
    def act(team):
        run = made(problem=U1.part(team.rank, team.size), team=team)
        return run.lipschitz(), run.strong_convexity()

    assert together(2, act) == [(1.0, 0.01)] * 2


@pytest.mark.parametrize("problem", [Bowl(0.0), Bowl(np.inf), Bowl(np.nan), LeastSquares(np.zeros((3, 12)), np.ones(3))])
def test_a_constant_that_gives_no_step_is_refused(problem):
    with pytest.raises(StepError, match="the Lipschitz constant of f is (0.0|inf|nan): f is constant, or its data"):
        made(problem=problem).lipschitz()


def test_means_are_the_same_on_all_ranks():
    for x in together(3, lambda team: made(team=team).mean(X * (team.rank + 1))):
        np.testing.assert_allclose(x, 2 * X, rtol=1e-15)


# Runs without waiting.


def settled(team, points, stop):
    """Let the first rank alone move from point to point, and all settle."""
    run = made(stop, U1.part(team.rank, team.size), team, every=1)
    if team.rank == 0:
        for x in points:
            run.x[...] = x
            run.goes_on_alone(run.x, 1.0, note="here")
    else:
        run.x[...] = 7.0
    run.settle(10 * team.rank, 100 * team.rank)
    return run


def test_ranks_settle_on_what_the_first_has():
    points = np.random.default_rng(0).standard_normal((4, 20))
    runs = together(3, lambda team: settled(team, points, Stop(max_updates=4)))
    for run in runs:
        np.testing.assert_array_equal(run.x, points[-1])
        assert (run.reason, run.updates) == ("updates", 4)
        assert run.facts == {"gradients": [0, 10, 20], "letter_bytes": [0, 100, 200]}
    lines = runs[0].history
    assert [line["update"] for line in lines] == [1, 2, 3, 4] and {line["note"] for line in lines} == {"here"}
    assert [line["objective"] - U1.optimum for line in lines] == pytest.approx([gap(x) for x in points], rel=1e-9)


def test_few_points_are_kept_for_their_objectives(monkeypatch):
    monkeypatch.setattr(module, "POINTS", 4)
    points = np.arange(11.0)[:, None] * np.ones(20)
    run = settled(Alone(), points, Stop(max_updates=11))
    kept = [line["update"] for line in run.history if "objective" in line]
    assert len(run.history) == 11 and 2 <= len(kept) <= 4 and {1, 11} <= set(kept)
    for line in run.history:
        if "objective" in line:
            assert line["objective"] - U1.optimum == pytest.approx(gap(points[line["update"] - 1]), rel=1e-9)


# Small things.


def test_steps_are_checked():
    assert checked_step(None, 0.5, 2.0, "") == 0.5 and checked_step(1.9, 0.5, 2.0, "") == 1.9
    for step in (0.0, -1.0, 2.0, np.inf, np.nan):
        with pytest.raises(
            StepError, match=f"step = {step:g} was given, but it needs more: expected a step greater than 0 and less than 2"
        ):
            checked_step(step, 0.5, 2.0, "it needs more")


def test_lengths_of_arrays_of_any_shape():
    assert length(X) == length(X.reshape(1, 2, 1)) == 5.0 and length(np.empty((0, 3))) == 0.0
    assert inner(X.reshape(2, 1), np.ones((2, 1))) == 7.0


def test_an_algorithm_that_is_not_written_says_so():
    class Mine(Algorithm):
        pass

    with pytest.raises(NotImplementedError, match="Mine does not run"):
        Mine().run(made())
    assert not Mine().replicated
