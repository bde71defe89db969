"""The sweep: differences instead of derivatives, micro-batches, shared pulls, and how near it is to backpropagation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from problems import (
    ELEMENTWISE,
    cosine,
    deep_chain,
    distance,
    numerical_derivative,
    problem,
    problems,
    random_direction,
    skips,
)

import paralift as pl
from paralift.lifted.gradient import displacement_of, value_and_grad
from paralift.lifted.inference.sweep import backward, clamp, forward, gradients
from paralift.lifted.stage import Stage, State
from paralift.methods import Hard, Method, Sweep, backprop, nudged

few = settings(deadline=None, max_examples=25, derandomize=True)
SMOOTH = (pl.Tanh(), pl.Sigmoid(), pl.Softplus())


def gradient(p, method, loss=None):
    return value_and_grad(p.network, method, loss or p.loss)(p.params, p.x, p.y)


# Backpropagation by the same blocks


def loss_value(p, params):
    """The mean loss, from the output of a plain forward pass and the definitions of the losses."""
    out = p.network.apply(params, p.x)
    kind, y = type(p.loss).__name__, p.y
    if kind == "CrossEntropy":
        hot = np.eye(out.shape[-1])[y] if y.dtype.kind == "i" else y
        total = -(hot * np.log(out)).sum()
    elif kind == "Squared":
        total = 0.5 * ((out - y) ** 2).sum()
    elif kind == "BinaryCrossEntropy":
        total = -(y * np.log(out) + (1 - y) * np.log(1 - out)).sum()
    elif kind == "BregmanLoss":  # after tanh
        z = np.arctanh(out)
        total = (y * (np.arctanh(y) - z) + 0.5 * np.log(1 - y * y) + np.log(np.cosh(z))).sum()
    elif kind == "Huber":
        d = np.abs(out - y)
        total = np.where(d <= p.loss.delta, 0.5 * d * d, p.loss.delta * (d - 0.5 * p.loss.delta)).sum()
    else:
        total = np.abs(out - y).sum()
    return total / (len(p.x) * p.network.rows)


def check_against_differences(p, seed=0):
    value, grads = gradient(p, backprop())
    assert value == pytest.approx(loss_value(p, p.params), rel=1e-10)
    for k in range(2):
        along = random_direction(p.network, p.params, seed + k)
        slope = numerical_derivative(lambda params: loss_value(p, params), p.params, along)
        found = sum(np.vdot(grads[b][n], a) for b, arrays in along.items() for n, a in arrays.items())
        assert found == pytest.approx(slope, rel=2e-5, abs=1e-7)


@given(problems())
@few
def test_backprop_is_the_gradient_of_the_loss(p):
    check_against_differences(p)


LOSSES = {
    "labels": (pl.Softmax(), None, True),
    "probabilities": (pl.Softmax(), None, False),
    "squared": (pl.Identity(), pl.losses.Squared(), False),
    "binary": (pl.Sigmoid(), pl.losses.BinaryCrossEntropy(), False),
    "bregman": (pl.Tanh(), pl.losses.BregmanLoss(), False),
    "huber": (pl.Identity(), pl.losses.Huber(0.8), False),
    "absolute": (pl.Identity(), pl.losses.Absolute(), False),
}


@pytest.mark.parametrize("name", LOSSES)
def test_backprop_of_every_loss(name):
    end, loss, labels = LOSSES[name]
    check_against_differences(problem(skips(pl.Tanh(), end=end), n=6, seed=1, labels=labels, loss=loss))


def test_backprop_of_tokens_and_shapes():
    network = pl.Sequential(
        pl.Linear(4, 6), pl.LayerNorm(6), pl.Residual(pl.Linear(6, 6), pl.Tanh()), pl.Linear(6, 3), pl.Softmax(),
        input_shape=(5, 4),
    )  # fmt: skip
    check_against_differences(problem(network, n=3))
    network = pl.Sequential(
        pl.Linear(3, 4), pl.Tanh(), pl.Flatten(), pl.Linear(8, 6), pl.Reshape(2, 3), pl.RMSNorm(3), pl.Softmax(),
        input_shape=(2, 3),
    )  # fmt: skip
    check_against_differences(problem(network, n=3))


def test_backprop_of_batch_normalisation():
    """Evaluated with the statistics of the batch, as in training."""
    network = pl.Sequential(pl.Linear(4, 5), pl.BatchNorm(5), pl.Tanh(), pl.Linear(5, 3))
    p = problem(network, n=8)
    evaluate = value_and_grad(network, backprop())
    _, grads = evaluate(p.params, p.x, p.y)
    along = random_direction(network, p.params)
    slope = numerical_derivative(lambda params: evaluate(params, p.x, p.y)[0], p.params, along)
    found = sum(np.vdot(grads[b][n], a) for b, arrays in along.items() for n, a in arrays.items())
    assert found == pytest.approx(slope, rel=1e-5)
    assert not grads["linear1"]["mean"].any() and not grads["linear1"]["variance"].any()


@given(problems())
@few
def test_quadratic_penalty_is_backpropagation(p):
    value, grads = gradient(p, nudged(penalty="quadratic"))
    reference, expected = gradient(p, backprop())
    assert value == reference and distance(grads, expected) <= 1e-13
    _, grads = gradient(p, nudged(0.01, penalty="quadratic"))
    if not isinstance(p.loss, pl.losses.Huber | pl.losses.Absolute):
        assert distance(grads, expected) <= 1e-12


# How near the sweep is


@pytest.mark.parametrize("seed", range(6))
def test_symmetric_nudge_has_an_error_of_second_order(seed):
    p = smooth_problem(seed)
    _, expected = gradient(p, backprop())
    errors = [distance(gradient(p, nudged(beta))[1], expected) for beta in (0.08, 0.04, 0.02)]
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize("seed", range(6))
def test_one_sided_nudge_has_an_error_of_first_order(seed):
    p = smooth_problem(seed)
    _, expected = gradient(p, backprop())
    errors = [distance(gradient(p, nudged(beta, symmetric=False))[1], expected) for beta in (0.04, 0.02, 0.01)]
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2.0, rel=0.05)


def smooth_problem(seed):
    """Chains, skips, residual blocks and normalisations, all smooth enough for an expansion in beta."""
    activation = SMOOTH[seed % 3]
    width = 6
    networks = [
        deep_chain(activation, 3, width),
        skips(activation, width, end=pl.Identity()),
        pl.Sequential(
            pl.Linear(8, width), pl.Residual(pl.Linear(width, width), pl.LayerNorm(width, 0.1), activation),
            pl.Residual(pl.RMSNorm(width, 0.1), pl.Linear(width, width), pl.Softmax()), pl.Linear(width, 3),
            pl.Sigmoid(),
        ),
    ]  # fmt: skip
    return problem(networks[seed // 2], n=9, seed=seed)


@pytest.mark.parametrize("activation", ELEMENTWISE, ids=repr)
@pytest.mark.parametrize("build", [skips, deep_chain], ids=["skips", "chain"])
def test_small_symmetric_nudge_points_along_backpropagation(activation, build):
    p = problem(build(activation), n=256, seed=5)
    assert cosine(gradient(p, nudged(1e-2))[1], gradient(p, backprop())[1]) >= 0.9999


@given(problems(max_samples=1))
@settings(deadline=None, max_examples=10, derandomize=True)
def test_small_nudge_on_random_networks(p):
    p = problem(p.network, n=256, seed=3)
    assert cosine(gradient(p, nudged(1e-2))[1], gradient(p, backprop())[1]) >= 0.9999


def test_hard_clamp_is_the_one_sided_nudge_of_weight_one():
    p = problem(skips(pl.Tanh()), n=4)
    _, hard = gradient(p, Method(clamp=Hard(), inference=Sweep()))
    _, nudge = gradient(p, nudged(1.0, symmetric=False))
    assert distance(hard, nudge) == 0.0


def test_without_hidden_blocks_every_nudge_is_exact():
    """The residual of the output is beta (sigma(z) - y), whatever beta."""
    p = problem(pl.Sequential(pl.Linear(4, 3), pl.Softmax()), n=5)
    _, expected = gradient(p, backprop())
    for method in (nudged(), nudged(0.3), nudged(5.0, symmetric=False), nudged(relative=0.01)):
        assert distance(gradient(p, method)[1], expected) <= 1e-13


# The relative nudge


class Scaled(pl.losses.Squared):
    """1000 times the squared loss."""

    def pull(self, activation, z, x, y, beta, g):
        value = super().pull(activation, z, x, y, beta, g)
        g *= 1e3
        return 1e3 * value


def test_relative_nudge_knows_no_scale_of_the_loss():
    p = problem(skips(pl.Tanh(), end=pl.Identity()), n=7)
    _, once = gradient(p, nudged(relative=0.1))
    _, scaled = gradient(p, nudged(relative=0.1), Scaled())
    assert distance({b: {k: g / 1e3 for k, g in d.items()} for b, d in scaled.items()}, once) <= 1e-12
    _, fixed = gradient(p, nudged(0.1), Scaled())  # a nudge by beta does
    assert distance({b: {k: g / 1e3 for k, g in d.items()} for b, d in fixed.items()}, once) > 0.1


@pytest.mark.parametrize("method", [nudged(relative=0.05), nudged(0.5), nudged(0.5, False), backprop()], ids=repr)
def test_a_sample_does_not_see_its_batch(method):
    p = problem(skips(pl.Tanh()), n=6)
    evaluate = value_and_grad(p.network, method)
    value, whole = evaluate(p.params, p.x, p.y)
    alone = [evaluate(p.params, p.x[i : i + 1], p.y[i : i + 1]) for i in range(6)]
    assert value == pytest.approx(np.mean([v for v, _ in alone]), rel=1e-12)
    mean = {b: {k: sum(g[b][k] for _, g in alone) / 6 for k in arrays} for b, arrays in whole.items()}
    assert distance(whole, mean) <= 1e-12


def test_relative_nudge_is_near_backpropagation():
    p = problem(skips(pl.Tanh()), n=64)
    _, expected = gradient(p, backprop())
    errors = [distance(gradient(p, nudged(relative=eps))[1], expected) for eps in (0.1, 0.01)]
    assert errors[0] < 0.05 and errors[1] < errors[0] / 50


# Windows of micro-batches


def swept(p, method, bounds, share=True):
    """The flat gradient of a sweep in micro-batches, and the loss."""
    stage = Stage(p.network, 0, len(p.network.blocks), np.zeros(1))
    stage.load(p.params)
    state = stage.state(len(p.x))
    state.x[0][...] = p.x
    state.y = p.y
    value, beta = 0.0, method.clamp.beta
    for start, stop in zip(bounds, bounds[1:], strict=False):
        window = state.window(start, stop)
        forward(window)
        value += clamp(window, p.loss, beta)
        backward(window, displacement_of(method))
    gradients(state.window(0, len(p.x)))
    return stage.gradient.copy(), float(value)


METHODS = (nudged(0.5), nudged(0.5, symmetric=False), nudged(relative=0.05), backprop())


@given(problems(max_samples=7))
@few
def test_micro_batches_do_not_change_the_gradient(p):
    n = len(p.x)
    for method in METHODS:
        whole, value = swept(p, method, [0, n])
        for bounds in ([0, n // 2, n], [0, *range(1, n + 1)], [0, 0, n, n]):
            parts, sums = swept(p, method, bounds)
            np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-12 * np.abs(whole).max())
            assert sums == pytest.approx(value, rel=1e-12)


@given(problems())
@few
def test_shared_pulls_do_not_change_the_gradient(p):
    n = len(p.x)
    for method in METHODS:
        shared, _ = swept(p, method, [0, n])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(State, "_shared_pulls", lambda state: {})
            plain, _ = swept(p, method, [0, n])
        np.testing.assert_allclose(shared, plain, rtol=0, atol=1e-13 * np.abs(plain).max())


def test_sums_of_identities_do_share_their_pull():
    network = pl.Sequential(
        pl.Linear(4, 4), pl.Tanh(), pl.Residual(pl.Linear(4, 4)), pl.Residual(pl.Linear(4, 4)), pl.Linear(4, 2)
    )
    stage = Stage(network, 0, len(network.blocks), np.zeros(1))
    state = stage.state(3)
    add1, branch, add2 = 3, 4, 5
    assert state.shared == {2: add1, branch: add2}
    assert state.g[branch] is state.g[add2] and state.g[add1] is not state.g[add2]
    assert state.x[2] is state.z[2] and state.x[1] is not state.z[1]
    arrays = {id(a): a.nbytes for group in (state.x, state.z, state.g) for a in group.values()}
    assert state.nbytes() == sum(arrays.values())


# Regularisers on lifted variables


def envelope(regularizer, x):
    """min_u R(u) + |u - x|^2/2, whose gradient is the pull of a regulariser on a variable."""
    u = regularizer.prox(x, 1.0)
    return regularizer.value(u) + 0.5 * ((u - x) ** 2).sum()


STATES = {
    "hidden": (lambda: pl.Sequential(pl.Linear(5, 4), pl.Tanh(), pl.Linear(4, 3)), "linear1", 1),
    "residual branch": (
        lambda: pl.Sequential(pl.Linear(5, 4), pl.Tanh(), pl.Residual(pl.Linear(4, 4)), pl.Linear(4, 3)), "linear2", 2,
    ),
    "first of two branches": (
        lambda: pl.Sequential(pl.Parallel(pl.Linear(5, 4), pl.Linear(5, 4)), pl.Linear(4, 3)), "linear1", 1,
    ),
    "second of two branches": (
        lambda: pl.Sequential(pl.Parallel(pl.Linear(5, 4), pl.Linear(5, 4)), pl.Linear(4, 3)), "linear2", 2,
    ),
    "sum": (lambda: pl.Sequential(pl.Parallel(pl.Linear(5, 4), pl.Linear(5, 4)), pl.Linear(4, 3)), "add1", 3),
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_regularised_states_pull_like_their_envelope(name):
    build, block, variable = STATES[name]
    network, regularizer = build(), pl.optim.Ridge(0.7)
    p = problem(network, n=4)
    method = Method(penalty="quadratic", clamp=pl.methods.Nudge(), states={block: regularizer})
    _, grads = gradient(p, method)

    def objective(params):
        x = network.variables(params, p.x)[variable]
        return loss_value(p, params) + envelope(regularizer, x) / (len(p.x) * p.network.rows)

    for name_of, arrays in grads.items():
        for key, g in arrays.items():
            along = {b: {k: (a * 0 + (b == name_of and k == key)) for k, a in d.items()} for b, d in p.params.items()}
            assert g.sum() == pytest.approx(numerical_derivative(objective, p.params, along), rel=1e-6, abs=1e-8)


def test_regularised_states_weigh_like_the_loss():
    p = problem(pl.Sequential(pl.Linear(5, 4), pl.Tanh(), pl.Linear(4, 3)), n=4)
    states = {"linear1": pl.optim.L1(0.2)}
    _, small = gradient(p, nudged(1e-4, states=states))
    _, exact = gradient(p, nudged(penalty="quadratic", states=states))
    assert distance(small, exact) <= 1e-6
