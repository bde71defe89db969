"""Methods of the literature: energies that fall, states that are stationary, gradients that tend to the gradient."""

from __future__ import annotations

import inspect
import math
from pathlib import Path

import numpy as np
import pytest
from problems import cosine, distance, problem, vector

import paralift as pl
from paralift.config import Config, ConfigError
from paralift.lifted.exchange import Walls
from paralift.lifted.inference.estimate import Estimator
from paralift.lifted.inference.multipliers import Multipliers
from paralift.lifted.stage import Stage
from paralift.methods import (
    Dyad,
    DyadicSweep,
    Equilibrium,
    Fenchel,
    Hard,
    LeastSquares,
    Method,
    Nudge,
    ProximalGradient,
    askari,
    backprop,
    dual_propagation,
    equilibrium_propagation,
    fenchel,
    lifted_bregman,
    lpom,
    mac,
    nudged,
    predictive_coding,
)

CHAIN = (pl.Linear(3, 5), pl.ReLU(), pl.Linear(5, 4), pl.Tanh(), pl.Linear(4, 3))
FLAT = (pl.Linear(3, 5), pl.ReLU(), pl.Linear(5, 4), pl.Hardtanh(), pl.Linear(4, 3))


def train(network, p, method, epochs=12, **options):
    settings = {"batch_size": None, "dtype": "float64", "comm": None, "progress": False, "plan": "counted", "params": p.params}
    return pl.fit(network, (p.x, p.y), method=method, epochs=epochs, **{**settings, **options})


def grads(p, method):
    return pl.value_and_grad(p.network, method)(p.params, p.x, p.y)[1]


# Energies


