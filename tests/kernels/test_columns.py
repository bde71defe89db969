"""Moments of columns, found block by block, are those of the whole, also of many rows far from zero in float32."""

from __future__ import annotations

import numpy as np
import pytest

from paralift.kernels import columns


def joint(z, g):
    outs = [np.empty(z.shape[1]) for _ in range(5)]
    columns.joint_moments(z, g, *outs)
    return outs


@pytest.mark.parametrize("n", [1, 2, 700, 5000])
def test_moments_are_those_of_numpy(n):
    rng = np.random.default_rng(n)
    z, g = rng.standard_normal((n, 7)), rng.standard_normal((n, 7)) + 3.0
    mean, variance = np.empty(7), np.empty(7)
    columns.moments(z, mean, variance)
    np.testing.assert_allclose(mean, z.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(variance, z.var(axis=0), rtol=1e-12, atol=1e-14)
    covariance = ((z - z.mean(axis=0)) * (g - g.mean(axis=0))).mean(axis=0)
    expected = (z.mean(axis=0), z.var(axis=0), g.mean(axis=0), g.var(axis=0), covariance)
    for found, wanted in zip(joint(z, g), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-13)


def test_variances_far_from_zero_keep_their_digits():
    z = (np.random.default_rng(0).standard_normal((60_000, 3)) + 300.0).astype(np.float32)
    exact = z.astype(np.float64)
    mean, variance, *_ = joint(z, z)
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(variance, exact.var(axis=0), rtol=1e-3)


def test_products_of_columns():
    rng = np.random.default_rng(0)
    x, r, out = rng.standard_normal((50, 4)), rng.standard_normal((50, 4)), np.full(4, np.nan)
    columns.products(x, r, out)
    np.testing.assert_allclose(out, (x * r).sum(axis=0))
