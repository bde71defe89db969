"""Inference on its own: inversion, regularised, nudged and clamped variables, and its errors."""

from __future__ import annotations

import array_api_strict as strict
import numpy as np
import pytest
from problems import problem, skips

import paralift as pl
from paralift.methods import ProximalGradient


def roles(p, **others):
    return {"input": pl.Clamped(p.x), "output": pl.Clamped(p.y), **others}


# Inversion


def perceptron(n_in=4, n_out=7, seed=0):
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((n_out, n_in)))
    params = {"linear1": {"weight": basis.T * np.linspace(1, 2, n_in)[:, None], "bias": np.full(n_out, 2.0)}}
    x = 0.5 * rng.standard_normal((3, n_in))
    return pl.Sequential(pl.Linear(n_in, n_out), pl.ReLU()), params, x


@pytest.mark.parametrize("target", [pl.Clamped, pl.Nudged])
def test_inversion_of_a_perceptron(target):
    network, params, x = perceptron()
    y = network.apply(params, x)
    found = pl.infer(network, params, {"input": pl.Free(np.zeros_like(x)), "output": target(y)}, ProximalGradient(400))
    np.testing.assert_allclose(found.variables["input"], x, atol=1e-8)
    assert found.energy[-1] < 1e-14 and (np.diff(found.energy) <= 1e-12).all()
    np.testing.assert_allclose(found.variables["output"], y, atol=1e-8)


def test_regularised_inversion_is_a_lasso():
    """With an identity the inversion under l1 satisfies the optimality conditions of the lasso."""
    network, params, x = perceptron()
    network = pl.Sequential(pl.Linear(4, 7))
    y = network.apply(params, x)
    free = pl.Free(np.zeros_like(x), pl.optim.L1(0.3))
    found = pl.infer(network, params, {"input": free, "output": pl.Clamped(y)}, ProximalGradient(800))
    u, weight = found.variables["input"], params["linear1"]["weight"]
    gradient = (network.apply(params, u) - y) @ weight.T
    zero = u == 0
    assert zero.any() and not zero.all()
    np.testing.assert_allclose(gradient[~zero], -0.3 * np.sign(u[~zero]), atol=1e-8)
    assert (np.abs(gradient[zero]) <= 0.3 + 1e-8).all()
    assert found.energy[-1] == pytest.approx(0.5 * ((network.apply(params, u) - y) ** 2).sum() + 0.3 * np.abs(u).sum())


def test_inversion_of_a_deep_network():
    network = pl.Sequential(pl.Linear(3, 5), pl.LeakyReLU(0.5), pl.Linear(5, 8), pl.LeakyReLU(0.5))
    params = network.init(4, np.float64)
    x = np.random.default_rng(1).standard_normal((2, 3))
    y = network.apply(params, x)
    found = pl.infer(
        network, params, {"input": pl.Free(np.zeros_like(x)), "output": pl.Clamped(y)}, ProximalGradient(8000)
    )
    assert found.energy[-1] < 1e-10
    np.testing.assert_allclose(found.variables["input"], x, atol=1e-4)
    np.testing.assert_allclose(found.variables["linear1"], network.variables(params, x)[1], atol=1e-4)


def test_nudged_input():
    """|x - t|^2 w/2 on the input of a linear network: a ridge regression around t."""
    network, params, x = perceptron()
    network, weight = pl.Sequential(pl.Linear(4, 7)), params["linear1"]["weight"]
    y, t = network.apply(params, x), np.ones_like(x)
    found = pl.infer(network, params, {"input": pl.Nudged(t, 0.4), "output": pl.Clamped(y)}, ProximalGradient(300))
    expected = np.linalg.solve(weight @ weight.T + 0.4 * np.eye(4), ((y - 2.0) @ weight.T + 0.4 * t).T).T
    np.testing.assert_allclose(found.variables["input"], expected, atol=1e-10)


# Hidden variables against a brute-force minimisation in one dimension


ACTIVATIONS = (
    pl.Identity(), pl.ReLU(), pl.Tanh(), pl.Sigmoid(), pl.Softplus(), pl.SoftThreshold(0.2), pl.LeakyReLU(0.3),
    pl.Hardtanh(-0.5, 0.8), pl.ELU(), pl.ISRU(), pl.Softsign(), pl.Arctan(),
)  # fmt: skip
REGULARIZERS = {
    "none": None,
    "l1": pl.optim.L1(0.3),
    "ridge": pl.optim.Ridge(0.7),
    "box": pl.optim.Box(0.1, 0.4),
    "nonnegative": pl.optim.NonNegative(),
}


