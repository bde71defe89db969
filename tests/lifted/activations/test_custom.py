"""Activations made of formulas are what the built-in ones of the same formulas are; wrong formulas are refused."""

from __future__ import annotations

import json
import math
import pickle

import array_api_strict as strict
import numpy as np
import pytest

import paralift as pl
from paralift.lifted.activations import NotMonotoneError
from paralift.testing import check_activation

SOFTSIGN = pl.activation("softsign", sigma="z / (1 + abs(z))", phi="abs(z) - log1p(abs(z))")
CLIP = pl.activation(
    "clip", sigma="clip(z, a, b)", phi="clip(z, a, b) * (z - clip(z, a, b) / 2)", psi="where(x < a or x > b, inf, 0)",
    prox="clip(w, a, b)", a=-1.0, b=0.5,
)  # fmt: skip
LEAKY = pl.activation("leaky", sigma="where(z < 0, a * z, z)", phi="where(z < 0, a, 1) * z * z / 2", a=0.1, gain=2.0)
SAME = ((SOFTSIGN, pl.Softsign()), (CLIP, pl.Hardtanh(-1.0, 0.5)), (LEAKY, pl.LeakyReLU(0.1)))
RELU = {"sigma": "max(z, 0)", "phi": "max(z, 0)**2 / 2"}
MISH = pl.activation("mish", sigma="z * tanh(log1p(exp(-abs(z))) + max(z, 0))")
STEPS = pl.activation("steps", sigma="floor(clip(z, 0, 1) * 3 + 0.5) / 3", phi="floor(clip(z, 0, 1) * 3 + 0.5) / 3 * z - "
                      "(floor(clip(z, 0, 1) * 3 + 0.5) / 3) ** 2 / 2")  # fmt: skip
Z, G, Q = np.random.default_rng(0).standard_normal((3, 6, 5)) * 2


@pytest.mark.parametrize("mine, known", SAME, ids=lambda a: type(a).__name__)
def test_it_is_the_one_that_is_known(mine, known):
    x = known.sigma(Q)
    for f in (
        lambda act: act.sigma(Z), lambda act: act.phi(Z), lambda act: act.psi(x), lambda act: act.derivative(Z, G),
        lambda act: act.prox(Z, 0.3), lambda act: act.prox(Z, 1e-4), lambda act: act.penalty(x, Z),
        lambda act: act.penalty_dual(Q, Z),
    ):  # fmt: skip
        np.testing.assert_allclose(f(mine), f(known), rtol=1e-9, atol=1e-11)
    assert mine.lipschitz == pytest.approx(known.lipschitz, rel=1e-9)


def test_checks_hold():
    for act in (SOFTSIGN, MISH):
        check_activation(act)


def test_other_libraries():
    z, w = (strict.asarray(a.tolist(), dtype=strict.float64) for a in (Z, Q))
    np.testing.assert_allclose(np.asarray(SOFTSIGN.sigma(z)), SOFTSIGN.sigma(Z), rtol=1e-14)
    np.testing.assert_allclose(np.asarray(SOFTSIGN.prox(w, 0.3)), SOFTSIGN.prox(Q, 0.3), rtol=1e-12)
    np.testing.assert_allclose(np.asarray(LEAKY.psi(z)), LEAKY.psi(Z), rtol=1e-9)


def test_psi_is_infinite_where_sigma_does_not_reach():
    x = np.array([[-1.2], [-1.0], [0.3], [1.0], [1.2]])
    assert np.isinf(SOFTSIGN.psi(x)).tolist() == [True, True, False, True, True]
    tanh = pl.activation("tanh", sigma="tanh(z)", phi="abs(z) + log1p(exp(-2*abs(z))) - log(2)")
    ends = math.log(2) - 0.5
    np.testing.assert_allclose(tanh.psi(np.array([[1.0], [-1.0], [0.0]])), [ends, ends, 0.0], atol=1e-12)


