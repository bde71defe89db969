"""Proximal gradient iterations: every move and every iteration lowers E, and where they lead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import ELEMENTWISE, cosine, deep_chain, distance, problem, problems, shortcut, skips

import paralift as pl
from paralift.lifted.exchange import Walls
from paralift.lifted.gradient import value_and_grad
from paralift.lifted.inference.lifted import LiftedState, Roles
from paralift.lifted.inference.norms import Norms
from paralift.lifted.inference.proxgrad import iterate, move_together, pull_together, start_forward
from paralift.lifted.stage import Stage
from paralift.methods import Hard, Method, Nudge, ProximalGradient, backprop, nudged

few = settings(deadline=None, max_examples=25, derandomize=True)
WITHOUT_NORMS = ("dense", "residual", "bottleneck", "softmax", "add", "concatenate")


def lifted(p, roles=None, seed=None):
    """A window on the lifted variables of a problem: at the forward pass, or at random points of their domains."""
    stage = Stage(p.network, 0, len(p.network.blocks), np.zeros(1))
    stage.load(p.params)
    window = LiftedState(stage, len(p.x)).window(len(p.x))
    window.x[0][...] = p.x
    window.state.y = p.y
    window.roles = Roles(p.loss) if roles is None else roles
    start_forward(window, Walls())
    if seed is not None:
        rng = np.random.default_rng(seed)
        for v, b in window.own.items():
            pre = rng.standard_normal(window.p[v].shape)
            window.p[v][...] = pre
            window.x[v][...] = b.activation.sigma(pre.reshape(-1, pre.shape[-1])).reshape(pre.shape)
        window.stale.update(window.own)
    return window, Norms(stage).lipschitz(abs(window.roles.beta))


def hidden(p):
    return range(1, len(p.network.blocks))


def check_moves(p, geometry, beta, seed):
    window, constants = lifted(p, Roles(p.loss, beta, geometry=geometry), seed)
    order = np.random.default_rng(seed).permutation(hidden(p))
    for v in [*order, *order]:
        before = float(window.energy())
        window.pull(v)
        window.move(v, float(constants[v]))
        after = float(window.energy())
        assert after <= before + 1e-9 * (1 + abs(before)), (v, p.network.blocks[v - 1])


@given(problems(), st.sampled_from([1.0, 0.3, -0.2]), st.integers(0, 99))
@few
def test_every_euclidean_move_lowers_the_energy(p, beta, seed):
    check_moves(p, "euclidean", beta, seed)


@given(problems(kinds=WITHOUT_NORMS), st.sampled_from([1.0, 0.3, -0.2]), st.integers(0, 99))
@few
def test_every_dual_move_lowers_the_energy(p, beta, seed):
    check_moves(p, "dual", beta, seed)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("norm", [pl.LayerNorm(5), pl.RMSNorm(5), pl.LayerNorm(5, 0.1)], ids=repr)
def test_every_dual_move_lowers_the_energy_of_normalisations(norm, seed):
    """sigma of a normalisation stretches small rows by up to 1/sqrt(eps): the dual step must know it."""
    network = pl.Sequential(pl.Linear(4, 5), norm, pl.ReLU(), pl.Linear(5, 3), pl.Softmax())
    p = problem(network, n=5, seed=seed)
    p.params["linear1"]["weight"] *= 0.1
    p.params["linear1"]["bias"] *= 0.1
    check_moves(p, "dual", 1.0, seed)


@given(
    problems(kinds=WITHOUT_NORMS),
    st.sampled_from(["gauss_seidel", "two_colour"]),
    st.sampled_from(["euclidean", "dual"]),
)
@few
def test_every_iteration_lowers_the_energy(p, order, geometry):
    roles = {"input": pl.Clamped(p.x), "output": pl.Clamped(p.y)}
    found = pl.infer(p.network, p.params, roles, ProximalGradient(8, order, geometry), loss=p.loss)
    energy = np.array(found.energy)
    assert len(energy) == 9 and (np.diff(energy) <= 1e-9 * (1 + np.abs(energy[:-1]))).all()
    assert (energy >= -1e-9).all()


@given(
    problems(kinds=WITHOUT_NORMS),
    st.sampled_from(["gauss_seidel", "two_colour"]),
    st.sampled_from(["euclidean", "dual"]),
    st.data(),
)
@few
def test_every_iteration_with_cuts_lowers_the_energy(p, order, geometry, data):
    """In the order of several stages, from random variables, on one rank."""
    cuts = tuple(sorted(data.draw(st.sets(st.integers(1, len(p.network.blocks) - 1), min_size=1, max_size=4))))
    window, constants = lifted(p, Roles(p.loss, geometry=geometry), seed=1)
    settings_ = ProximalGradient(1, order, geometry, cuts=cuts)
    energy = [float(window.energy())]
    for _ in range(6):
        iterate(window, Walls(), settings_, constants)
        energy.append(float(window.energy()))
    assert (np.diff(energy) <= 1e-9 * (1 + np.abs(energy[:-1]))).all()
    assert energy[-1] < energy[0]


@pytest.mark.parametrize("order", ["gauss_seidel", "two_colour"])
@pytest.mark.parametrize("loss", [pl.losses.Huber(0.5), pl.losses.Absolute()], ids=repr)
def test_every_iteration_lowers_the_energy_of_proximal_losses(loss, order):
    p = problem(skips(pl.Tanh(), end=pl.Identity()), n=5, loss=loss)
    roles = {"input": pl.Clamped(p.x), "output": pl.Nudged(p.y, 3.0)}
    energy = np.array(pl.infer(p.network, p.params, roles, ProximalGradient(30, order), loss=loss).energy)
    assert (np.diff(energy) <= 1e-9 * (1 + np.abs(energy[:-1]))).all()


def test_a_variable_read_twice_moves_downhill():
    network = pl.Graph(a=(["input"], pl.Linear(4, 4)), b=(["a", "a", "a"], pl.Add()), c=(["b"], pl.Linear(4, 3)))
    check_moves(problem(network, n=4), "euclidean", 1.0, 3)


def test_the_energy_is_the_sum_of_its_penalties():
    p = problem(skips(pl.Tanh()), n=4)
    for geometry in ("euclidean", "dual"):
        window, _ = lifted(p, Roles(p.loss, geometry=geometry), seed=1)
        total, values = 0.0, window.x
        for v, b in window.own.items():
            z = np.empty((4, *b.shape))
            b.map.apply(p.params.get(b.name, {}), [values[i] for i in b.parents], z)
            z += p.params[b.name]["bias"] if b.map.offset else 0.0
            last = v == len(p.network.blocks)
            x = np.eye(3)[p.y] if last else values[v]
            total += b.activation.penalty(x, z).sum()
        assert window.energy() == pytest.approx(total, rel=1e-12)


@given(problems())
@few
def test_forward_pass_has_no_energy_but_the_loss(p):
    window, _ = lifted(p)
    values = p.network.variables(p.params, p.x)
    for v in hidden(p):
        np.testing.assert_allclose(window.x[v], values[v], atol=1e-12)
    loss = value_and_grad(p.network, backprop(), p.loss)(p.params, p.x, p.y)[0] * len(p.x)
    assert window.energy() == pytest.approx(loss, rel=1e-8, abs=1e-8)


def check_gradients(p, roles):
    """dE/dtheta at any x, by differences of E itself."""
    window, _ = lifted(p, roles, seed=3)
    window.gradients()
    flat, gradient = window.stage.flat, window.stage.gradient.copy()
    along, start, values = np.random.default_rng(0).standard_normal(flat.shape), flat.copy(), []
    for t in (1e-6, -1e-6):
        flat[...] = start + t * along
        window.stale.update(window.own)
        values.append(float(window.energy()))
    assert gradient @ along == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-6)


@given(problems(kinds=WITHOUT_NORMS), st.sampled_from([1.0, 0.3, -0.2]), st.sampled_from(["euclidean", "dual"]))
@few
def test_gradients_are_those_of_the_energy(p, beta, geometry):
    check_gradients(p, Roles(p.loss, beta, geometry=geometry))


@pytest.mark.parametrize("beta", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("loss", [pl.losses.Huber(0.5), pl.losses.Absolute()], ids=repr)
def test_gradients_of_proximal_losses_are_those_of_the_energy(loss, beta):
    """The output's part of E is the least |x - z|^2/2 + beta l(x), which the pull is the gradient of."""
    check_gradients(problem(skips(pl.Tanh(), end=pl.Identity()), n=5, loss=loss), Roles(loss, beta))