def one(activation):
    """A network with one hidden unit, several samples, and its parameters."""
    network = pl.Sequential(pl.Linear(1, 1), activation, pl.Linear(1, 1))
    params = {
        "linear1": {"weight": np.array([[1.3]]), "bias": np.array([-0.2])},
        "linear2": {"weight": np.array([[-1.7]]), "bias": np.array([0.4])},
    }
    x = np.linspace(-2, 2, 9)[:, None]
    return network, params, x, np.cos(3 * x)


def brute_force(energy, low=-4.0, high=4.0):
    """The minimiser of each row of a convex function of one number, by refining grids."""
    low, high = np.full(9, low), np.full(9, high)
    for _ in range(20):
        grid = low + (high - low) * np.linspace(0, 1, 41)[:, None]
        values = np.array([energy(x[:, None]) for x in grid])
        best = values.argmin(axis=0)
        step = (high - low) / 40
        middle = np.take_along_axis(grid, best[None], axis=0)[0]
        low, high = middle - step, middle + step
    return middle


@pytest.mark.parametrize("name", REGULARIZERS)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_regularised_hidden_variable_is_optimal(activation, name):
    network, params, x, y = one(activation)
    regularizer = REGULARIZERS[name]
    found = pl.infer(
        network, params, {"input": pl.Clamped(x), "output": pl.Clamped(y), "linear1": pl.Free(regularizer=regularizer)},
        ProximalGradient(400),
    )  # fmt: skip
    z = x * 1.3 - 0.2

    def energy(u):
        rest = 0.0 if regularizer is None else regularizer.value_rows(u)
        return activation.penalty(u, z) + 0.5 * ((u * -1.7 + 0.4 - y) ** 2)[:, 0] + rest

    expected = brute_force(energy)
    np.testing.assert_allclose(found.variables["linear1"][:, 0], expected, atol=1e-6)
    assert found.energy[-1] == pytest.approx(energy(found.variables["linear1"]).sum(), rel=1e-10)


def in_geometry(geometry, network, params, asked, iterations=400):
    """Infer in a geometry; None where it is refused, which only the dual one may be, with an error that names it."""
    try:
        return pl.infer(network, params, asked, ProximalGradient(iterations, geometry=geometry))
    except ValueError as error:
        assert geometry == "dual" and "dual" in str(error)
        return None


BOTH = pytest.mark.parametrize("geometry", ["euclidean", "dual"])


@BOTH
@pytest.mark.parametrize("activation", [pl.Identity(), pl.Tanh(), pl.ReLU(), pl.Softplus()], ids=repr)
def test_nudged_hidden_variable_is_optimal(activation, geometry):
    network, params, x, y = one(activation)
    target = np.full_like(x, 0.3)
    asked = {"input": pl.Clamped(x), "output": pl.Clamped(y), "linear1": pl.Nudged(target, 2.0)}
    found = in_geometry(geometry, network, params, asked)
    z = x * 1.3 - 0.2

    def energy(u):
        return activation.penalty(u, z) + 0.5 * ((u * -1.7 + 0.4 - y) ** 2 + 2.0 * (u - target) ** 2)[:, 0]

    if found is not None:
        np.testing.assert_allclose(found.variables["linear1"][:, 0], brute_force(energy), atol=1e-6)


@BOTH
def test_regularisers_hold_in_either_geometry(geometry):
    network, params, x, y = one(pl.Tanh())
    asked = {"input": pl.Clamped(x), "output": pl.Clamped(y), "linear1": pl.Free(regularizer=pl.optim.Ridge(0.7))}
    found = in_geometry(geometry, network, params, asked)
    z = x * 1.3 - 0.2

    def energy(u):
        return pl.Tanh().penalty(u, z) + 0.5 * ((u * -1.7 + 0.4 - y) ** 2 + 0.7 * u**2)[:, 0]

    if found is not None:
        np.testing.assert_allclose(found.variables["linear1"][:, 0], brute_force(energy), atol=1e-6)


