"""NIDS and PG-EXTRA: known counts of updates on three graphs, what they leave, and steps that are refused."""

from __future__ import annotations

from itertools import islice

import networkx as nx
import numpy as np
import pytest
from crew import together
from lockstep import in_step

from paralift.optim.algorithms.decentralised import NIDS, PGExtra
from paralift.optim.algorithms.proximal import ProximalGradientDescent
from paralift.optim.algorithms.run import Diverged, Run, StepError, Stop
from paralift.optim.graphs import complete, hypercube, metropolis, path, ring
from paralift.optim.problems.analytic import AnalyticLasso
from paralift.optim.problems.linear import LeastSquares
from paralift.optim.regularizers import L1
from paralift.optim.team import Alone

N = 8
LASSO = AnalyticLasso()
FAR = np.linalg.norm(LASSO.solution)
RARELY = 10_000
COUNTS = {  # a published count of n is the index of z in its recursion: two more updates
    (NIDS, ring): 1508,
    (NIDS, hypercube): 1525,
    (NIDS, complete): 1526,
    (PGExtra, ring): 4605,
    (PGExtra, hypercube): 6162,
    (PGExtra, complete): 3072,
}


def error(x):
    return np.linalg.norm(x - LASSO.solution) / FAR


def watched(team, act, n=N):
    """Run ``act(run)`` and return the errors of all points at which this rank took a gradient: the start, and each update."""
    part = LASSO.part(team.rank, n)
    errors, gradient = [], part.gradient

    def noted(x, out, rows=None):
        errors.append(error(x))
        gradient(x, out, rows)

    part.gradient = noted
    act(Run(part, team, part.start.copy()))
    return errors


def updates_until(algorithm, most):
    """Return the first update after which all copies are within 1e-8, the result, and the steps of all ranks."""
    runs = []

    def act(run):
        run.stop = Stop(max_updates=most)
        algorithm.run(run)
        runs.append(run)

    errors = np.max(in_step(N, lambda team: watched(team, act)), axis=0)
    return int(np.flatnonzero(errors <= 1e-8)[0]), runs


@pytest.mark.parametrize(("method", "graph"), COUNTS, ids=lambda a: a.__name__)
def test_counts_of_updates_to_a_relative_error_of_1e_8(method, graph):
    expected = COUNTS[method, graph] + 2
    count, runs = updates_until(method(graph, looks=RARELY), expected + 5)
    assert abs(count - expected) <= 2  # rounding may move it
    assert all(error(run.x) <= 1e-8 for run in runs)
    assert len({run.x.tobytes() for run in runs}) == 1


def test_counts_of_nids_do_not_depend_on_the_graph():
    counts = [COUNTS[NIDS, graph] for graph in (ring, hypercube, complete)]
    assert max(counts) <= 1.02 * min(counts)


@pytest.mark.parametrize("method", [NIDS, PGExtra])
def test_ranks_agree_when_to_stop_and_on_the_result(method):
    def act(team):
        part = LASSO.part(team.rank, N)
        run = Run(part, team, part.start.copy(), Stop(tolerance=1e-5, max_updates=6000), every=200)
        method(complete).run(run)
        return run

    runs = in_step(N, act)
    assert len({(run.reason, run.updates) for run in runs}) == 1
    assert runs[0].reason == "tolerance" and runs[0].updates < 2500
    assert len({run.x.tobytes() for run in runs}) == 1
    assert error(runs[0].x) <= 2e-4
    objectives = [line["objective"] for line in runs[0].history]
    assert objectives == [line["objective"] for line in runs[5].history]
    assert objectives[-1] == pytest.approx(LASSO.optimum, abs=1e-5)
    assert all(value >= LASSO.optimum - 1e-9 for value in objectives)  # of the mean, which is one point


def test_a_users_until_speaks_on_the_first_rank():
    def act(team):
        part = LASSO.part(team.rank, 4)
        run = Run(part, team, part.start.copy(), Stop(until=lambda x: team.rank == 0 and error(x) <= 1e-2))
        NIDS(path).run(run)
        return run

    runs = together(4, act)
    assert {run.reason for run in runs} == {"until"} and len({run.updates for run in runs}) == 1