@pytest.mark.parametrize(
    "given, says",
    (
        ({"sigma": "sin(z)", "phi": "-cos(z)"}, "sigma falls from .* leave|Leave phi out"),
        ({"sigma": "tanh(z)", "phi": "tanh(z)"}, "phi rises by .* where the integral of sigma is"),
        ({"sigma": "z / (1 + abs(z))", "phi": "1.0001 * abs(z) - log1p(abs(z))"}, "phi rises by"),
        ({"sigma": "max(z, 0)", "phi": "max(z, 0)**2"}, "phi rises by"),
        ({"sigma": "log(1 + exp(z))"}, "slope is nan at z = 1.*, or give slope"),
        ({"sigma": "sqrt(z)"}, "sigma is nan at z = -30"),
        ({"sigma": "tanh(z)", "phi": "abs(z) + log1p(exp(-2*abs(z)))", "psi": "x*x"}, "psi is .* where x z - phi"),
        ({**RELU, "psi": "where(x < 0, inf, 0)", "prox": "w"}, "prox is .* expected sigma"),
        ({**RELU, "prox": "max(w, 0)"}, "without psi"),
        ({"sigma": "tanh(y)"}, "activation 'bad': sigma: .*'y' is not known"),
        ({"sigma": "a * z", "a": math.nan}, "a = nan"),
        ({"sigma": "z", "gain": 0.0}, "above 0"),
    ),
)
def test_wrong_formulas_are_refused(given, says):
    with pytest.raises(ValueError, match=says):
        pl.activation("bad", **given)


def test_sigma_alone_serves_where_sigma_is_enough():
    np.testing.assert_allclose(MISH.sigma(Z), Z * np.tanh(np.logaddexp(0, Z)), rtol=1e-12)
    assert not MISH.proximal and MISH.lipschitz == pytest.approx(1.0885, abs=1e-3)
    for f in (lambda: MISH.phi(Z), lambda: MISH.psi(Z), lambda: MISH.prox(Z, 0.5), lambda: MISH.penalty(Z, Z)):
        with pytest.raises(NotMonotoneError, match="mish has no phi"):
            f()


def test_a_staircase_has_no_xstep_unless_it_is_given():
    assert STEPS.lipschitz == math.inf
    np.testing.assert_allclose(STEPS.sigma(Z), pl.Quantizer(4).sigma(Z), rtol=1e-14)
    np.testing.assert_allclose(STEPS.phi(Z), pl.Quantizer(4).phi(Z), rtol=1e-12, atol=1e-14)
    with pytest.raises(NotMonotoneError, match="sigma jumps"):
        STEPS.prox(Z, 0.5)


def test_an_expansive_sigma_has_an_xstep_too():
    """sigma = 3 z: phi = 3 z^2/2, Psi = x^2/6 - x^2/2, B(x, z) = (x - 3 z)^2/6."""
    triple = pl.activation("triple", sigma="3 * z", phi="1.5 * z * z")
    assert triple.lipschitz == pytest.approx(3.0)
    np.testing.assert_allclose(triple.penalty(Q, Z), np.sum((Q - 3 * Z) ** 2, axis=1) / 6, rtol=1e-9)
    np.testing.assert_allclose(triple.prox(Q, 0.5), Q / (0.5 + 0.5 / 3), rtol=1e-12)


def test_its_repr_makes_it_again_in_a_configuration_too():
    from paralift.config import Config

    for act in (SOFTSIGN, CLIP, LEAKY, MISH):
        assert eval(repr(act), {"activation": pl.activation}) == act == pickle.loads(pickle.dumps(act))
    network = pl.Sequential(pl.Linear(64, 8), LEAKY, pl.Linear(8, 10), pl.Softmax())
    text = "\n".join(['data = "digits"', "network = [", *(f'"""{layer!r}""",' for layer in network.layers), "]"])
    assert Config.from_text(text).network.source == network.source
    with pytest.raises(ValueError, match="function 'open' is not known"):
        Config.from_text(text.replace("a * z", "open(z)"))


def test_a_configuration_writes_it_again():
    from paralift.config import Config

    layers = ["Linear(64, 8)", "activation('s', sigma='z/(1+abs(z))')", "Linear(8, 10)", "Softmax()"]
    text = 'data = "digits"\nnetwork = ' + json.dumps(layers)
    changed = Config.from_text(text).changed(epochs=3)
    assert Config.from_text(changed.text).network.source == changed.network.source
