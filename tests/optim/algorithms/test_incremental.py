"""SAG, SAGA and prox-SVRG: known numbers of passes, the bound of SAGA, the rate of SVRG, the same minibatches on any ranks."""

import numpy as np
import pytest
from crew import together
from u1 import U1, gaps, start, updates

from paralift.optim import L1
from paralift.optim.algorithms import SAG, SAGA, ProxSVRG
from paralift.optim.algorithms.incremental import rate
from paralift.optim.algorithms.run import Run, StepError, Stop
from paralift.optim.problems import AnalyticLasso, CompositeProblem, Logistic
from paralift.optim.team import Alone

N, MU = 160, 0.01
L = U1.sample_lipschitz()


@pytest.mark.parametrize(
    ("algorithm", "expected"), [(SAGA(), 187), (SAGA(step=1 / (2 * (MU + L))), 138), (SAG(step=1 / (3 * L)), 179)]
)
def test_known_numbers_of_passes(algorithm, expected):
    """They are counted from 0 where they were found."""
    assert updates(algorithm) == expected + 1


def test_the_largest_constant_of_a_sample():
    assert N * L == pytest.approx(15.57, abs=0.01)


def test_bound_of_saga():
    """Mean over seeds of |x_k - x*|^2, after each of some passes, in the scale of the mean over samples."""
    found = []
    for seed in range(5):
        run, distances = start(tolerance=-1.0, most=12, seed=seed), []
        run.stop.until = lambda x, into=distances: into.append(np.sum((x - U1.solution) ** 2))
        SAGA().run(run)
        found.append(distances)
    g = np.empty(20)
    U1.gradient(U1.solution, g)
    x0 = np.zeros(20)
    d0 = (U1.value(x0) - U1.value(U1.solution) - g @ (x0 - U1.solution)) / N
    contraction = 1 - min(1 / (4 * N), (MU / N) / (3 * L))
    bound = contraction ** (N * np.arange(1, 13)) * (U1.solution @ U1.solution + 2 * N / (3 * L) * d0)
    assert (np.mean(found, axis=0) <= bound).all()


def test_rate_of_svrg_is_five_sixths():
    assert rate(1.0, 0.01, 0.1, 10_000) == pytest.approx(5 / 6, rel=1e-3)
    assert rate(1.0, 0.01, 0.3, 10_000) == np.inf and rate(1.0, 0.0, 0.1, 100) == np.inf


def test_stages_of_svrg_shrink_faster_than_their_rate():
    problem = AnalyticLasso(unknowns=5, samples=20, condition=4.0)
    smooth, inner = 20 * problem.sample_lipschitz(), 4000
    bound = rate(smooth, problem.exact_convexity, 0.1 / smooth, inner)
    assert bound < 1
    found = np.mean([gaps(ProxSVRG(inner=inner), 3, problem, seed=seed) for seed in range(2)], axis=0)
    ratios = found[1:] / found[:-1]
    assert (ratios[found[1:] > 1e-11] < bound).all()


@pytest.mark.parametrize("algorithm", [SAGA(batch_size=8), SAG(batch_size=8), ProxSVRG(batch_size=8, inner=40)])
def test_any_number_of_ranks_gives_the_same_points(algorithm):
    def act(team):
        run = Run(U1.part(team.rank, team.size), team, np.zeros(20), Stop(0.0, 4), seed=3)
        algorithm.run(run)
        return run.x

    one, two, three = (together(n, act) for n in (1, 2, 3))
    assert np.abs(two[0] - one[0]).max() < 1e-12 and np.abs(three[2] - one[0]).max() < 1e-12
    assert (three[0] == three[1]).all()


@pytest.mark.parametrize("algorithm", [SAGA(batch_size=20), ProxSVRG(batch_size=20)])
def test_the_residual_ends_a_run_near_the_answer(algorithm):
    run = Run(U1, Alone(), np.zeros(20), Stop(1e-7, 3000))
    algorithm.run(run)
    assert run.reason == "tolerance" and np.abs(run.x - U1.solution).max() < 1e-4


def test_tables_of_whole_gradients_do_the_same_as_those_of_residuals():
    """For a problem that does not say what its gradients are made of."""
    rng = np.random.default_rng(1)
    rows, labels = rng.standard_normal((30, 4)), rng.choice([-1.0, 1.0], 30)

    class Opaque(Logistic):
        residuals, pull = CompositeProblem.residuals, CompositeProblem.pull

        def gradient(self, x, out, rows=None):
            rows = slice(None) if rows is None else rows
            out[...] = self.rows[rows].T @ self.slopes(self.rows[rows] @ x, self.targets[rows])

    ends = []
    for kind in (Logistic, Opaque):
        run = Run(kind(rows, labels, L1(0.1)), Alone(), np.zeros(4), Stop(0.0, 5), seed=2)
        SAGA(batch_size=3).run(run)
        ends.append(run.x)
    assert np.abs(ends[0] - ends[1]).max() < 1e-13


@pytest.mark.parametrize(
    ("algorithm", "text"),
    [(SAGA(step=1.01 / L), "SAGA needs a step < 1/L"), (ProxSVRG(step=0.25 / L), r"needs a step < 1/\(4 L\)"), (SAG(step=3.0 / L), "step < 2/L")],
)  # fmt: skip
def test_steps_beyond_the_theory_are_refused(algorithm, text):
    with pytest.raises(StepError, match=text):
        algorithm.run(start())


def test_wrong_arguments():
    with pytest.raises(ValueError, match="SAGA: batch_size = 0 was given"):
        SAGA(batch_size=0)
    with pytest.raises(ValueError, match="ProxSVRG: inner = 0"):
        ProxSVRG(inner=0)
    with pytest.raises(ValueError, match="minibatches of 161 samples were asked for, expected 1 to 160"):
        SAGA(batch_size=161).run(start())
