"""Softmax under a causal mask is softmax of what each row sees, and nothing reads what is hidden."""

from __future__ import annotations

import array_api_strict as strict
import numpy as np
import pytest

import paralift as pl
from paralift.lifted.activations import CausalSoftmax, Softmax

T, MATRICES = 5, 3
SEEN = np.tile(np.tri(T, dtype=bool), (MATRICES, 1))
CAUSAL, PLAIN = CausalSoftmax(), Softmax()
DEVICE = strict.Device("device1")


def normal(seed, scale=1.0):
    return scale * np.random.default_rng(seed).standard_normal((MATRICES * T, T))


def row_by_row(function, *arrays):
    """Apply a method of softmax to the seen part of each row; hidden entries of what comes back are 0."""
    found = []
    for r in range(MATRICES * T):
        n = r % T + 1
        value = function(*(a[r : r + 1, :n] for a in arrays))
        found.append(np.pad(value[0], (0, T - n)) if value.ndim == 2 else value[0])
    return np.array(found)


def spoilt(z):
    """The same with other hidden entries."""
    return np.where(SEEN, z, np.random.default_rng(9).standard_normal(z.shape) * 50)


VALUES = {
    "sigma": lambda act, z, x, g: act.sigma(z),
    "phi": lambda act, z, x, g: act.phi(z),
    "psi": lambda act, z, x, g: act.psi(x),
    "penalty": lambda act, z, x, g: act.penalty(x, z),
    "penalty_dual": lambda act, z, x, g: act.penalty_dual(g, z),
    "derivative": lambda act, z, x, g: act.derivative(z, g),
    "prox": lambda act, z, x, g: act.prox(z, 0.3),
    "prox, short": lambda act, z, x, g: act.prox(z, 1e-3),
}


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
@pytest.mark.parametrize("name", VALUES)
def test_values_are_those_of_softmax_on_what_is_seen(name, scale):
    f = VALUES[name]
    z, g, x = normal(0, scale), normal(1), CAUSAL.sigma(normal(2))
    found = f(CAUSAL, spoilt(z), x, spoilt(g))
    np.testing.assert_allclose(found, row_by_row(lambda z, x, g: f(PLAIN, z, x, g), z, x, g), atol=1e-9 * (1 + scale))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("relative", [0.0, 0.05])
def test_kernels_are_those_of_softmax_on_what_is_seen(dtype, relative):
    z, g = spoilt(normal(0)).astype(dtype), spoilt(normal(1)).astype(dtype)
    tolerance = 2e-5 if dtype is np.float32 else 1e-12

    def residual(z, g):
        r = g.copy()
        PLAIN.difference(z, r, 0.3, 0.7, relative)
        return r

    expected, x, sums = row_by_row(residual, z, g), np.empty_like(z), np.full(T, 2.0, dtype)
    CAUSAL.activate(z, None, x)
    np.testing.assert_allclose(x, CAUSAL.sigma(z), atol=tolerance)
    CAUSAL.difference(z, g, 0.3, 0.7, relative, sums, accumulate=True)
    np.testing.assert_allclose(g, expected, atol=tolerance)
    np.testing.assert_allclose(sums, 2 + expected.sum(axis=0), atol=10 * tolerance)
    assert not g[~SEEN].any() and not x[~SEEN].any()


@pytest.mark.parametrize("relative", [0.0, 0.05])
def test_other_libraries_do_what_the_kernels_do(relative):
    z, g = spoilt(normal(0)), spoilt(normal(1))
    z[2] = 0.0
    x, dz, dg = np.empty_like(z), *(strict.asarray(a.tolist(), dtype=strict.float64, device=DEVICE) for a in (z, g))
    dx = strict.zeros(z.shape, dtype=strict.float64, device=DEVICE)
    CAUSAL.activate(z, None, x)
    CAUSAL.activate(dz, None, dx)
    CAUSAL.difference(z, g, relative=relative)
    CAUSAL.difference(dz, dg, relative=relative)
    prox = CAUSAL.prox(dz, 0.4)
    for device, host in ((dx, x), (dg, g), (prox, CAUSAL.prox(z, 0.4))):
        assert device.device == DEVICE
        np.testing.assert_allclose(np.asarray(device.to_device(strict.Device("CPU_DEVICE"))), host, atol=1e-12)


def test_the_first_row_sees_itself_alone():
    x, g = np.empty((MATRICES * T, T)), normal(1)
    CAUSAL.activate(normal(0), None, x)
    np.testing.assert_array_equal(x[::T], np.eye(T)[[0] * MATRICES])
    CAUSAL.difference(normal(0), g)
    assert not g[::T].any()


def test_a_nan_spoils_what_sees_it_and_a_hidden_one_nothing():
    z = normal(0)
    z[2, 1], z[6, 4] = np.nan, np.nan
    for x in (CAUSAL.sigma(z), activated(z)):
        assert np.isnan(x[2, :3]).all() and not np.isnan(np.delete(x, 2, axis=0)).any()


def activated(z):
    x = np.empty_like(z)
    CAUSAL.activate(z.copy(), None, x)
    return x


def test_psi_is_infinite_where_something_hidden_is_chosen():
    x = CAUSAL.sigma(normal(0))
    x[1] = np.eye(T)[2]
    assert CAUSAL.psi(x)[1] == np.inf and np.isfinite(np.delete(CAUSAL.psi(x), 1)).all()


def test_no_rows():
    z = np.empty((0, T))
    CAUSAL.activate(z, None, z)
    CAUSAL.difference(z, z)
    assert CAUSAL.prox(z, 0.5).shape == (0, T) and CAUSAL.sigma(z).shape == (0, T)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 4, 3)])
def test_scores_must_be_square(shape):
    with pytest.raises(ValueError, match="square"):
        pl.Sequential(CausalSoftmax(), input_shape=shape)


def test_newton_ends_when_it_has_converged(monkeypatch):
    steps = []
    search = Softmax._line_search
    monkeypatch.setattr(Softmax, "_line_search", lambda *a: steps.append(1) or search(*a))
    z = normal(0, 3.0)
    for lam in (1e-3, 0.1, 0.9):
        steps.clear()
        np.testing.assert_allclose(PLAIN.prox(lam * z + (1 - lam) * PLAIN.sigma(z), lam), PLAIN.sigma(z), atol=1e-12)
        assert len(steps) < 20
