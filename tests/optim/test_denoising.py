"""Total variation: known solutions, the dual and its gap, accuracies that are kept."""

from __future__ import annotations

import numpy as np
import pytest
from crew import together

from paralift.optim.algorithms.proximal import FISTA, ProximalGradientDescent
from paralift.optim.algorithms.run import Run, Stop
from paralift.optim.denoising import Dual, TotalVariation, Variation, adjoint, differences
from paralift.optim.team import Alone

SHAPES = [(7,), (4, 5), (1, 6), (3, 2, 4), (1,)]
STEP = np.repeat([0.0, 1.0], [10, 30])


def objective(problem, x):
    return problem.value(x) + problem.penalty(x)


def picture(seed=0):
    rng = np.random.default_rng(seed)
    return np.kron(rng.standard_normal((3, 2)), np.ones((4, 5))) + 0.1 * rng.standard_normal((12, 10))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_adjoint_is_one_and_differences_are_bounded(shape):
    rng = np.random.default_rng(0)
    x, p = rng.standard_normal(shape), rng.standard_normal((len(shape), int(np.prod(shape))))
    assert np.sum(differences(x) * p) == pytest.approx(np.sum(x * adjoint(p, shape)), abs=1e-12)
    size = int(np.prod(shape))
    matrix = np.stack([differences(e.reshape(shape)).reshape(-1) for e in np.eye(size)])
    assert np.linalg.norm(matrix, 2) ** 2 <= Dual(x, 1.0).lipschitz()


def test_known_values():
    assert Variation(2.0).value(np.array([1.0, 3.0, 2.0])) == 6.0
    assert Variation(1.0).value(np.array([[0.0, 4.0], [3.0, 3.0]])) == pytest.approx(5.0 + 1.0)
    assert Variation(1.0).value(np.ones((3, 3))) == 0.0


def test_a_step_becomes_a_lower_step():
    """Each plateau moves by the weight over its length, until they meet."""
    problem = TotalVariation(STEP, 0.5)
    x = STEP.copy()
    problem.prox_within(x, 1.0, 1e-9)
    np.testing.assert_allclose(x, np.repeat([0.5 / 10, 1 - 0.5 / 30], [10, 30]), rtol=0, atol=1e-4)
    x = STEP.copy()
    problem.prox_within(x, 20.0, 1e-9)  # flat: the mean
    np.testing.assert_allclose(x, 0.75, rtol=0, atol=1e-3)


def test_an_edge_of_a_picture_becomes_a_lower_edge():
    image = np.tile(np.repeat([0.0, 1.0], [3, 6]), (5, 1))
    x = image.copy()
    TotalVariation(image, 0.6).prox_within(x, 1.0, 1e-9)
    np.testing.assert_allclose(x, np.tile(np.repeat([0.2, 0.9], [3, 6]), (5, 1)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("accuracy", [1e-1, 1e-3, 1e-5])
@pytest.mark.parametrize("step", [0.3, 1.0])
def test_accuracies_are_kept(accuracy, step):
    image = picture()
    problem = TotalVariation(image, 0.2)

    def value(x):
        return problem.penalty(x) + np.sum((x - image) ** 2) / (2 * step)

    rough, fine = image.copy(), image.copy()
    TotalVariation(image, 0.2).prox_within(fine, step, 1e-8)
    problem.prox_within(rough, step, accuracy)
    assert value(rough) - value(fine) <= accuracy + 1e-8
    assert np.sum((rough - fine) ** 2) / (2 * step) <= accuracy + 1e-3 * accuracy + 1e-7  # strong convexity


def test_the_gap_bounds_the_error_of_the_primal():
    image = picture(1)
    dual, fine = Dual(image, 0.2), image.copy()
    TotalVariation(image, 0.2).prox_within(fine, 1.0, 1e-9)
    primal = TotalVariation(image, 0.2)
    best = objective(primal, fine)

    def until(p):
        gap = dual.gap(p)
        assert gap >= -1e-12
        assert -1e-9 <= objective(primal, dual.image(p)) - best <= gap + 1e-9
        return gap <= 1e-3

    run = Run(dual, Alone(), dual.start.copy(), Stop(until=until))
    FISTA().run(run)
    assert run.reason == "until"


def test_the_dual_is_a_problem_for_any_algorithm():
    """Strong duality: the least f(p) is |v|^2 / 2 minus the dual, so that both add up to it."""
    dual, primal = Dual(picture(), 0.2), TotalVariation(picture(), 0.2)
    run = Run(dual, Alone(), dual.start.copy(), Stop(until=lambda p: dual.gap(p) <= 1e-3))
    ProximalGradientDescent().run(run)
    x = dual.image(run.x)
    half = 0.5 * np.sum(picture() ** 2)
    assert objective(primal, x) == pytest.approx(half - dual.value(run.x), abs=1.1e-3)
    gradient, ahead = np.empty_like(run.x), np.random.default_rng(1).standard_normal(run.x.shape)
    dual.gradient(run.x, gradient)
    slope = (dual.value(run.x + 1e-5 * ahead) - dual.value(run.x - 1e-5 * ahead)) / 2e-5
    assert np.sum(gradient * ahead) == pytest.approx(slope, rel=1e-7)


def test_loops_start_where_the_last_one_ended():
    image = picture()
    problem = TotalVariation(image, 0.2)
    x = image.copy()
    problem.prox_within(x, 1.0, 1e-6)
    kept = problem._dual.copy()
    again = image.copy()
    problem.prox_within(again, 1.0, 1e-6)
    np.testing.assert_allclose(problem._dual, kept, rtol=0, atol=1e-15)
    np.testing.assert_allclose(again, x, rtol=0, atol=1e-14)


def test_several_pictures_of_one_scene():
    """Three ranks: f is 3/2 |x - mean|^2 up to a constant, so the solution is the prox of the mean by 1/3."""
    noise = np.random.default_rng(0).standard_normal((3, *STEP.shape))

    def act(team):
        problem = TotalVariation(STEP + 0.1 * noise[team.rank], 1.5)
        run = Run(problem, team, problem.start.copy(), Stop(max_updates=5))
        ProximalGradientDescent().run(run)
        return run

    runs = together(3, act)
    mean = STEP + 0.1 * noise.mean(axis=0)
    TotalVariation(mean, 1.5).prox_within(mean, 1 / 3, 1e-9)
    assert runs[0].facts["step"] == pytest.approx(1 / 3)
    np.testing.assert_allclose(runs[0].x, mean, rtol=0, atol=5e-3)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"shape \(0,\)"):
        TotalVariation(np.empty(0), 1.0)
    with pytest.raises(ValueError, match="weight = -1"):
        TotalVariation(STEP, -1.0)
    with pytest.raises(NotImplementedError, match="no proximal map"):
        Variation(1.0, on="all").apply(np.ones(3), 1.0)


def test_an_accuracy_finer_than_rounding_is_told(monkeypatch):
    monkeypatch.setattr("paralift.optim.denoising.MOST", 50)
    with pytest.raises(RuntimeError, match="a gap of 1e-30 was asked for"):
        TotalVariation(STEP, 0.5).prox_within(STEP.copy(), 1.0, 1e-30)