@BOTH
def test_clamped_hidden_variables_stay_and_count(geometry):
    p = problem(pl.Sequential(pl.Linear(3, 4), pl.Tanh(), pl.Linear(4, 4), pl.Tanh(), pl.Linear(4, 2)), n=5)
    value = np.full((5, 4), 0.5)
    found = in_geometry(geometry, p.network, p.params, roles(p, linear1=pl.Clamped(value)))
    if found is None:
        return
    np.testing.assert_allclose(found.variables["linear1"], value, atol=1e-12)
    above = pl.Sequential(pl.Linear(4, 4), pl.Tanh(), pl.Linear(4, 2))
    params = {"linear1": p.params["linear2"], "linear2": p.params["linear3"]}
    alone = pl.infer(above, params, {"input": pl.Clamped(value), "output": pl.Clamped(p.y)}, ProximalGradient(400))
    np.testing.assert_allclose(found.variables["linear2"], alone.variables["linear1"], atol=1e-8)
    z = p.x @ p.params["linear1"]["weight"] + p.params["linear1"]["bias"]
    assert found.energy[-1] == pytest.approx(alone.energy[-1] + pl.Tanh().penalty(value, z).sum(), rel=1e-9)


@BOTH
def test_a_start_is_where_it_starts(geometry):
    p = problem(pl.Sequential(pl.Linear(3, 4), pl.Tanh(), pl.Linear(4, 2)), n=5)
    start = np.full((5, 4), 0.9)
    z = p.x @ p.params["linear1"]["weight"] + p.params["linear1"]["bias"]
    loss = 0.5 * ((start @ p.params["linear2"]["weight"] + p.params["linear2"]["bias"] - p.y) ** 2).sum()
    found = in_geometry(geometry, p.network, p.params, roles(p, linear1=pl.Free(start)))
    if found is None:
        return
    assert found.energy[0] == pytest.approx(loss + pl.Tanh().penalty(start, z).sum(), rel=1e-9)
    plain = pl.infer(p.network, p.params, roles(p), ProximalGradient(400))
    np.testing.assert_allclose(found.variables["linear1"], plain.variables["linear1"], atol=1e-7)


# The output


def test_free_output_is_the_forward_pass():
    p = problem(skips(pl.Tanh()), n=4)
    found = pl.infer(p.network, p.params, {"input": pl.Clamped(p.x)}, ProximalGradient(5))
    np.testing.assert_allclose(found.variables["output"], p.network.apply(p.params, p.x), atol=1e-10)
    assert found.energy == pytest.approx([0.0] * 6, abs=1e-10)
    assert set(found.variables) == {"input", "output", *(b.name for b in p.network.blocks)}
    assert found.variables["output"] is found.variables["linear5"]


def test_clamped_output_is_the_target():
    p = problem(skips(pl.Tanh()), n=4)
    found = pl.infer(p.network, p.params, roles(p))
    np.testing.assert_allclose(found.variables["output"], np.eye(3)[p.y], atol=1e-14)


def test_nudged_output_is_between():
    p = problem(pl.Sequential(pl.Linear(3, 2)), n=4)
    found = pl.infer(p.network, p.params, {"input": pl.Clamped(p.x), "output": pl.Nudged(p.y, 0.25)})
    z = p.network.apply(p.params, p.x)
    np.testing.assert_allclose(found.variables["output"], 0.75 * z + 0.25 * p.y, atol=1e-14)
    assert found.energy[-1] == pytest.approx(0.25 * 0.5 * ((z - p.y) ** 2).sum())


def test_regularised_output():
    p = problem(pl.Sequential(pl.Linear(3, 2)), n=4)
    found = pl.infer(p.network, p.params, {"input": pl.Clamped(p.x), "output": pl.Free(regularizer=pl.optim.L1(0.2))})
    z = p.network.apply(p.params, p.x)
    np.testing.assert_allclose(found.variables["output"], np.sign(z) * np.maximum(np.abs(z) - 0.2, 0), atol=1e-9)


def test_tokens():
    network = pl.Sequential(pl.Linear(3, 4), pl.Tanh(), pl.Linear(4, 3), pl.Softmax(), input_shape=(5, 3))
    p = problem(network, n=2)
    assert p.y.shape == (2, 5)
    found = pl.infer(network, p.params, roles(p), ProximalGradient(20))
    assert found.variables["output"].shape == (2, 5, 3) and (np.diff(found.energy) <= 1e-12).all()


def test_quadratic_penalty():
    p = problem(pl.Sequential(pl.Linear(3, 4), pl.Tanh(), pl.Linear(4, 2)), n=5)
    found = pl.infer(p.network, p.params, roles(p), ProximalGradient(500), penalty="quadratic")
    s = np.tanh(p.x @ p.params["linear1"]["weight"] + p.params["linear1"]["bias"])
    w, b = p.params["linear2"]["weight"], p.params["linear2"]["bias"]
    expected = np.linalg.solve(np.eye(4) + w @ w.T, (s + (p.y - b) @ w.T).T).T
    np.testing.assert_allclose(found.variables["linear1"], expected, atol=1e-8)