def test_quadratic_gradients_are_those_of_the_energy():
    p = problem(skips(pl.Tanh()), n=4)
    check_gradients(p, Roles(p.loss, penalty="quadratic"))


@given(problems(kinds=WITHOUT_NORMS))
@few
def test_pulls_are_the_gradient_of_the_energy(p):
    """The children's part of E changes with x_v along the pull."""
    window, _ = lifted(p, seed=3)
    v = int(np.random.default_rng(0).integers(1, len(p.network.blocks)))
    g = window.pull(v).copy()
    along = np.random.default_rng(1).standard_normal(g.shape)
    start, parts = window.x[v].copy(), []
    readers = {b.index for b, _ in window.readers[v]}
    for t in (1e-6, -1e-6):
        window.x[v][...] = start + t * along
        window.stale.update(window.own)
        total = 0.0
        for c in readers:
            window.refresh(c)
            b, z = window.own[c], window.z[c]
            if c == len(p.network.blocks):
                total += float(p.loss.value(b.activation, z, b.activation.sigma(z), p.y))
            else:
                total += b.activation.penalty(window.x[c], z).sum()
        parts.append(total)
    assert np.vdot(g, along) == pytest.approx((parts[0] - parts[1]) / 2e-6, rel=1e-5, abs=1e-6)


