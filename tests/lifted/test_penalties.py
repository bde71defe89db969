"""Penalties: gradients, moves and weights, and which activations they take."""

from __future__ import annotations

import numpy as np
import pytest
from problems import problem

import paralift as pl
from paralift.lifted.inference.lifted import LiftedState, Roles
from paralift.lifted.inference.norms import Norms
from paralift.lifted.penalties import PENALTIES, Fenchel, Penalty, penalty_of
from paralift.lifted.stage import Stage
from paralift.methods import Hard, Method, Nudge, ProximalGradient

CASES = [(name, act) for name in ("bregman", "quadratic") for act in (pl.ReLU(), pl.Tanh())]
CASES += [("constrained", pl.ReLU()), ("constrained", pl.Hardtanh())]


@pytest.mark.parametrize(("name", "act"), CASES)
def test_residuals_are_gradients(name, act):
    rng = np.random.default_rng(0)
    x, z, d = act.sigma(rng.standard_normal((5, 4))), rng.standard_normal((5, 4)), rng.standard_normal((5, 4))
    penalty, r = PENALTIES[name], act.sigma(z)
    penalty.residual(act, x, z, r)
    up, down = (penalty.value(act, x, z + h * d) for h in (1e-6, -1e-6))
    np.testing.assert_allclose((up - down) / 2e-6, (r * d).sum(axis=1), atol=1e-7)


@pytest.mark.parametrize("weight", [0.2, 3.0])
@pytest.mark.parametrize(
    ("penalty", "activation", "geometry"),
    [("bregman", pl.Tanh(), "euclidean"), ("bregman", pl.ReLU(), "dual"), ("constrained", pl.ReLU(), "euclidean")],
)
def test_weighted_moves_lower_the_energy(penalty, activation, geometry, weight):
    net = pl.Sequential(pl.Linear(3, 5), activation, pl.Linear(5, 4), activation, pl.Linear(4, 3), pl.Softmax())
    p = problem(net, n=6)
    stage = Stage(net, 0, 3, np.zeros(1))
    stage.load(p.params)
    window = LiftedState(stage, 6).window(6)
    window.x[0][...], window.state.y = p.x, p.y
    window.roles = Roles(p.loss, 1.0, penalty, geometry, weights={1: weight, 2: 1.5})
    for b in stage.blocks:
        window.start(b)
    window.p[1][...] += 0.5
    for v in (1, 2):
        window.x[v][...] = activation.sigma(window.p[v])
    window.stale.update(window.own)
    constants = Norms(stage).lipschitz(1.0, window.roles.weights)
    energy = [float(window.energy())]
    for v in (2, 1) * 40:
        window.pull(v)
        window.move(v, float(constants[v]))
        energy.append(float(window.energy()))
    assert (np.diff(energy) <= 1e-10).all() and energy[-1] < energy[0]
    if penalty == "bregman":  # stationary: x = sigma(z - g/weight)
        for _ in range(1000):
            for v in (2, 1):
                window.pull(v)
                window.move(v, float(constants[v]))
        g, z = window.pull(1).copy(), window.z[1]
        np.testing.assert_allclose(window.x[1], activation.sigma(z - g / weight), atol=1e-6)


def test_the_constrained_penalty_wants_projections():
    net = pl.Sequential(pl.Linear(3, 4), pl.Tanh(), pl.Linear(4, 2), pl.Softmax())
    p = problem(net, n=4)
    roles = {"input": pl.Clamped(p.x), "output": pl.Clamped(p.y)}
    with pytest.raises(TypeError, match=r"linear1.*Tanh.*ReLU.*bregman"):
        pl.infer(net, p.params, roles, penalty="constrained")
    with pytest.raises(TypeError, match="Tanh"):
        pl.fit(net, (p.x, p.y), method=pl.methods.askari(), comm=None, progress=False)


def test_a_penalty_of_ones_own_needs_three_functions():
    """Twice the Bregman penalty, as a user would write it: the weight 2 of the named one."""

    class Twice(Penalty):
        lipschitz = 2.0

        def value(self, activation, x, z):
            return 2 * activation.penalty(x, z)

        def gradient(self, activation, x, z):
            return 2 * (activation.sigma(z) - x)

        def step(self, activation, x, z, g, tau):
            return activation.prox((x + tau * (2 * z - g)) / (1 + 2 * tau), 2 * tau / (1 + 2 * tau))

    p = problem(pl.Sequential(pl.Linear(3, 4), pl.Tanh(), pl.Linear(4, 2), pl.Softmax()), n=6)
    found = pl.value_and_grad(p.network, Method(Twice(), Hard(), ProximalGradient(5)))(p.params, p.x, p.y)[1]
    half = {"input": pl.Clamped(p.x), "output": pl.Nudged(p.y, 0.5)}  # E/2
    named = pl.infer(p.network, p.params, half, ProximalGradient(500))
    own = pl.infer(
        p.network, p.params, {"input": pl.Clamped(p.x), "output": pl.Clamped(p.y)}, ProximalGradient(500), penalty=Twice()
    )
    np.testing.assert_allclose(own.variables["linear1"], named.variables["linear1"], atol=1e-7)
    assert np.isfinite(found["linear1"]["weight"]).all()


def test_projections_say_so():
    z = np.random.default_rng(1).standard_normal((6, 4)) * 2
    for act in (pl.ReLU(), pl.Hardtanh(), pl.Identity(), pl.Sparsemax(), pl.Ball(1.0)):
        assert act.projection
        np.testing.assert_allclose(act.sigma(act.sigma(z)), act.sigma(z), atol=1e-12)
    assert not any(act.projection for act in (pl.Tanh(), pl.SoftThreshold(0.1), pl.Softmax(), pl.LeakyReLU(0.1)))


def test_names_and_objects():
    assert penalty_of("fenchel") == Fenchel() and penalty_of(Fenchel(0.1)).eps == 0.1
    with pytest.raises(ValueError, match="'cubic'.*constrained"):
        penalty_of("cubic")
    with pytest.raises(ValueError, match="eps and rate"):
        Fenchel(rate=-1.0)
    assert Method("fenchel", Hard(), ProximalGradient(1)).measure == Fenchel()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Method("constrained"), ["constrained", "ProximalGradient"]),
        (lambda: Method("fenchel", Hard()), ["fenchel", "ProximalGradient"]),
        (lambda: Method("fenchel", Nudge(0.1), ProximalGradient(1)), ["multipliers", "one-sided"]),
        (lambda: Method("constrained", Hard(), ProximalGradient(1, geometry="dual")), ["constrained", "dual"]),
        (lambda: Method(3), ["penalty is 3"]),
    ],
)
def test_what_cannot_be(build, words):
    with pytest.raises((TypeError, ValueError)) as error:
        build()
    assert all(word in str(error.value) for word in words), str(error.value)
