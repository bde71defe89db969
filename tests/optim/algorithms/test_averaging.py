"""Delay-tolerant averaging: the answer from any delays, counted letters, the step of the worst rank."""

import numpy as np
import pytest
from crew import together
from u1 import gap

from paralift.optim.algorithms import AveragedProximalGradient, ProximalGradientDescent
from paralift.optim.algorithms.run import Run, StepError, Stop
from paralift.optim.problems import AnalyticLasso
from paralift.optim.team import Alone

MIDDLE = AnalyticLasso(samples=400)


def on_ranks(team, stop, **parameters):
    run = Run(MIDDLE.part(team.rank, team.size), team, np.zeros(20), stop, every=100)
    AveragedProximalGradient(**parameters).run(run)
    return run


@pytest.mark.parametrize("lateness", [0.0, 0.002])
@pytest.mark.parametrize("ranks", [2, 4])
def test_any_delays_lead_to_the_answer(ranks, lateness):
    runs = together(ranks, lambda team: on_ranks(team, Stop(1e-7, 100_000)), lateness)
    for run in runs:
        assert run.reason == "tolerance" and (run.x == runs[0].x).all()
        assert np.abs(run.x - MIDDLE.solution).max() < 1e-4 and gap(run.x, MIDDLE) < 1e-10


@pytest.mark.parametrize("seed", range(4))
def test_letters_that_overtake_each_other_lose_nothing(seed):
    near = Stop(0.0, 100_000, until=lambda x: gap(x, MIDDLE) < 1e-8)
    runs = together(3, lambda team: on_ranks(team, near), 0.001, seed)
    assert {run.reason for run in runs} == {"until"} and gap(runs[0].x, MIDDLE) < 1e-6  # what came after the word is in it, too


def test_alone_it_is_proximal_gradient_descent_with_a_longer_step():
    runs = [Run(MIDDLE, Alone(), np.zeros(20), Stop(0.0, 30)) for _ in range(2)]
    AveragedProximalGradient(step=1.0).run(runs[0])
    ProximalGradientDescent(step=1.0).run(runs[1])
    # z_{k+1} = prox(x_k), x_k = z_k - grad f(z_k): the same points
    assert np.abs(runs[0].x - runs[1].x).max() < 1e-12


def test_a_step_beyond_the_worst_rank_is_refused():
    with pytest.raises(StepError, match=r"needs a step <= 2 / \(mu \+ L\)"):
        together(2, lambda team: on_ranks(team, Stop(), step=1e3))