# Where the iterations lead


ALL_WAYS = [
    ProximalGradient(iterations, order, geometry)
    for order, iterations in (("gauss_seidel", 400), ("two_colour", 400), ("jacobi", 3000))
    for geometry in ("euclidean", "dual")
]


@pytest.mark.parametrize("activation", [pl.Tanh(), pl.Softplus(), pl.ReLU()], ids=repr)
def test_all_orders_and_geometries_lead_to_one_point(activation):
    p = problem(deep_chain(activation, 3, 5), n=3, seed=2)
    roles = {"input": pl.Clamped(p.x), "output": pl.Nudged(p.y, 0.5)}
    found = [pl.infer(p.network, p.params, roles, settings) for settings in ALL_WAYS]
    for other in found[1:]:
        assert other.energy[-1] == pytest.approx(found[0].energy[-1], rel=1e-7)
        for name, x in found[0].variables.items():
            np.testing.assert_allclose(other.variables[name], x, atol=2e-4)


@pytest.mark.parametrize("geometry", ["euclidean", "dual"])
def test_fixed_points_satisfy_the_equations(geometry):
    """At a fixed point x = sigma(z - g) in every block."""
    p = problem(skips(pl.Tanh()), n=4)
    window, constants = lifted(p, Roles(p.loss, 0.5, geometry=geometry))
    iterate(window, Walls(), ProximalGradient(1500, geometry=geometry), constants)
    for v in hidden(p):
        window.refresh(v)
        expected = window.own[v].activation.sigma(window.z[v] - window.pull(v))
        np.testing.assert_allclose(window.x[v], expected, atol=1e-8)


@pytest.mark.parametrize("order", ["gauss_seidel", "two_colour", "jacobi"])
def test_equilibrium_of_a_small_nudge_gives_backpropagation(order):
    p = problem(deep_chain(pl.Tanh(), 3, 5), n=6, seed=4)
    _, expected = value_and_grad(p.network, backprop())(p.params, p.x, p.y)
    errors = []
    for beta in (0.2, 0.1):
        method = Method(clamp=Nudge(beta), inference=ProximalGradient(600, order))
        errors.append(distance(value_and_grad(p.network, method)(p.params, p.x, p.y)[1], expected))
    assert errors[0] < 0.05 and errors[0] / errors[1] == pytest.approx(4.0, rel=0.2)


def test_equilibrium_of_a_one_sided_nudge_gives_backpropagation():
    p = problem(skips(pl.Tanh()), n=6, seed=4)
    _, expected = value_and_grad(p.network, backprop())(p.params, p.x, p.y)
    errors = []
    for beta in (0.01, 0.005):
        method = Method(clamp=Nudge(beta, symmetric=False), inference=ProximalGradient(600))
        errors.append(distance(value_and_grad(p.network, method)(p.params, p.x, p.y)[1], expected))
    assert errors[0] < 0.05 and errors[0] / errors[1] == pytest.approx(2.0, rel=0.1)