@pytest.mark.parametrize("method", [NIDS, PGExtra])
def test_words_are_one_vector_a_neighbour_and_update(method):
    def act(team):
        part = LASSO.part(team.rank, 4)
        run = Run(part, team, part.start.copy(), Stop(max_updates=9))
        method(path, looks=RARELY).run(run)
        return team.bytes_sent

    sent = together(4, act)
    vectors = 8 if method is NIDS else 9  # the first point of NIDS is the rank's own
    ends, middle = 20 * 8 * (vectors + 1), 20 * 8 * (2 * vectors + 1)  # and the mean
    assert sent == [ends, middle, middle, ends]


@pytest.mark.parametrize("method", [NIDS, PGExtra])
def test_one_rank_takes_proximal_gradient_steps(method):
    runs = []
    for algorithm in (method(ring, step=0.5), ProximalGradientDescent(step=0.5)):
        runs.append(Run(LASSO, Alone(), LASSO.start.copy(), Stop(max_updates=50)))
        algorithm.run(runs[-1])
    np.testing.assert_allclose(runs[0].x, runs[1].x, rtol=0, atol=1e-12)


def test_a_graph_of_ones_own():
    graph = nx.Graph([(0, 1), (1, 2), (2, 0), (2, 3)])

    def act(team):
        part = LASSO.part(team.rank, 4)
        run = Run(part, team, part.start.copy(), Stop(tolerance=1e-6))
        NIDS(graph).run(run)
        return error(run.x)

    assert max(in_step(4, act)) <= 1e-5


def test_long_steps_are_refused():
    longest = 2 / max(part.lipschitz() for part in LASSO.split(2))

    def refused(method, step, text):
        def act(team):
            part = LASSO.part(team.rank, 2)
            method(ring, step=step).run(Run(part, team, part.start.copy()))

        with pytest.raises(StepError, match=text):
            together(2, act)

    refused(NIDS, 1.2 * longest, "NIDS needs a step < 2/L")
    refused(NIDS, longest, "NIDS needs a step < 2/L")
    refused(NIDS, -1.0, "greater than 0")
    refused(PGExtra, 0.6 * longest, "PGExtra needs a step < 2 lambda/L, lambda = 0.5")
    with pytest.raises(StepError, match="no step is safe"):
        NIDS(ring).run(Run(LeastSquares(np.zeros((2, 3)), np.ones(2)), Alone(), np.zeros(3)))


def forced(n, part, step, updates):
    """Return the copies of n ranks after updates of NIDS on a cycle with a step that nobody checked."""

    def act(team):
        problem = part(team.rank)
        run = Run(problem, team, problem.start.copy())
        weights = metropolis(ring(n))
        for _ in islice(NIDS(ring).updates(run, weights, step), updates):
            pass
        return run.x

    return in_step(n, act)


def test_a_step_beyond_the_limit_fails():
    step = 2 / max(part.lipschitz() for part in LASSO.split(N))
    assert max(map(error, forced(N, lambda rank: LASSO.part(rank, N), 1.2 * step, 1500))) > 0.01  # 1e-8 within the limit
    rows = np.random.default_rng(0).standard_normal((6, 4))
    alike = LeastSquares(rows, np.ones(6), L1(0.1))
    assert np.linalg.norm(forced(4, lambda rank: alike, 1.2 * 2 / alike.lipschitz(), 200)) > 1e6


def test_what_is_not_finite_is_told():
    part = LeastSquares(np.eye(2), np.ones(2))
    with pytest.raises(Diverged):
        NIDS(ring, looks=1).run(Run(part, Alone(), np.array([np.nan, 0.0])))


def test_graphs_and_looks_are_checked():
    with pytest.raises(ValueError, match="expected the ranks 0 to 0"):
        NIDS(ring(3)).run(Run(LASSO, Alone(), LASSO.start.copy()))
    with pytest.raises(ValueError, match="looks = 0"):
        NIDS(ring, looks=0)
