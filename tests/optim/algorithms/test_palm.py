"""PALM and iPALM: known numbers of sweeps, exact answers, descent at every move, steps from their formulas, ranks."""

import numpy as np
import pytest
from crew import together
from u1 import U1, gap, start, updates

from paralift.optim import NonNegative
from paralift.optim.algorithms import IPALM, PALM
from paralift.optim.algorithms.run import Diverged, Run, StepError, Stop
from paralift.optim.problems import BlockProblem, LinearBlocks
from paralift.optim.team import Alone


class Factors(BlockProblem):
    """1/2 |X Y - M|^2 of nonnegative X and Y: not convex; X Y - M is kept, moves that were made are written down."""

    def __init__(self, matrix, rank, x, y, rows=None):
        (n, m), self.rank = matrix.shape, rank
        self.shapes = (n, rank), (rank, m)
        flat = np.concatenate([x.reshape(-1), y.reshape(-1)])
        super().__init__(flat, [slice(0, n * rank), slice(n * rank, len(flat))], [NonNegative()] * 2)
        self.matrix, self.moves, self.constants = matrix, [], {}

    def factors(self, x):
        return [x[block].reshape(shape) for block, shape in zip(self.blocks, self.shapes, strict=True)]

    def value(self, x):
        left, right = self.factors(x)
        return 0.5 * float(np.sum((left @ right - self.matrix) ** 2))

    def begin(self, x):
        left, right = self.factors(x)
        self.rest = left @ right - self.matrix
        self.values = [self.value(x)]

    def moved(self, j, x, change):
        other, change = self.factors(x)[1 - j], change.reshape(self.shapes[j])
        self.rest += change @ other if j == 0 else other @ change
        self.moves.append((j, float(np.sum(change**2))))
        self.values.append(self.value(x))

    def block_gradient(self, j, x, out):
        other = self.factors(x)[1 - j]
        out[...] = (self.rest @ other.T if j == 0 else other.T @ self.rest).reshape(-1)

    def block_lipschitz(self, j, x):
        self.constants.setdefault(j, []).append(np.linalg.norm(self.factors(x)[1 - j], 2) ** 2)
        return self.constants[j][-1]


def factorisation(seed=0, zero=()):
    """Return a problem of rank 2 with an exact answer; factors named in `zero` start there."""
    rng = np.random.default_rng(seed)
    matrix = rng.random((6, 2)) @ rng.random((2, 5))
    x, y = rng.random((6, 2)), rng.random((2, 5))
    return Factors(matrix, 2, x * ("x" not in zero), y * ("y" not in zero))


class Lifted(BlockProblem):
    """1/2 (y - x)^2 + 1/2 x^2 + 1/2 relu(w a)^2 - x w a + weight/2 w^2 of a state x >= 0 and a weight w."""

    a, y, weight = 2.0, 3.0, 0.5
    answer = np.array([2.7, 1.2])

    def __init__(self):
        super().__init__(np.array([0.1, 0.1]), [slice(0, 1), slice(1, 2)], [NonNegative(), None])

    def value(self, v):
        x, z = v[0], v[1] * self.a
        return 0.5 * ((self.y - x) ** 2 + x**2 + max(z, 0.0) ** 2 + self.weight * v[1] ** 2) - x * z

    def block_gradient(self, j, v, out):
        x, z = v[0], v[1] * self.a
        out[...] = 2 * x - self.y - z if j == 0 else self.a * (max(z, 0.0) - x) + self.weight * v[1]

    def block_lipschitz(self, j, v):
        return 2.0 if j == 0 else self.a**2 + self.weight


class Line(BlockProblem):
    """3/2 x^2, of one unknown that starts at 1."""

    def __init__(self):
        super().__init__(np.ones(1), [slice(0, 1)], [None])

    def value(self, x):
        return 1.5 * float(x[0]) ** 2

    def block_gradient(self, j, x, out):
        out[...] = 3.0 * x

    def block_lipschitz(self, j, x):
        return 3.0


