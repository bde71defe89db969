"""value_and_grad: structure, types, libraries, buffers and errors; and what it owes to its arguments alone."""

from __future__ import annotations

import array_api_strict as strict
import numpy as np
import pytest
from hypothesis import given, settings
from problems import deep_chain, distance, problem, problems, skips

import paralift as pl
from paralift.lifted.network import check_params
from paralift.methods import (
    BlockDescent,
    Hard,
    Implicit,
    Method,
    Nudge,
    ProximalGradient,
    backprop,
    lifted_bregman_bcd,
    nudged,
)

DEVICE, CPU = strict.Device("device1"), strict.Device("CPU_DEVICE")
METHODS = {
    "nudged": nudged(),
    "one-sided": nudged(0.3, symmetric=False),
    "relative": nudged(relative=0.01),
    "backprop": backprop(),
    "hard": Method(clamp=Hard(), inference=ProximalGradient(2)),
    "symmetric": Method(clamp=Nudge(0.5), inference=ProximalGradient(2, "two_colour")),
    "dual": Method(clamp=Hard(), inference=ProximalGradient(2, "jacobi", "dual")),
    "quadratic": Method("quadratic", Hard(), ProximalGradient(2)),
    "states": Method(clamp=Hard(), inference=ProximalGradient(2), states={"linear1": pl.optim.L1(0.01)}),
}


@pytest.fixture(params=METHODS, ids=str)
def method(request):
    return METHODS[request.param]


def copied(params):
    return {b: {k: a.copy() for k, a in arrays.items()} for b, arrays in params.items()}


def assert_same(a, b):
    assert list(a) == list(b)
    for block, arrays in a.items():
        assert list(arrays) == list(b[block])
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, b[block][name])


def test_structure_of_gradients(method):
    p = problem(skips(pl.Tanh()), n=4)
    value, grads = pl.value_and_grad(p.network, method)(p.params, p.x, p.y)
    assert isinstance(value, float) and np.isfinite(value)
    check_params(p.network, grads)
    assert [*grads] == [*p.params] and all(np.isfinite(g).all() for d in grads.values() for g in d.values())


@given(problems())
@settings(deadline=None, max_examples=15, derandomize=True)
def test_loss_is_that_of_the_forward_pass(p):
    """Every method returns the mean loss at the forward pass."""
    values = [pl.value_and_grad(p.network, m, p.loss)(p.params, p.x, p.y)[0] for m in (nudged(), backprop())]
    lifted = pl.value_and_grad(p.network, METHODS["hard"], p.loss)(p.params, p.x, p.y)[0]
    assert values[0] == pytest.approx(values[1], rel=1e-12) and lifted == pytest.approx(values[0], rel=1e-9)


def test_defaults():
    p = problem(skips(pl.Tanh()), n=4)
    default = pl.value_and_grad(p.network)(p.params, p.x, p.y)
    named = pl.value_and_grad(p.network, nudged(), pl.losses.CrossEntropy())(p.params, p.x, p.y)
    assert default[0] == named[0] and distance(default[1], named[1]) == 0.0


def test_float32_is_near_float64(method):
    p = problem(skips(pl.Tanh()), n=16)
    single = {b: {k: a.astype(np.float32) for k, a in d.items()} for b, d in p.params.items()}
    evaluate = pl.value_and_grad(p.network, method)
    value, grads = evaluate(p.params, p.x, p.y)
    value32, grads32 = evaluate(single, p.x.astype(np.float32), p.y)
    assert all(g.dtype == np.float32 for d in grads32.values() for g in d.values())
    assert value32 == pytest.approx(value, rel=1e-5) and distance(grads32, grads) < 2e-3


def test_nothing_given_is_changed(method):
    network = pl.Sequential(pl.Linear(5, 4), pl.BatchNorm(4), pl.Tanh(), pl.Linear(4, 3), pl.Softmax())
    method = Method(method.penalty, method.clamp, method.inference)  # regularised states need an elementwise activation
    p = problem(network, n=6)
    before, x, y = copied(p.params), p.x.copy(), p.y.copy()
    pl.value_and_grad(network, method)(p.params, p.x, p.y)
    assert_same(p.params, before)
    np.testing.assert_array_equal(p.x, x)
    np.testing.assert_array_equal(p.y, y)


