"""The checks for pieces of one's own find what is wrong with them, and nothing where nothing is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

import paralift as pl
from paralift.testing import CheckError, check_activation, check_map, check_penalty, check_rule


@dataclass(frozen=True)
class Scaled(pl.maps.Map):
    """z = weight x^power, with three ways to be wrong."""

    width: int = 3
    power: int = 1
    back: float = 1.0
    pulled: float = 1.0

    def output_shape(self, *shapes):
        return shapes[0]

    def parameters(self):
        return {"weight": (self.width,)}

    def init(self, rng, gain):
        return {"weight": np.ones(self.width)}

    def apply(self, theta, xs, out):
        out[...] = theta["weight"] * xs[0] ** self.power

    def adjoint(self, theta, xs, r, parent, out):
        out[...] = self.back * theta["weight"] * r

    def gradient(self, xs, r, out):
        out["weight"][...] = self.pulled * (xs[0] ** self.power * r).sum(axis=0)


@dataclass(frozen=True)
class Unwritten(Scaled):
    def apply(self, theta, xs, out):
        pass


@dataclass(frozen=True)
class Other(Scaled):
    def init(self, rng, gain):
        return {"weight": np.ones(2)}


WRONG_MAPS = (
    (Scaled(power=2), "affine in parent 0"),
    (Scaled(back=2.0), "<A x, r> and <x, A\\^T r>"),
    (Scaled(pulled=-1.0), "<dz/dweight v, r>"),
    (Unwritten(), "unwritten or NaN"),
    (Other(), "init gives"),
)


@pytest.mark.parametrize("map_, says", WRONG_MAPS, ids=lambda v: type(v).__name__)
def test_wrong_maps_are_found(map_, says):
    with pytest.raises(CheckError, match=says):
        check_map(map_, (3,))


@pytest.mark.parametrize(
    "map_, shapes",
    (
        (Scaled(), [(3,)]), (pl.Linear(3, 4), [(2, 3)]), (pl.Diagonal(4), [(4,)]), (pl.Scores(2), [(3, 4), (3, 4)]),
        (pl.Add(), [(3,), (3,)]), (pl.Positions(4, 3), [(4, 3)]),
    ),
)  # fmt: skip
def test_maps_that_are_right(map_, shapes):
    check_map(map_, *shapes)


class Wrong(pl.activations.Activation):
    """tanh with one formula changed."""

    def __init__(self, **changed):
        self.__dict__.update(changed)

    sigma, phi, psi, prox = (lambda self, v, *a, n=n: getattr(pl.Tanh(), n)(v, *a) for n in ("sigma", "phi", "psi", "prox"))


def test_activations():
    for act in (pl.Softmax(), Wrong(), pl.GELU(), pl.Quantizer((-1.0, 0.3, 2.0))):
        check_activation(act)
    for changed, says in (
        ({"sigma": lambda z: -np.tanh(z)}, "<sigma\\(z\\) - sigma\\(q\\), z - q>"),
        ({"phi": lambda z: pl.Tanh().phi(z) + 0.01 * z[:, 0] ** 2}, "derivative of phi"),
        ({"psi": lambda x: pl.Tanh().psi(x) + 0.1}, "its two forms"),
        ({"prox": lambda w, lam: np.tanh(w)}, "objective"),
        ({"difference": lambda *a: None}, "difference and sigma"),
    ):
        with pytest.raises(CheckError, match=says):
            check_activation(Wrong(**changed))


@dataclass(frozen=True)
class Weighted(pl.methods.Penalty):
    """w B, with the three functions wrong by a factor each."""

    value_by: float = 1.0
    gradient_by: float = 1.0
    step_by: float = 1.0

    def value(self, activation, x, z):
        return self.value_by * activation.penalty(x, z)

    def gradient(self, activation, x, z):
        return self.gradient_by * (activation.sigma(z) - x)

    def step(self, activation, x, z, g, tau):
        tau = self.step_by * tau
        return activation.prox((x + tau * (z - g)) / (1 + tau), tau / (1 + tau))


def test_penalties():
    check_penalty(Weighted(), pl.Sigmoid())
    for name, says in (("value_by", "derivative"), ("gradient_by", "derivative"), ("step_by", "objective")):
        with pytest.raises(CheckError, match=says):
            check_penalty(replace(Weighted(), **{name: 1.5}), pl.Sigmoid())
    with pytest.raises(CheckError, match="its value"):
        check_penalty(Weighted(-1.0, -1.0), pl.Sigmoid())


def test_a_penalty_of_ones_own_is_the_known_one_in_inference():
    """With the weight 1 it must take the very steps of the Bregman penalty."""
    net = pl.Sequential(pl.Linear(4, 5), pl.Tanh(), pl.Linear(5, 3), pl.Sigmoid(), pl.Linear(3, 2))
    params, rng = net.init(0, np.float64), np.random.default_rng(0)
    roles = {"input": pl.Clamped(rng.standard_normal((6, 4))), "output": pl.Clamped(rng.standard_normal((6, 2)))}
    expected = pl.infer(net, params, roles, pl.methods.ProximalGradient(5))
    found = pl.infer(net, params, roles, pl.methods.ProximalGradient(5), penalty=Weighted())
    np.testing.assert_allclose(found.energy, expected.energy, rtol=1e-12)
    np.testing.assert_allclose(found.variables["linear1"], expected.variables["linear1"], rtol=1e-12)
    x, y = roles["input"].value, roles["output"].value
    grads = [
        pl.value_and_grad(net, pl.methods.Method(p, pl.methods.Hard(), pl.methods.ProximalGradient(2)))(params, x, y)[1]
        for p in ("bregman", Weighted())
    ]
    np.testing.assert_allclose(grads[1]["linear1"]["weight"], grads[0]["linear1"]["weight"], rtol=1e-10)


@pytest.mark.parametrize("parts", ({}, {"inference": pl.methods.ProximalGradient(geometry="dual"), "clamp": pl.methods.Hard()}))
def test_a_penalty_of_ones_own_needs_iterations(parts):
    with pytest.raises(ValueError, match="Weighted|ProximalGradient"):
        pl.methods.Method(Weighted(), **parts)


def test_an_unknown_penalty_is_named():
    with pytest.raises(ValueError, match="expected one of .* or a Penalty"):
        pl.methods.Method("bergman")


@dataclass(frozen=True)
class Plain(pl.optim.Rule):
    """Gradient descent by `move`, with ways to be wrong."""

    rate: float = 0.1
    weight_decay: float = 0.0
    regularizer: pl.optim.Regularizer | None = None
    sign: float = 1.0
    mixes: bool = False

    def move(self, parameter, gradient, state, rate, t):
        parameter -= self.sign * rate * (gradient - self.mixes * gradient.mean())


@dataclass(frozen=True)
class Heavy(pl.optim.Rule):
    rate: float = 0.1
    state_names = ("velocity",)

    def move(self, parameter, gradient, state, rate, t):
        state["velocity"][...] = 0.9 * state["velocity"] + gradient
        parameter -= rate * state["velocity"]


def test_wrong_rules_are_found():
    check_rule(Plain(weight_decay=0.1, regularizer=pl.optim.GroupL1(0.1)))
    for rule, says in ((Plain(sign=-1.0), "against the gradient"), (Plain(mixes=True), "entries mixed")):
        with pytest.raises(CheckError, match=says):
            check_rule(rule)


@pytest.mark.parametrize(
    "mine, known",
    (
        (Plain(0.1, 0.01, pl.optim.L1(0.05)), pl.optim.SGD(0.1, weight_decay=0.01, regularizer=pl.optim.L1(0.05))),
        (Heavy(0.1), pl.optim.SGD(0.1, momentum=0.9)),
    ),
)
def test_move_takes_the_steps_of_the_kernels(mine, known):
    rng = np.random.default_rng(0)
    flats = [rng.standard_normal(9)] * 2
    flats, forecasts = [f.copy() for f in flats], [np.empty(9), np.empty(9)]
    states = [rule.init(f) for rule, f in zip((mine, known), flats, strict=True)]
    for t in range(1, 4):
        g = rng.standard_normal(9)
        for rule, flat, state, forecast in zip((mine, known), flats, states, forecasts, strict=True):
            for out in (forecast, None):
                rule.step(flat, g.copy(), state, [(0, 6, (2, 3)), (6, 9, (3,))], t, 9, 0.5, out)
        np.testing.assert_allclose(flats[0], flats[1], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(forecasts[0], flats[1], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(forecasts[1], flats[1], rtol=1e-12, atol=1e-14)