# Where and in what type


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types(dtype):
    p = problem(skips(pl.Tanh()), n=4)
    params = {b: {k: a.astype(dtype) for k, a in d.items()} for b, d in p.params.items()}
    found = pl.infer(p.network, params, {"input": pl.Clamped(p.x.astype(dtype)), "output": pl.Clamped(p.y)})
    assert all(x.dtype == dtype for x in found.variables.values())


def test_on_a_device():
    p, device = problem(skips(pl.Tanh()), n=3), strict.Device("device1")

    def there(a):
        return strict.asarray(a.tolist(), dtype=getattr(strict, str(a.dtype)), device=device)

    params = {b: {k: there(a) for k, a in d.items()} for b, d in p.params.items()}
    settings = ProximalGradient(5)
    found = pl.infer(p.network, params, {"input": pl.Clamped(there(p.x)), "output": pl.Clamped(there(p.y))}, settings)
    host = pl.infer(p.network, p.params, roles(p), settings)
    assert found.energy == pytest.approx(host.energy, rel=1e-9)
    for name, x in found.variables.items():
        assert x.device == device
        back = np.asarray(x.to_device(strict.Device("CPU_DEVICE")))
        np.testing.assert_allclose(back, host.variables[name], atol=1e-9)


def test_nothing_given_is_changed():
    p = problem(skips(pl.Tanh()), n=4)
    before = {b: {k: a.copy() for k, a in d.items()} for b, d in p.params.items()}
    x, y = p.x.copy(), p.y.copy()
    first = pl.infer(p.network, p.params, roles(p))
    again = pl.infer(p.network, p.params, roles(p))
    np.testing.assert_array_equal(p.x, x)
    np.testing.assert_array_equal(p.y, y)
    assert first.energy == again.energy
    for b, arrays in before.items():
        for k, a in arrays.items():
            np.testing.assert_array_equal(p.params[b][k], a)


# Errors


def test_errors():
    p = problem(pl.Sequential(pl.Linear(3, 4), pl.Tanh(), pl.Linear(4, 2)), n=5)
    x = pl.Clamped(p.x)
    wrong = [
        ({"output": pl.Clamped(p.y)}, ValueError, ["input", "missing"]),
        ({"input": pl.Free()}, ValueError, ["start"]),
        ({"input": x, "tanh1": pl.Free()}, ValueError, ["tanh1", "linear1", "linear2"]),
        ({"input": x, "linear1": p.x}, TypeError, ["Clamped", "Nudged", "Free"]),
        ({"input": pl.Clamped(p.x[:, :2])}, ValueError, ["(5, 2)", "3"]),
        ({"input": x, "linear1": pl.Clamped(p.x)}, ValueError, ["(5, 3)", "(5, 4)"]),
        ({"input": x, "linear1": pl.Nudged(np.zeros((4, 4)))}, ValueError, ["(4, 4)", "(5, 4)"]),
        ({"input": x, "output": pl.Clamped(p.x)}, ValueError, ["(5, 3)", "(5, 2)"]),
        ({"input": x, "output": pl.Clamped(np.zeros(5, int))}, TypeError, ["integers", "Squared"]),
        ({"input": x, "linear1": pl.Free(regularizer=pl.optim.GroupL1(0.1))}, TypeError, ["GroupL1", "Tanh"]),
        ({"input": pl.Clamped(p.x.astype(int))}, TypeError, ["int", "float32 or float64"]),
    ]
    for asked, error, words in wrong:
        with pytest.raises(error) as found:
            pl.infer(p.network, p.params, asked)
        assert all(word in str(found.value) for word in words), str(found.value)
    with pytest.raises(ValueError, match="Softmax"):
        pl.infer(p.network, p.params, roles(p), loss=pl.losses.CrossEntropy())
    with pytest.raises(ValueError, match="blocks missing"):
        pl.infer(p.network, {}, roles(p))
    with pytest.raises(ValueError, match="cubic"):
        pl.infer(p.network, p.params, roles(p), penalty="cubic")


def test_regularisers_that_couple_need_a_variable_of_their_own():
    network = pl.Sequential(pl.Linear(3, 4), pl.Softmax(), pl.Linear(4, 2))
    p = problem(network, n=5)
    with pytest.raises(TypeError, match="Identity()"):
        pl.infer(network, p.params, roles(p, linear1=pl.Free(regularizer=pl.optim.L1(0.1))))
    found = pl.infer(network, p.params, roles(p, linear1=pl.Free(regularizer=pl.optim.Ridge(0.1))))
    assert (np.diff(found.energy) <= 1e-10).all()