def test_results_depend_on_the_arguments_alone(method):
    """Whatever was evaluated before, the same arguments give the same bits."""
    p = problem(skips(pl.Tanh()), n=4)
    other = {b: {k: np.flip(a).copy() for k, a in d.items()} for b, d in p.params.items()}
    evaluate = pl.value_and_grad(p.network, method)
    value, grads = evaluate(p.params, p.x, p.y)
    kept = copied(grads)
    evaluate(other, -p.x, p.y)
    assert_same(grads, kept)  # the next call has written into no result
    again, grads_again = evaluate(p.params, p.x, p.y)
    assert again == value
    assert_same(grads_again, kept)


def test_estimates_of_norms_follow_the_parameters():
    """The dominant direction of a weight may turn between two calls."""
    network = pl.Sequential(pl.Linear(2, 2, bias=False), pl.Tanh(), pl.Linear(2, 2, bias=False))
    p = problem(network, n=5)
    method = Method(clamp=Hard(), inference=ProximalGradient(20))
    evaluate = pl.value_and_grad(network, method)
    turned = []
    for weight in (np.diag([10.0, 1.0]), np.diag([1.0, 10.0])):
        p.params["linear2"]["weight"] = weight
        turned.append(evaluate(p.params, p.x, p.y)[1])
    fresh = pl.value_and_grad(network, method)(p.params, p.x, p.y)[1]
    assert distance(turned[1], fresh) < 1e-12


def test_batches_of_several_sizes_and_types():
    p = problem(skips(pl.Tanh()), n=6)
    evaluate = pl.value_and_grad(p.network)
    first = evaluate(p.params, p.x, p.y)
    for n in (2, 6, 1, 6):
        value, grads = evaluate(p.params, p.x[:n], p.y[:n])
        fresh = pl.value_and_grad(p.network)(p.params, p.x[:n], p.y[:n])
        assert value == fresh[0] and distance(grads, fresh[1]) == 0.0
    evaluate(p.params, p.x.astype(np.float32), p.y)
    assert distance(evaluate(p.params, p.x, p.y)[1], first[1]) == 0.0


def test_buffers_are_reused(monkeypatch):
    from paralift.lifted import gradient
    from paralift.lifted.stage import Stage

    made = []

    class Counted(Stage):
        def __init__(self, *arguments):
            made.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr(gradient, "Stage", Counted)
    p = problem(skips(pl.Tanh()), n=6)
    evaluate = pl.value_and_grad(p.network)
    for _ in range(3):
        evaluate(p.params, p.x, p.y)
    assert len(made) == 1
    evaluate(p.params, p.x[:2], p.y[:2])
    assert len(made) == 2


def test_gradient_of_a_method_that_moves_parameters_is_that_of_its_energy():
    p = problem(deep_chain(pl.Tanh(), 2, 4), n=5)
    expected = pl.value_and_grad(p.network, Method(clamp=Hard(), inference=ProximalGradient(1)))(p.params, p.x, p.y)
    for update in (BlockDescent(), Implicit()):
        method = Method(clamp=Hard(), inference=ProximalGradient(1), update=update)
        assert distance(pl.value_and_grad(p.network, method)(p.params, p.x, p.y)[1], expected[1]) == 0.0
    assert distance(pl.value_and_grad(p.network, lifted_bregman_bcd())(p.params, p.x, p.y)[1], expected[1]) == 0.0


def test_strided_samples():
    p = problem(skips(pl.Tanh()), n=6)
    expected = pl.value_and_grad(p.network)(p.params, p.x[::2].copy(), p.y[::2].copy())
    found = pl.value_and_grad(p.network)(p.params, p.x[::2], p.y[::2])
    assert found[0] == expected[0] and distance(found[1], expected[1]) == 0.0


# Other array libraries


def there(a):
    return strict.asarray(a.tolist(), dtype=getattr(strict, str(a.dtype)), device=DEVICE)


@pytest.mark.parametrize("labels", [True, False])
def test_on_a_device(method, labels):
    p = problem(skips(pl.Tanh()), n=4, labels=labels)
    with pytest.raises(RuntimeError):
        np.asarray(there(p.x))  # nothing can be copied by accident
    params = {b: {k: there(a) for k, a in d.items()} for b, d in p.params.items()}
    value, grads = pl.value_and_grad(p.network, method)(params, there(p.x), there(p.y))
    host, expected = pl.value_and_grad(p.network, method)(p.params, p.x, p.y)
    assert value.device == DEVICE and all(g.device == DEVICE for d in grads.values() for g in d.values())
    assert float(value.to_device(CPU)) == pytest.approx(host, rel=1e-10)
    back = {b: {k: np.asarray(g.to_device(CPU)) for k, g in d.items()} for b, d in grads.items()}
    assert distance(back, expected) < 1e-9


