"""Dropout: one mask both ways, its expectation, the same whatever the partition, and nothing in evaluation."""

from __future__ import annotations

import numpy as np
import problems
import pytest

import paralift as pl
from paralift.kernels.draw import sample_keys
from paralift.lifted.maps import ShapeError
from paralift.lifted.stage import Stage

KEYS = sample_keys(0, 2, np.arange(7))


def network():
    return pl.Sequential(
        pl.Linear(5, 8), pl.Tanh(), pl.Dropout(0.3), pl.Linear(8, 8), pl.Dropout(0.2), pl.Softplus(),
        pl.Residual(pl.Dropout(0.4), pl.Linear(8, 8)), pl.Linear(8, 3), pl.Softmax(),
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(6,), (3, 4)], ids=str)
def test_the_adjoint_has_the_mask_of_the_product(shape):
    rng = np.random.default_rng(0)
    map_ = pl.Dropout(0.4).drawn(KEYS, 5)
    x, r = rng.standard_normal((2, 7, *shape))
    z, pull = np.empty_like(x), np.empty_like(x)
    map_.apply({}, [x], z)
    map_.adjoint({}, [x], r, 0, pull)
    assert np.vdot(z, r) == pytest.approx(np.vdot(x, pull), rel=1e-12)
    np.testing.assert_array_equal(z == 0, pull == 0)
    np.testing.assert_allclose(z[z != 0], (x / 0.6)[z != 0])
    assert 0 < (z == 0).mean() < 1 and map_.output_shape(shape) == shape
    assert np.abs(z).max() <= pl.Dropout(0.4).norm({}, 0) * np.abs(x).max() * (1 + 1e-12)


def test_the_mean_over_epochs_is_the_input():
    x, total = np.ones((1, 50)), np.zeros((1, 50))
    for epoch in range(2000):
        out = np.empty_like(x)
        pl.Dropout(0.5).drawn(sample_keys(0, epoch, np.arange(1)), 1).apply({}, [x], out)
        total += out
    np.testing.assert_allclose(total / 2000, 1.0, atol=5 / np.sqrt(2000))


def test_evaluation_drops_nothing():
    problem = problems.problem(network(), n=7)
    plain = pl.Sequential(
        pl.Linear(5, 8), pl.Tanh(), pl.Linear(8, 8), pl.Softplus(), pl.Residual(pl.Linear(8, 8)), pl.Linear(8, 3), pl.Softmax()
    )
    np.testing.assert_allclose(problem.network.apply(problem.params, problem.x), plain.apply(problem.params, problem.x))
    stage = Stage(problem.network, 0, len(problem.network.blocks), problem.x)
    stage.load(problem.params)
    state = stage.state(7, training=False)
    state.x[0][...] = problem.x
    for step in state.window(0, 7).steps:
        for work in step.forward:
            work()
    expected = plain.apply(problem.params, problem.x)
    np.testing.assert_allclose(state.x[len(problem.network.blocks)], expected)
    assert state.keys is None and stage.draws and not Stage(plain, 0, 2, problem.x).draws


def test_gradients_are_those_of_the_masked_network():
    problem = problems.problem(network(), n=7)
    evaluate = pl.value_and_grad(problem.network, pl.methods.backprop())
    value, grads = evaluate(problem.params, problem.x, problem.y, KEYS)
    along = problems.random_direction(problem.network, problem.params)
    slope = problems.numerical_derivative(
        lambda params: evaluate(params, problem.x, problem.y, KEYS)[0], problem.params, along
    )
    _, grads = evaluate(problem.params, problem.x, problem.y, KEYS)
    assert problems.vector(grads) @ problems.vector(along) == pytest.approx(slope, rel=1e-6)
    nudged = pl.value_and_grad(problem.network, pl.methods.nudged(beta=1e-3))(problem.params, problem.x, problem.y, KEYS)
    assert nudged[0] == pytest.approx(value) and problems.cosine(nudged[1], grads) > 1 - 1e-6
    other, _ = evaluate(problem.params, problem.x, problem.y, sample_keys(0, 3, np.arange(7)))
    assert other != pytest.approx(value, rel=1e-6)


def test_a_batch_is_the_sum_of_its_samples():
    """Masks hang on samples, not on where they stand in a batch."""
    problem = problems.problem(network(), n=7)
    evaluate = pl.value_and_grad(problem.network)
    whole, _ = evaluate(problem.params, problem.x, problem.y, KEYS)
    one = [evaluate(problem.params, problem.x[i : i + 1], problem.y[i : i + 1], KEYS[i : i + 1])[0] for i in range(7)]
    assert whole == pytest.approx(np.mean(one), rel=1e-12)


def test_iterations_over_lifted_variables_lower_the_masked_energy():
    """Steps are safe for every mask: the norm of the map bounds them all."""
    problem = problems.problem(network(), n=7)
    method = pl.methods.Method(clamp=pl.methods.Hard(), inference=pl.methods.ProximalGradient(5))
    value, grads = pl.value_and_grad(problem.network, method)(problem.params, problem.x, problem.y, KEYS)
    backprop, _ = pl.value_and_grad(problem.network, pl.methods.backprop())(problem.params, problem.x, problem.y, KEYS)
    assert value == pytest.approx(backprop, rel=1e-12)  # the loss at the start, which is a masked forward pass
    assert np.isfinite(problems.vector(grads)).all()


def test_keys_must_be_given_and_fit():
    problem = problems.problem(network(), n=7)
    evaluate = pl.value_and_grad(problem.network)
    with pytest.raises(ValueError, match=r"dropout1 draws at random: pass keys=paralift\.sample_keys"):
        evaluate(problem.params, problem.x, problem.y)
    with pytest.raises(ValueError, match=r"dtype int64 and shape \(3,\), expected uint64 \(7,\)"):
        evaluate(problem.params, problem.x, problem.y, np.arange(3))


def test_rates_that_cannot_be():
    for rate in (1.0, -0.1, "0.5", True, float("nan")):
        with pytest.raises(ValueError, match="rate is .*, expected a number of at least 0 and less than 1"):
            pl.Dropout(rate)
    with pytest.raises(ShapeError, match="reads 1 parent"):
        pl.Dropout(0.1).output_shape((2,), (2,))
