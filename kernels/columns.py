"""Kernels along columns: gains, and batch normalisation, which couples a column's entries. Matrices are read by rows."""

from __future__ import annotations

import numpy as np

from paralift.kernels.jit import jit


@jit
def scale(x, gain, out):
    """Write gain * x, for each column of `x` (rows, width), into `out`, which may be `x`."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = gain[j] * x[i, j]


@jit
def moments(z, g, t, mean, variance):
    """Write mean and (biased) variance of each column of z + t g into `mean` and `variance` (width,)."""
    n, d = z.shape
    for j in range(d):
        mean[j] = 0
        variance[j] = 0
    for i in range(n):
        for j in range(d):
            mean[j] += z[i, j] + t * g[i, j]
    for j in range(d):
        mean[j] /= n
    for i in range(n):
        for j in range(d):
            v = z[i, j] + t * g[i, j] - mean[j]
            variance[j] += v * v
    for j in range(d):
        variance[j] /= n


@jit
def normalise(z, mean, variance, eps, x):
    """Write (z - mean) / sqrt(variance + eps) of each column into `x`, which may be `z`."""
    one = z.dtype.type(1)
    scale = one / np.sqrt(variance + eps)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            x[i, j] = (z[i, j] - mean[j]) * scale[j]


@jit
def normalise_difference(z, g, up, down, s, eps, column_sum):
    """Overwrite `g` by the residual difference; add its rows to `column_sum` (may be empty)."""
    d = z.shape[1]
    one = z.dtype.type(1)
    mean_up, mean_down = np.empty(d, z.dtype), np.empty(d, z.dtype)
    scale_up, scale_down = np.empty(d, z.dtype), np.empty(d, z.dtype)
    a, b = s * up, s * down
    moments(z, g, a, mean_up, scale_up)
    moments(z, g, -b, mean_down, scale_down)
    for j in range(d):
        scale_up[j] = one / np.sqrt(scale_up[j] + eps)
        scale_down[j] = one / np.sqrt(scale_down[j] + eps)
    for i in range(z.shape[0]):
        for j in range(d):
            above = (z[i, j] + a * g[i, j] - mean_up[j]) * scale_up[j]
            below = (z[i, j] - b * g[i, j] - mean_down[j]) * scale_down[j]
            g[i, j] = (above - below) / s
    if column_sum.shape[0]:
        for i in range(z.shape[0]):
            for j in range(d):
                column_sum[j] += g[i, j]