def test_every_layer_on_a_device():
    network = pl.Sequential(
        pl.Linear(4, 6), pl.LayerNorm(6), pl.ReLU(), pl.Residual(pl.Linear(6, 6), pl.BatchNorm(6), pl.Tanh()),
        pl.Parallel(pl.Linear(6, 2), pl.Sparsemax(), combine="concatenate"), pl.Ball(), pl.Flatten(),
        pl.Linear(24, 4), pl.Reshape(2, 2), pl.GroupSoftThreshold(0.1, 2), pl.Diagonal(2), pl.Sigmoid(),
        input_shape=(3, 4),
    )  # fmt: skip
    p = problem(network, n=3)
    params = {b: {k: there(a) for k, a in d.items()} for b, d in p.params.items()}
    value, grads = pl.value_and_grad(network, nudged(0.1))(params, there(p.x), there(p.y))
    host, expected = pl.value_and_grad(network, nudged(0.1))(p.params, p.x, p.y)
    assert float(value.to_device(CPU)) == pytest.approx(host, rel=1e-10)
    back = {b: {k: np.asarray(g.to_device(CPU)) for k, g in d.items()} for b, d in grads.items()}
    assert distance(back, expected) < 1e-9


def test_parameters_of_the_host_serve_samples_on_a_device():
    p = problem(skips(pl.Tanh()), n=4)
    _, grads = pl.value_and_grad(p.network)(p.params, there(p.x), there(p.y))
    assert all(g.device == DEVICE for d in grads.values() for g in d.values())


# Errors


NETWORK = pl.Sequential(pl.Linear(4, 5), pl.ReLU(), pl.Linear(5, 3), pl.Softmax())
TOKENS = pl.Sequential(pl.Linear(4, 3), pl.Softmax(), input_shape=(2, 4))
REGRESSION = pl.Sequential(pl.Linear(4, 3))
X, LABELS = np.zeros((6, 4)), np.zeros(6, int)


@pytest.mark.parametrize(
    ("network", "x", "y", "error", "words"),
    [
        (NETWORK, X, np.array([0, 1, 2, 3, 0, 0]), ValueError, ["0..3", "0..2", "3 outputs"]),
        (NETWORK, X, np.array([0, 1, 2, -1, 0, 0]), ValueError, ["-1..2", "0..2"]),
        (NETWORK, X, LABELS[:5], ValueError, ["(5,)", "(6,)"]),
        (NETWORK, X, LABELS[:, None], ValueError, ["(6, 1)", "(6,)"]),
        (NETWORK, X, np.zeros((6, 2)), ValueError, ["(6, 2)", "(6, 3)"]),
        (NETWORK, X, np.zeros(6), ValueError, ["(6,)", "(6, 3)"]),
        (NETWORK, X, np.zeros(6, bool), TypeError, ["bool", "integer labels"]),
        (NETWORK, X, np.zeros(6, complex), TypeError, ["complex128", "floating point"]),
        (NETWORK, X[:, :3], LABELS, ValueError, ["(6, 3)", "(n, 4)"]),
        (NETWORK, X.astype(int), LABELS, TypeError, ["int64", "float32 or float64"]),
        (NETWORK, X.astype(np.float16), LABELS, TypeError, ["float16", "float32 or float64"]),
        (TOKENS, np.zeros((6, 2, 4)), LABELS, ValueError, ["(6,)", "(6, 2)"]),
        (REGRESSION, X, LABELS, TypeError, ["integers", "Squared", "(6, 3)"]),
        (REGRESSION, X, np.zeros((6, 4)), ValueError, ["(6, 4)", "(6, 3)"]),
    ],
)
def test_samples_and_targets_that_do_not_fit(network, x, y, error, words):
    with pytest.raises(error) as found:
        pl.value_and_grad(network)(network.init(0), x, y)
    assert all(word in str(found.value) for word in words), str(found.value)


def test_params_that_do_not_fit():
    with pytest.raises(ValueError, match=r"missing \['linear2'\]"):
        pl.value_and_grad(NETWORK)({"linear1": NETWORK.init(0)["linear1"]}, X, LABELS)


def test_losses_and_states_that_do_not_fit():
    with pytest.raises(ValueError, match=r"Identity\(\)"):
        pl.value_and_grad(NETWORK, loss=pl.losses.Squared())
    with pytest.raises(ValueError, match="linear9"):
        pl.value_and_grad(NETWORK, nudged(states={"linear9": pl.optim.L1(0.1)}))
    with pytest.raises(TypeError, match="GroupL1"):
        pl.value_and_grad(NETWORK, nudged(states={"linear1": pl.optim.GroupL1(0.1)}))