def test_quadratic_penalty_leads_to_backpropagation_too():
    p = problem(deep_chain(pl.Tanh(), 2, 5), n=6, seed=4)
    _, expected = value_and_grad(p.network, backprop())(p.params, p.x, p.y)
    method = Method("quadratic", Nudge(0.02), ProximalGradient(600))
    assert distance(value_and_grad(p.network, method)(p.params, p.x, p.y)[1], expected) < 1e-3


def test_identity_network_reaches_the_solution_of_its_linear_system():
    """With identities E is a quadratic: its minimiser over x_1 solves (1 + W W^T) x = z + W (y - b)."""
    p = problem(pl.Sequential(pl.Linear(3, 4), pl.Linear(4, 2)), n=5)
    roles = {"input": pl.Clamped(p.x), "output": pl.Clamped(p.y)}
    z = p.x @ p.params["linear1"]["weight"] + p.params["linear1"]["bias"]
    w, b = p.params["linear2"]["weight"], p.params["linear2"]["bias"]
    expected = np.linalg.solve(np.eye(4) + w @ w.T, (z + (p.y - b) @ w.T).T).T
    for settings_ in (ProximalGradient(300), ProximalGradient(300, geometry="dual"), ProximalGradient(900, "jacobi")):
        found = pl.infer(p.network, p.params, roles, settings_)
        np.testing.assert_allclose(found.variables["linear1"], expected, atol=1e-10)


# Jacobi


def branches(n, width=3):
    return pl.Sequential(
        pl.Linear(width, width), pl.Parallel(*[pl.Linear(width, width) for _ in range(n)]), pl.Linear(width, 2)
    )


@pytest.mark.parametrize("n", [6, 12, 24])
def test_jacobi_converges_damped_and_diverges_undamped(n):
    """The sum of n branches couples them: without damping all of them correct the same error at once."""
    p = problem(branches(n), n=4)
    roles = {"input": pl.Clamped(p.x), "output": pl.Clamped(p.y)}
    best = pl.infer(p.network, p.params, roles, ProximalGradient(2000)).energy[-1]
    undamped = pl.infer(p.network, p.params, roles, ProximalGradient(40, "jacobi", damping=1.0)).energy
    assert undamped[-1] > 10 * undamped[0]
    damped = np.array(pl.infer(p.network, p.params, roles, ProximalGradient(3000, "jacobi")).energy)
    assert (np.diff(damped) <= 1e-9 * (1 + damped[0])).all()
    assert damped[-1] - best < 0.1 * (damped[0] - best)


@given(problems(kinds=("dense", "residual", "softmax", "concatenate")), st.sampled_from(["euclidean", "dual"]))
@few
def test_damped_jacobi_lowers_the_energy(p, geometry):
    roles = {"input": pl.Clamped(p.x), "output": pl.Clamped(p.y)}
    energy = pl.infer(p.network, p.params, roles, ProximalGradient(30, "jacobi", geometry), loss=p.loss).energy
    assert energy[-1] <= energy[0] + 1e-9 * (1 + abs(energy[0]))


def test_jacobi_moves_all_from_one_state():
    """The order in which its variables are listed cannot matter: a reversed copy of one phase gives the same."""
    p = problem(skips(pl.Tanh()), n=4)
    found = []
    for direction in (1, -1):
        window, constants = lifted(p, seed=5)
        for _ in range(3):
            variables = list(hidden(p))[::direction]
            pull_together(window, variables)
            move_together(window, variables, constants, 0.5)
        found.append({v: window.x[v].copy() for v in hidden(p)})
    for v in hidden(p):
        np.testing.assert_allclose(found[0][v], found[1][v], atol=1e-13)


# Traps