@pytest.mark.parametrize(
    "method",
    [
        mac(), mac(tau=None), mac(5.0, 3, None), askari(), askari(0.5, tau=None), askari(exact=False, tau=None), lpom(),
        lpom(2.0, 2, None), lpom(geometry="euclidean", tau=None), fenchel(rate=0.0), fenchel(rate=0.0, start=0.3, exact=True),
        fenchel(rate=0.0, start=4.0, geometry="dual", tau=None), lifted_bregman(),
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("end", [pl.Identity(), pl.Softmax()], ids=repr)
def test_full_batches_lower_the_energy_with_every_pass(method, end):
    flat = method.penalty == "constrained"
    network = pl.Sequential(*(FLAT if flat else CHAIN), end)
    p = problem(network, n=12)
    if method == lifted_bregman():  # starts each pass from the forward pass: E is another's
        method = Method("bregman", Hard(), ProximalGradient(1, persistent=True), LeastSquares(1.0))
    energy = np.array([record["energy"] for record in train(network, p, method).history])
    assert (np.diff(energy) <= 1e-10 * (1 + energy[:-1])).all() and energy[-1] < 0.95 * energy[0]


# Stationary states


def settled(p, method, n=2000):
    """The lifted variables of a method after many iterations, with up-to-date pulls."""
    stage = Stage(p.network, 0, len(p.network.blocks), np.zeros(1))
    stage.load(p.params)
    settings = ProximalGradient(n, geometry=method.inference.geometry)
    found = Estimator(stage, len(p.x), Method(method.penalty, method.clamp, settings), p.loss, Walls())
    window = found.state.window(len(p.x))
    window.x[0][...], found.state.y = p.x, p.y
    found.gradient(len(p.x))
    for v in (2, 1):
        window.pull(v)
        window.refresh(v)
    return window


def test_lpom_ends_where_its_fixed_point_iteration_does():
    p = problem(pl.Sequential(*CHAIN, pl.Softmax()), n=6)
    window = settled(p, lpom(2.0))
    for v, b in ((1, pl.ReLU()), (2, pl.Tanh())):
        np.testing.assert_allclose(window.x[v], b.sigma(window.z[v] - window.g[v]), atol=1e-8)


def test_askari_ends_at_the_projections_of_its_least_squares():
    p = problem(pl.Sequential(*FLAT, pl.Softmax()), n=6)
    window = settled(p, askari())
    for v, b in ((1, pl.ReLU()), (2, pl.Hardtanh())):
        np.testing.assert_allclose(window.x[v], b.sigma(window.z[v] - window.g[v]), atol=1e-8)
        slope = window.x[v] - window.z[v] + window.g[v]  # zero where the constraint is not met
        inside = np.abs(window.x[v] - b.sigma(window.x[v] + 1e-3)) * np.abs(window.x[v] - b.sigma(window.x[v] - 1e-3)) > 0
        np.testing.assert_allclose(slope[inside], 0.0, atol=1e-8)
        assert inside.any() and not inside.all()


def test_predictive_coding_balances_its_errors():
    p = problem(pl.Sequential(*CHAIN, pl.Softmax()), n=6)
    window = settled(p, predictive_coding())
    for v, b in ((1, pl.ReLU()), (2, pl.Tanh())):
        np.testing.assert_allclose(window.x[v] - b.sigma(window.z[v]), -window.g[v], atol=1e-7)


# Dual propagation


def test_dual_propagation_with_a_frozen_mean_is_the_symmetric_nudge():
    p = problem(pl.Sequential(*CHAIN, pl.Softmax()), n=7)
    found, expected = grads(p, dual_propagation(0.7, frozen=True)), grads(p, nudged(0.7))
    np.testing.assert_array_equal(vector(found), vector(expected))


@pytest.mark.parametrize("beta", [0.1, 2.0])
@pytest.mark.parametrize("activation", [pl.Identity(), pl.LeakyReLU(1.0)], ids=repr)
def test_dual_propagation_is_the_sweep_where_sigma_is_affine(activation, beta):
    layers = [layer for _ in range(3) for layer in (pl.Linear(3, 3), activation)]
    p = problem(pl.Sequential(*layers, pl.Linear(3, 3), pl.Softmax()), n=7)
    assert distance(grads(p, dual_propagation(beta)), grads(p, nudged(beta))) < 1e-12


def test_dual_propagation_is_the_sweep_where_no_kink_lies_between_its_states():
    p = problem(pl.Sequential(*FLAT, pl.Softmax()), n=7)
    assert distance(grads(p, dual_propagation(1e-4)), grads(p, nudged(1e-4))) < 1e-10
    assert distance(grads(p, dual_propagation(3.0)), grads(p, nudged(3.0))) > 1e-4


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_dual_propagation_tends_to_the_gradient(alpha, transposed):
    """Like beta for lopsided nudges, like its square for symmetric ones."""
    p = problem(pl.Sequential(pl.Linear(3, 5), pl.Tanh(), pl.Linear(5, 4), pl.Softplus(), pl.Linear(4, 3), pl.Softmax()), n=7)
    exact = grads(p, backprop())
    far, near = (distance(grads(p, dual_propagation(b, alpha, transposed)), exact) for b in (0.2, 0.1))
    assert near < 0.1 and far / near == pytest.approx(4.0 if alpha == 0.5 else 2.0, rel=0.2)


def test_a_lopsided_transposed_dyad_of_one_state_stays_at_the_forward_pass():
    p = problem(pl.Sequential(*CHAIN, pl.Softmax()), n=7)
    found = [grads(p, dual_propagation(0.5, 1.0, True, frozen)) for frozen in (True, False)]
    assert distance(*found) < 1e-12
    found = [grads(p, dual_propagation(0.5, 1.0, False, frozen)) for frozen in (True, False)]
    assert distance(*found) > 1e-3


def test_shares_and_phases_of_a_dyad():
    assert Dyad(0.5).displacement == Nudge(0.5).displacement and Dyad(0.5).phases == Nudge(0.5).phases
    assert Dyad(0.5, 1.0).phases == Nudge(0.5, symmetric=False).phases
    assert Dyad(2.0, 0.25).displacement == (0.75, 0.25, 0.0) and Dyad(2.0, 0.25, True).displacement == (0.25, 0.75, 0.0)
    with pytest.raises(ValueError, match="alpha"):
        Dyad(1.0, 1.5)
    with pytest.raises(ValueError, match=r"Dyad\(\.\.\.\)"):
        Method(inference=DyadicSweep())
    with pytest.raises(ValueError, match=r"Sweep\(\)"):
        Method("quadratic", Dyad(), DyadicSweep())


def test_stages_cannot_divide_a_dyadic_sweep():
    p = problem(pl.Sequential(*CHAIN, pl.Softmax()), n=7)
    with pytest.raises(ValueError, match=r"2 stages.*stages=1.*frozen"):
        train(p.network, p, dual_propagation(), stages=2)


# Equilibria


@pytest.mark.parametrize(
    ("method", "beta", "ratio"), [(equilibrium_propagation, 0.1, 4.0), (predictive_coding, 0.01, 2.0)], ids=["EP", "PC"]
)
def test_equilibria_tend_to_the_gradient(method, beta, ratio):
    """The difference of two nudged phases is off by beta^2, one phase by beta."""
    p = problem(pl.Sequential(pl.Linear(3, 5), pl.Tanh(), pl.Linear(5, 4), pl.Tanh(), pl.Linear(4, 3), pl.Softmax()), n=7)
    exact = grads(p, backprop())
    run = {"iterations": 3000, "tolerance": 1e-10}
    far, near = (distance(grads(p, method(beta=b, **run)), exact) for b in (2 * beta, beta))
    assert near < 0.1 and far / near == pytest.approx(ratio, rel=0.2)
    assert cosine(grads(p, method(beta=1e-3, **run)), exact) > 0.9999


def test_an_equilibrium_ends_when_nothing_moves():
    p = problem(pl.Sequential(*CHAIN, pl.Softmax()), n=7)
    whole = Method("bregman", Nudge(0.5), ProximalGradient(400, geometry="dual"))
    ends, exact = ((400, 1e-12), (400, 1e-3), (1, 1e-3)), grads(p, whole)
    far = [distance(grads(p, equilibrium_propagation(0.5, iterations=n, tolerance=t)), exact) for n, t in ends]
    assert far[0] < 1e-8 and far[0] < far[1] < far[2]
    with pytest.raises(ValueError, match="tolerance"):
        Equilibrium(tolerance=0.0)


# Multipliers


@pytest.mark.parametrize(("eps", "binding"), [(0.01, True), (10.0, False)])
def test_multipliers_end_where_their_constraints_hold(eps, binding):
    """B_l = eps where the multiplier is above its bound; where eps is large, the multiplier falls to its bound."""
    p = problem(pl.Sequential(*CHAIN, pl.Softmax()), n=10)
    stage = Stage(p.network, 0, 3, np.zeros(1))
    stage.load(p.params)
    method = Method(Fenchel(eps, 5.0), Hard(), ProximalGradient(60))
    found = Estimator(stage, 10, method, p.loss, Walls())
    multipliers = Multipliers(stage, method.measure, found.weights)
    window = found.state.window(10)
    window.x[0][...], found.state.y = p.x, p.y
    for _ in range(150):
        found.gradient(10)
        multipliers.ascend(window, Walls(), 10)
    for v in (1, 2):
        if binding:
            assert window.penalty(v).mean() == pytest.approx(eps, rel=0.05) and found.weights[v] > 0.02
        else:
            assert window.penalty(v).mean() < eps and found.weights[v] == 0.01


# Through the doors of the package


@pytest.mark.parametrize(
    "method",
    [mac(), mac(2.0, exact=False), askari(tau=None), lpom(), fenchel(), dual_propagation(0.5, 0.3), predictive_coding(),
     equilibrium_propagation()],
    ids=repr,
)  # fmt: skip
def test_repr_builds_the_same_method(method):
    assert eval(repr(method), {**vars(pl.methods), **vars(pl.optim)}) == method


def test_every_method_has_a_page_and_says_the_same_in_its_file():
    page = (Path(__file__).parents[3] / "docs" / "methods.md").read_text(encoding="utf-8")
    functions = [f for name, f in vars(pl.methods).items() if name in pl.methods.__all__ and inspect.isfunction(f)]
    assert len(functions) == 11
    for function in functions:
        assert f"\n## {function.__name__}\n" in page and f"[`{function.__name__}`](#{function.__name__})" in page
        text = inspect.getmodule(function).__doc__
        assert all(word in text for word in ("Objective:", "Update:", "Reference:", "When to use it:")), function


def test_configurations_know_every_method(tmp_path):
    expected = {
        "mac(tau=None)": mac(tau=None), "askari": askari(), "lpom(2.0)": lpom(2.0), "fenchel": fenchel(),
        "dual_propagation(alpha=0.3)": dual_propagation(alpha=0.3), "predictive_coding": predictive_coding(),
        "equilibrium_propagation(beta=0.1)": equilibrium_propagation(0.1),
    }  # fmt: skip
    for text, method in expected.items():
        path = tmp_path / "run.toml"
        path.write_text(f'data = "digits()"\nnetwork = "Sequential(Linear(64, 10), Softmax())"\nmethod = "{text}"\n')
        assert Config.from_file(path).method == method


def test_configurations_say_what_does_not_go_together():
    head = 'data = "digits()"\nnetwork = "Sequential(Linear(64, 8), Tanh(), Linear(8, 10), Softmax())"\n'
    for text, words in {
        'method = "askari"': "linear1.*Tanh",
        'method = "mac"\noptimizer = "SGD(1.0, regularizer=L1(0.1))"': "Ridge.*exact=False",
        'method = "dual_propagation"\n[parallel]\nstages = 2': "2 stages.*frozen",
        'method = "mac(mu=-1.0)"': "mu is -1",
    }.items():
        with pytest.raises(ConfigError, match=words):
            Config.from_text(head + text)


@pytest.mark.parametrize("method", [mac(), fenchel(), lpom()], ids=["mac", "fenchel", "lpom"])
def test_a_resumed_run_repeats_the_whole_one(method, tmp_path):
    p = problem(pl.Sequential(*CHAIN, pl.Softmax()), n=20)
    whole = train(p.network, p, method, epochs=4, batch_size=8)
    train(p.network, p, method, epochs=2, batch_size=8, out=tmp_path)
    resumed = train(p.network, p, method, epochs=4, batch_size=8, out=tmp_path, resume="auto")
    np.testing.assert_array_equal(vector(resumed.params), vector(whole.params))
    assert math.isfinite(whole.history[-1]["energy"])


@pytest.mark.parametrize("name", ["mac", "askari", "lpom"])
def test_the_weight_of_the_penalties_is_positive(name):
    with pytest.raises(ValueError, match="mu is 0"):
        getattr(pl.methods, name)(mu=0.0)
