"""Compressed gradients: known numbers of updates, the exact limit of a nonsmooth problem, the descent that sets the step."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from crew import together
from u1 import U1, gap

from paralift.optim.algorithms.feedback import EF21, CompressedGradient
from paralift.optim.algorithms.proximal import ProximalGradientDescent
from paralift.optim.algorithms.run import Diverged, Run, StepError, Stop
from paralift.optim.compression import Quantizer, RandomK, TopK, e3m0, qsgd
from paralift.optim.problems import AnalyticLasso, LeastSquares
from paralift.optim.team import Alone

RANKS, D, WEIGHT = 8, 20, 0.5
PARTS = U1.split(RANKS)
H = np.stack([part.rows.T @ part.rows for part in PARTS])
C = np.stack([part.rows.T @ part.targets for part in PARTS])
FIRST = D * np.arange(RANKS)[:, None]
CONSTANT = 0.5 * float(U1.targets @ U1.targets)
S = math.sqrt(RANKS * sum(part.lipschitz() ** 2 for part in PARTS))
NEAREST = Quantizer(e3m0(), norm="max", rounding="nearest")


def default_step(k):
    alpha = k / D
    return 1.0 / (1.0 + S * math.sqrt(1 - alpha) / (1 - math.sqrt(1 - alpha)))


def largest(rows, k):
    """Return where the k largest entries of each row lie in memory."""
    sizes = abs(rows)
    places = sizes.argmax(axis=1)[:, None] if k == 1 else sizes.argpartition(D - k, axis=1)[:, D - k :]
    return (places + FIRST).reshape(-1)


def ef21_of_all_ranks(k, step, memory=True):
    """Yield x, F(x) - F* and sum_i |grad f_i(x) - g_i|^2 after every update: the method of all ranks at once, written anew.

    Without memory, each message stands for the gradient itself.
    """
    x, known, gradients, sums = np.zeros(D), np.zeros((RANKS, D)), -C, C.sum(axis=0)
    while True:
        if not memory:
            known[...] = 0
        places = largest(gradients - known, k)
        known.reshape(-1)[places] = gradients.reshape(-1)[places]
        v = x - step * known.sum(axis=0)
        x = v - np.minimum(np.maximum(v, -step * WEIGHT), step * WEIGHT)
        gradients = H @ x - C
        value = 0.5 * x @ (gradients.sum(axis=0) - sums) + CONSTANT + WEIGHT * abs(x).sum()
        yield x, value - U1.optimum, known - gradients


def run_on(team, algorithm, stop, problem=U1, seed=0, every=0):
    run = Run(problem.part(team.rank, team.size), team, np.zeros(D), stop, seed=seed, every=every)
    algorithm.run(run)
    return run


def near(team, tolerance=1e-8):
    return lambda x: team.rank == 0 and gap(x) <= tolerance


@pytest.mark.parametrize("k, expected", [(5, 6457), (2, 17_284), (1, 35_296)])
def test_known_numbers_of_updates(k, expected):
    """From zero, to F - F* <= 1e-8; they are counted from 0 where they were found."""
    gaps = (above for _, above, _ in ef21_of_all_ranks(k, default_step(k)))
    assert next(count for count, above in enumerate(gaps, 1) if above <= 1e-8) == expected + 1


@pytest.mark.parametrize("k", [1, 2, 5, 20])
def test_ranks_that_only_send_messages_do_the_same(k):
    points = [x for x, _, _ in itertools.islice(ef21_of_all_ranks(k, default_step(k)), 40)]

    def act(team):
        seen = []
        run = run_on(team, EF21(TopK(k)), Stop(max_updates=40, until=lambda x: seen.append(x.copy())))
        assert run.facts["step"] == pytest.approx(default_step(k), rel=1e-9)
        return seen

    for seen in together(RANKS, act):
        np.testing.assert_allclose(seen, points, rtol=0, atol=1e-12)


@pytest.mark.parametrize("k", [1, 5])
def test_the_function_of_the_proof_falls_with_the_longest_step(k):
    alpha = k / D
    theta = 1 - math.sqrt(1 - alpha)
    root = S * math.sqrt(1 - alpha) / theta
    weight = RANKS / (2 * S * math.sqrt(1 - alpha))  # sqrt(beta theta) = sqrt(1 - alpha)
    method = ef21_of_all_ranks(k, 0.999 / (0.5 + root))
    values = [above + weight * (errors**2).sum() for _, above, errors in itertools.islice(method, 3000)]
    assert (np.diff(values) <= 1e-10).all() and values[-1] < 0.1 * values[0]


@pytest.mark.parametrize("k", [1, 2, 5])
def test_without_memory_it_ends_elsewhere(k):
    gaps = [above for _, above, _ in itertools.islice(ef21_of_all_ranks(k, default_step(k), memory=False), 2000)]
    assert min(gaps) > 5 and abs(gaps[-1] - gaps[-500]) < 0.1 * gaps[-1]


@pytest.mark.parametrize(
    "ranks, algorithm",
    [
        (1, EF21(TopK(15))),
        (1, EF21(RandomK(fraction=0.75))),
        (2, EF21(NEAREST)),
        (1, CompressedGradient(Quantizer(e3m0(), norm="max"))),
        (1, CompressedGradient(RandomK(15, unbiased=True))),
        (2, CompressedGradient(Quantizer(qsgd(7)))),
    ],
)
def test_the_limit_is_exact(ranks, algorithm):
    runs = together(ranks, lambda team: run_on(team, algorithm, Stop(max_updates=2500, until=near(team))))
    for run in runs:
        assert run.reason == "until"
        np.testing.assert_array_equal(run.x, runs[0].x)
    assert gap(runs[0].x) <= 1e-8


def test_without_shifts_the_noise_stays():
    algorithm = CompressedGradient(Quantizer(e3m0(), norm="max"), shift=0.0)
    run = together(2, lambda team: run_on(team, algorithm, Stop(max_updates=1000)))[0]
    assert gap(run.x) > 1e-2


@pytest.mark.parametrize("algorithm", [EF21(NEAREST), CompressedGradient(Quantizer(qsgd(7)))])
def test_the_residual_is_at_least_the_length_of_a_subgradient(algorithm):
    """So that by strong convexity F - F* <= residual^2 / (2 mu)."""
    run = together(2, lambda team: run_on(team, algorithm, Stop(1e-3, 2000), every=20))[0]
    assert run.reason == "tolerance"
    for line in run.history:
        assert line["objective"] - U1.optimum <= 50 * line["residual"] ** 2


def test_everything_sent_keeps_all():
    """With all numbers sent it is proximal gradient descent; the longest step, too, is that one's."""
    ends = []
    everything = CompressedGradient(RandomK(fraction=1.0, unbiased=True))
    for algorithm in (EF21(TopK(fraction=1.0)), everything, ProximalGradientDescent()):
        ends.append(run_on(Alone(), algorithm, Stop(max_updates=50)))
    for run in ends[:2]:
        assert run.facts["step"] == 1.0
        np.testing.assert_allclose(run.x, ends[2].x, rtol=0, atol=1e-12)
    run_on(Alone(), EF21(TopK(D), step=1.99), Stop(max_updates=5))