@pytest.mark.parametrize(("activation", "same"), [(pl.ReLU(), True), (pl.LeakyReLU(1.0), True), (pl.Tanh(), False)])
def test_the_shortcut_is_right_for_relu_and_wrong_for_tanh(activation, same):
    """x <- sigma((x + tau (z - g))/(1 + tau)) converges to another point unless Psi is positively homogeneous."""
    p = problem(pl.Sequential(pl.Linear(3, 4), activation, pl.Linear(4, 2)), n=5, seed=1)
    z = p.x @ p.params["linear1"]["weight"] + p.params["linear1"]["bias"]
    w, b = p.params["linear2"]["weight"], p.params["linear2"]["bias"]
    tau, x = 0.9 / np.linalg.norm(w, 2) ** 2, activation.sigma(z)
    for _ in range(3000):
        x = shortcut(activation.sigma, x, z, (x @ w + b - p.y) @ w.T, tau)
    roles = {"input": pl.Clamped(p.x), "output": pl.Clamped(p.y)}
    exact = pl.infer(p.network, p.params, roles, ProximalGradient(1000)).variables["linear1"]
    np.testing.assert_allclose(exact, activation.sigma(z - (exact @ w + b - p.y) @ w.T), atol=1e-8)
    error = np.abs(x - exact).max()
    assert error < 1e-8 if same else error > 1e-2


@pytest.mark.parametrize("activation", [pl.Tanh(), pl.ReLU()], ids=repr)
def test_moved_states_after_one_sweep_have_the_wrong_sign_on_top(activation):
    """dE/dtheta is right at equilibrium; after one pass back take the sweep's own residuals."""
    p = problem(deep_chain(activation), n=128, seed=3)
    for arrays in p.params.values():
        arrays["weight"] *= 2.0
    _, expected = value_and_grad(p.network, backprop())(p.params, p.x, p.y)
    _, sweep = value_and_grad(p.network, nudged(0.1))(p.params, p.x, p.y)
    assert cosine(sweep, expected) > 0.999

    window, _ = lifted(p, Roles(p.loss, 0.1))
    last = len(p.network.blocks)
    forward = {v: window.x[v].copy() for v in range(last)}
    g = window.pull(last - 1)
    for v in reversed(hidden(p)):
        b = window.own[v]
        window.x[v][...] = b.activation.sigma(window.z[v] - g)
        g = (forward[v] - window.x[v]) @ p.params[b.name]["weight"].T
    window.stale.update(window.own)
    window.gradients()
    top = p.network.blocks[-2].name
    assert cosine(window.stage.gradients[top]["weight"], expected[top]["weight"]) < -0.25
    assert cosine(sweep[top]["weight"], expected[top]["weight"]) > 0.999


def test_one_hard_clamped_iteration_is_no_backpropagation_but_descends():
    p = problem(deep_chain(pl.Tanh(), 3), n=64)
    method = Method(clamp=Hard(), inference=ProximalGradient(3))
    _, expected = value_and_grad(p.network, backprop())(p.params, p.x, p.y)
    _, grads = value_and_grad(p.network, method)(p.params, p.x, p.y)
    assert 0.1 < cosine(grads, expected) < 0.9999


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"iterations": 0}, "iterations is 0"),
        ({"iterations": 2.0}, r"iterations is 2\.0"),
        ({"order": "random"}, "order is 'random'"),
        ({"geometry": "flat"}, "geometry is 'flat'"),
        ({"damping": 0.0}, r"damping is 0\.0"),
        ({"damping": 1.5}, r"damping is 1\.5"),
    ],
)
def test_settings_that_cannot_be(arguments, word):
    with pytest.raises(ValueError, match=word):
        ProximalGradient(**arguments)


@given(problems(activations=ELEMENTWISE, kinds=("dense", "pre-norm", "softmax")))
@settings(deadline=None, max_examples=8, derandomize=True)
def test_windows_of_fewer_samples_find_the_same(p):
    def evaluate(rows):
        method = Method(clamp=Hard(), inference=ProximalGradient(2))
        return value_and_grad(p.network, method, p.loss)(p.params, p.x[rows], p.y[rows])

    value, whole = evaluate(slice(None))
    alone = [evaluate(slice(i, i + 1)) for i in range(len(p.x))]
    assert value == pytest.approx(np.mean([v for v, _ in alone]), rel=1e-12)
    mean = {b: {k: sum(g[b][k] for _, g in alone) / len(alone) for k in arrays} for b, arrays in whole.items()}
    assert distance(whole, mean) <= 1e-9