def ended(algorithm, problem, stop, **more):
    run = Run(problem, Alone(), problem.start.copy(), stop, **more)
    algorithm.run(run)
    return run


def blocks(n=10):
    return LinearBlocks(U1, n)


# Known answers.


def test_one_block_is_proximal_gradient_descent():
    assert updates(PALM(gamma=1.0), problem=blocks(1)) == 636


@pytest.mark.parametrize(
    "algorithm",
    [
        PALM(gamma=1.0), PALM(), PALM(gamma=1.0, order="random"), IPALM(), IPALM(convex=False),
        IPALM(inertia=0.0, convex=False), IPALM(inertia=None), IPALM(order="random"),
    ],
)  # fmt: skip
def test_blocks_arrive(algorithm):
    run = start(blocks(), most=100)
    algorithm.run(run)
    assert run.reason == "until"


def test_the_residual_ends_a_run_near_the_answer():
    run = ended(PALM(gamma=1.0), blocks(), Stop(1e-9, 1000))
    assert run.reason == "tolerance" and np.abs(run.x - U1.solution).max() < 1e-7  # mu = 0.01


def test_the_lifted_problem_is_solved():
    run = ended(PALM(), Lifted(), Stop(1e-10, 1000))
    assert run.reason == "tolerance"
    np.testing.assert_allclose(run.x, Lifted.answer, rtol=0, atol=1e-8)
    assert run.objective(run.x) == pytest.approx(0.45, abs=1e-12)
    np.testing.assert_allclose(ended(IPALM(inertia=0.1, convex=False), Lifted(), Stop(1e-10, 1000)).x, Lifted.answer, atol=1e-8)


def test_the_lifted_problem_contracts_as_exact_minimisation_does():
    """Both steps of length 1 / L are exact there: a^2 / (2 (a^2 + weight)) a sweep."""
    errors = []
    ended(PALM(gamma=1.0), Lifted(), Stop(0.0, 10, until=lambda v: errors.append(v[1] - 1.2)))
    assert np.divide(errors[1:], errors[:-1]) == pytest.approx(4 / 9, rel=1e-8)


# Descent.


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("gamma", [1.0, 1.1, 2.0])
@pytest.mark.parametrize("order", ["cyclic", "random"])
def test_every_move_descends_as_far_as_it_must(gamma, order, seed):
    problem = factorisation(seed)
    run = ended(PALM(gamma, order), problem, Stop(0.0, 150), seed=seed)
    descents, seen = -np.diff(problem.values), {0: iter(problem.constants[0]), 1: iter(problem.constants[1])}
    for (j, square), descent in zip(problem.moves, descents, strict=True):
        assert descent >= 0.5 * (gamma - 1.0) * next(seen[j]) * square - 1e-13
    assert len(problem.moves) == 300 and problem.values[-1] < 0.1 * problem.values[0] and (run.x >= 0).all()


def test_a_factorisation_ends_at_a_critical_point():
    problem = factorisation()
    run = ended(PALM(), problem, Stop(1e-7, 20_000))
    slope = np.empty_like(run.x)
    problem.begin(run.x)
    problem.gradient(run.x, slope)
    assert run.reason == "tolerance" and np.abs(run.x - np.maximum(run.x - slope, 0.0)).max() < 1e-6


# Constants out of bounds.


@pytest.mark.parametrize("algorithm", [PALM(), IPALM(), IPALM(inertia=None)])
@pytest.mark.parametrize("zero", ["x", "y"])
def test_a_factor_that_starts_at_zero_is_left(algorithm, zero):
    """The constant of the first block is 0 where the second starts at zero."""
    problem = factorisation(zero=zero)
    run = ended(algorithm, problem, Stop(0.0, 300))
    assert (problem.constants[0][0] == 0.0) == (zero == "y")
    assert np.isfinite(run.x).all() and problem.values[-1] < 0.05 * problem.values[0]


