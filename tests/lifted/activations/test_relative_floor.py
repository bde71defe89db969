"""A relative nudge meets rows whose pull all but vanishes, as those of samples that are learned: nothing overflows."""

import array_api_strict
import numpy as np
import pytest

import paralift as pl
from paralift.lifted.activations import BatchNormalise, Normalise

SIZES = (1.0, 1e-10, 1e-18, 1e-22, 1e-30, 1e-38, 0.0)
ACTIVATIONS = [pl.Identity(), pl.ReLU(), pl.Tanh(), pl.Softmax(), Normalise(), BatchNormalise(), pl.Sparsemax()]


def pulls(size):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((len(SIZES), 8)).astype(np.float32)
    g = rng.standard_normal((len(SIZES), 8)).astype(np.float32)
    return z, g * np.array(SIZES, np.float32)[:, None] * np.float32(size)


@pytest.mark.parametrize("size", [1.0, 0.0])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_residuals_stay_finite_and_small(activation, size):
    z, g = pulls(size)
    before, total = np.abs(g).max(axis=1), np.empty(8, np.float32)
    activation.difference(z, g, relative=0.01, column_sum=total)
    assert np.isfinite(g).all() and np.isfinite(total).all()
    if not activation.couples_batch:
        assert (np.abs(g).max(axis=1) <= 4 * before).all()


@pytest.mark.parametrize("activation", [pl.ReLU(), pl.Softmax()], ids=repr)
def test_formula(activation):
    z, g = pulls(1.0)
    strict = array_api_strict.asarray(g.copy())
    activation.difference(array_api_strict.asarray(z), strict, relative=0.01)
    assert np.isfinite(np.from_dlpack(strict)).all()
