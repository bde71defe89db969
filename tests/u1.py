"""The lasso with a known answer, and how many updates an algorithm needs to come near it."""

import numpy as np

from paralift.optim.algorithms.run import Run, Stop
from paralift.optim.problems import AnalyticLasso
from paralift.optim.team import Alone

U1 = AnalyticLasso()


def gap(x, problem=U1):
    """Return F(x) - F*."""
    return problem.value(x) + problem.penalty(x) - problem.optimum


def start(problem=U1, tolerance=1e-8, most=100_000, seed=0, **more):
    """Return a run that ends where F - F* is at most `tolerance`."""
    known = problem if isinstance(problem, AnalyticLasso) else U1
    stop = Stop(0.0, most, until=lambda x: gap(x, known) <= tolerance)
    return Run(problem, Alone(), np.zeros(problem.start.shape), stop, seed=seed, **more)


def updates(algorithm, **more):
    """Return how many updates it takes."""
    run = start(**more)
    algorithm.run(run)
    assert run.reason == "until", f"{algorithm} was not there after {run.updates} updates"
    return run.updates


def gaps(algorithm, count, problem=U1, **more):
    """Return F - F* after each of `count` updates, with the start before them."""
    run = start(problem, -1.0, count, every=1, **more)
    algorithm.run(run)
    return np.array([gap(np.zeros(problem.start.shape), problem)] + [line["objective"] - problem.optimum for line in run.history])