def test_two_factors_at_zero_stay():
    """A critical point; both constants vanish."""
    problem = factorisation(zero="xy")
    run = ended(PALM(), problem, Stop(1e-9, 10))
    assert run.reason == "tolerance" and not run.x.any() and problem.constants == {0: [0.0], 1: [0.0]}


@pytest.mark.parametrize(
    ("bounds", "used"), [({"lowest": 12.0}, 12.0), ({"highest": 2.0}, 2.0), ({"lowest": 1.0, "highest": 4.0}, 3.0)]
)
def test_constants_are_kept_within_bounds(bounds, used):
    run = ended(PALM(gamma=2.0, **bounds), Line(), Stop(0.0, 1))
    assert run.x[0] == pytest.approx(1.0 - 3.0 / (2.0 * used), rel=1e-14)


# iPALM.


def factor(constant, a, b, convex, eps):
    """Return c of Pock & Sabach."""
    if convex:
        delta = (a + 2 * b) / (2 * (1 - eps - a)) * constant
        return ((1 + eps) * delta + (1 + b) * constant) / (2 - a)
    delta = (a + b) / (1 - eps - 2 * a) * constant
    return ((1 + eps) * delta + (1 + b) * constant) / (1 - a)


def test_steps_without_inertia():
    """c = L / 2 for convex regularisers, the limit of all steps, and L for any: from 1 to -1 and to 0 on a parabola."""
    assert factor(3.0, 0.0, 0.0, True, 0.3) == 1.5 and factor(3.0, 0.0, 0.0, False, 0.3) == 3.0
    assert ended(IPALM(inertia=1e-14), Line(), Stop(0.0, 1)).x[0] == pytest.approx(-1.0, rel=1e-10)
    assert ended(IPALM(inertia=0.0, convex=False), Line(), Stop(0.0, 1)).x[0] == pytest.approx(0.0, abs=1e-14)
    assert ended(IPALM(inertia=None, gamma=1.5), Line(), Stop(0.0, 1)).x[0] == pytest.approx(1 / 3, rel=1e-14)


@pytest.mark.parametrize(
    "algorithm",
    [
        IPALM(), IPALM(inertia=0.4, convex=False), IPALM(inertia=0.9, eps=0.05), IPALM(inertia=None),
        IPALM(inertia=None, gamma=1.0), PALM(),
    ],
)  # fmt: skip
def test_points_are_those_of_the_formulas(algorithm):
    """Worked out with whole matrices, nothing kept between moves."""
    points, spans = [], blocks().blocks
    ended(algorithm, blocks(), Stop(0.0, 6, until=lambda x: points.append(x.copy())))
    x, old = np.zeros(20), np.zeros(20)
    for sweep, found in enumerate(points):
        for span in spans:
            if isinstance(algorithm, IPALM):
                a = max(sweep - 1, 0) / (sweep + 2) if algorithm.inertia is None else algorithm.inertia
            else:
                a = 0.0
            constant = np.linalg.norm(U1.rows[:, span], 2) ** 2
            if getattr(algorithm, "inertia", None) is None:
                c = algorithm.gamma * constant
            else:
                c = factor(constant, a, a, algorithm.convex, algorithm.eps)
            ahead, slope = x.copy(), np.empty(20)
            ahead[span] += a * (x[span] - old[span])
            U1.gradient(ahead, slope)
            moved = ahead[span] - slope[span] / c
            old[span] = x[span]
            x[span] = np.sign(moved) * np.maximum(np.abs(moved) - 0.5 / c, 0.0)
        np.testing.assert_allclose(found, x, rtol=0, atol=1e-11)


def test_what_is_kept_is_told_of_every_move():
    """Also of those to where the gradient is taken, and back; the unknowns have moved when it is told."""
    problem, calls = factorisation(), []
    moved = problem.moved

    def checked(j, x, change):
        moved(j, x, change)
        left, right = problem.factors(x)
        np.testing.assert_allclose(problem.rest, left @ right - problem.matrix, rtol=0, atol=1e-12)
        calls.append(j)

    problem.moved = checked
    run = ended(IPALM(), problem, Stop(0.0, 20))
    assert calls == [0, 0, 0, 1, 1, 1] * 20 and problem.values[-1] == problem.value(run.x)