class Listening(Alone):
    """Writes down what is gathered, and refuses sums once something was."""

    def __init__(self):
        self.sent = []

    def gather(self, array):
        self.sent.append((array.dtype, array.nbytes))
        return [array]

    def sums(self, *numbers):
        assert not self.sent
        return list(numbers)

    def sum(self, array):
        raise AssertionError("an array was summed")


@pytest.mark.parametrize("algorithm", [EF21(TopK(5)), EF21(NEAREST), CompressedGradient(Quantizer(qsgd(7)))])
def test_only_messages_are_sent(algorithm):
    team = Listening()
    run = run_on(team, algorithm, Stop(max_updates=9))
    length = algorithm.compressor.bytes(D, np.float64)
    assert team.sent == [(np.uint8, length)] * 9 and run.facts["message_bytes"] == length


@pytest.mark.parametrize("make", [lambda: EF21(RandomK(5)), lambda: CompressedGradient(Quantizer(qsgd(3)))])
def test_a_seed_repeats_a_run(make):
    def end(seed):
        return together(2, lambda team: run_on(team, make(), Stop(max_updates=20), seed=seed))[0].x

    np.testing.assert_array_equal(end(1), end(1))
    assert (end(1) != end(2)).any()


def test_unknowns_of_any_shape_in_float32():
    class Two(LeastSquares):
        outputs = 2

    rng = np.random.default_rng(0)
    problem = Two(rng.standard_normal((30, 6)).astype(np.float32), rng.standard_normal((30, 2)).astype(np.float32))
    want = np.linalg.lstsq(problem.rows, problem.targets, rcond=None)[0]
    for algorithm in (EF21(NEAREST), EF21(TopK(3)), CompressedGradient(Quantizer(qsgd(7)))):
        run = Run(problem, Alone(), problem.start.copy(), Stop(max_updates=1500))
        algorithm.run(run)
        assert run.x.dtype == np.float32 and run.x.shape == (6, 2)
        np.testing.assert_allclose(run.x, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("algorithm", [EF21(TopK(5)), EF21(NEAREST), CompressedGradient(Quantizer(qsgd(7)))])
def test_all_ranks_learn_of_a_nan_together(algorithm):
    def act(team):
        problem = AnalyticLasso().part(team.rank, team.size)
        gradient = problem.gradient

        def spoilt(x, out, rows=None):
            gradient(x, out, rows)
            if team.rank == 1 and x.any():
                out[3] = np.nan

        problem.gradient = spoilt
        run = Run(problem, team, np.zeros(D), Stop(max_updates=100))
        with pytest.raises(Diverged, match="not finite"):
            algorithm.run(run)
        return run.updates

    assert together(3, act) == [2, 2, 2]


@pytest.mark.parametrize(
    "algorithm, text",
    [
        (EF21(Quantizer(qsgd(7))), "is unbiased, expected a contractive compressor"),
        (EF21(RandomK(5, unbiased=True)), "CompressedGradient takes unbiased ones"),
        (EF21(TopK(5), step=1.0), r"EF21 with alpha = 0.25 needs a step < 1 / \(L/2 \+ S sqrt\(beta / theta\)\)"),
        (EF21(TopK(5), step=-0.1), "expected a step greater than 0"),
        (CompressedGradient(TopK(5)), "is contractive, expected an unbiased compressor"),
        (CompressedGradient(NEAREST), "EF21 takes contractive ones"),
        (CompressedGradient(Quantizer(qsgd(7)), step=1.0), r"a step < 1 / \(L \+ 4 omega L_max\)"),
        (CompressedGradient(Quantizer(qsgd(7)), shift=1.0), r"a <= 1 / \(1 \+ omega\)"),
        (CompressedGradient(Quantizer(qsgd(7)), shift=-0.1), "expected a number from 0 to 0.9"),
    ],
)
def test_refused(algorithm, text):
    with pytest.raises(StepError, match=text):
        run_on(Alone(), algorithm, Stop(max_updates=2))