# Orders, ranks.


@pytest.mark.parametrize("algorithm", [PALM(order="random"), IPALM(order="random")])
def test_a_seed_makes_an_order(algorithm):
    first, again, other = (ended(algorithm, blocks(), Stop(0.0, 2), seed=seed).x for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("algorithm", [PALM(), PALM(order="random"), IPALM(), IPALM(inertia=None)])
def test_any_number_of_ranks_gives_the_same_points(algorithm):
    """With blocks of one unknown each, whose constants of ranks add to those of the whole exactly."""

    def act(team):
        problem = LinearBlocks(U1.part(team.rank, team.size), 20)
        run = Run(problem, team, np.zeros(20), Stop(0.0, 5), every=1, seed=3)
        algorithm.run(run)
        return run.x, run.history[-1]["objective"]

    (alone,), (one, other) = together(1, act), together(2, act)
    np.testing.assert_allclose(one[0], alone[0], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(one[0], other[0])
    assert one[1] == pytest.approx(alone[1], rel=1e-13)


def test_ranks_arrive_with_constants_that_are_bounds():
    def act(team):
        run = Run(LinearBlocks(U1.part(team.rank, team.size), 4), team, np.zeros(20), Stop(1e-6, 2000))
        PALM(gamma=1.0).run(run)
        return run.reason, gap(run.x)

    assert all(reason == "tolerance" and found < 1e-8 for reason, found in together(2, act))


# Refusals.


@pytest.mark.parametrize(
    ("act", "error", "text"),
    [
        (lambda: PALM(gamma=0.9), ValueError, "PALM: gamma = 0.9 was given, expected a finite number >= 1"),
        (lambda: PALM(gamma=None), TypeError, "PALM: gamma = None was given, expected a number"),
        (lambda: PALM(order="any"), ValueError, "PALM: order = 'any' was given, expected one of 'cyclic', 'random'"),
        (lambda: PALM(lowest=0.0), ValueError, "PALM: lowest = 0.0, highest = inf were given, expected 0 < lowest <= highest"),
        (lambda: PALM(lowest=2.0, highest=1.0), ValueError, "lowest = 2.0, highest = 1.0 were given"),
        (lambda: PALM(highest=np.nan), ValueError, "highest = nan"),
        (lambda: IPALM(lowest=-1.0), ValueError, "IPALM: lowest = -1.0 was given, expected a finite number >= 0"),
        (lambda: IPALM(eps=1.0), ValueError, "IPALM: eps = 1.0 was given, expected a finite number >= 0 and < 1"),
        (lambda: IPALM(inertia=0.99), StepError, "IPALM: inertia = 0.99 was given, expected 0 < inertia < 0.99, or None"),
        (lambda: IPALM(inertia=0.5, convex=False), StepError, "inertia = 0.5 was given, expected 0 <= inertia < 0.495"),
        (lambda: IPALM(inertia=0.0), StepError, "PALM has none"),
        (lambda: IPALM(inertia=-0.1), StepError, "inertia = -0.1"),
        (lambda: PALM().run(start()), TypeError, "PALM: a problem of type AnalyticLasso was given, expected a BlockProblem"),
        (lambda: IPALM().run(start()), TypeError, "IPALM: a problem of type AnalyticLasso was given"),
    ],
)  # fmt: skip
def test_wrong_arguments(act, error, text):
    with pytest.raises(error, match=text):
        act()


def test_what_is_not_finite_ends_a_run():
    class Bad(Line):
        def block_gradient(self, j, x, out):
            out[...] = np.nan

    with pytest.raises(Diverged, match="update 1: the unknowns are not finite"):
        ended(PALM(), Bad(), Stop())
