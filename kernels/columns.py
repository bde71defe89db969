"""Kernels along columns: gains, and batch normalisation, which couples a column's entries. Matrices are read by rows."""

from __future__ import annotations

import numpy as np

from paralift.kernels.difference import FLOOR, TINY
from paralift.kernels.jit import jit


@jit
def scale(x, gain, out):
    """Write gain * x, for each column of `x` (rows, width), into `out`, which may be `x`."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = gain[j] * x[i, j]


@jit
def add_scaled(x, weight, out):
    """Add weight x to `out`."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] += weight * x[i, j]


@jit
def products(x, r, out):
    """Write the sum over rows of x r into `out` (width,)."""
    for j in range(x.shape[1]):
        out[j] = 0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[j] += x[i, j] * r[i, j]


BLOCK = 1 << 12
"""Numbers whose moments are found together, while they are next to the core: read once from memory, and exact for large n."""


@jit
def moments(z, mean, variance):
    """Write mean and (biased) variance of each column of `z` into `mean` and `variance` (width,), float64."""
    n, d = z.shape
    step = max(1, BLOCK // max(1, d))
    total, square = np.empty(d, z.dtype), np.empty(d, z.dtype)
    for j in range(d):
        mean[j] = 0
        variance[j] = 0
    for first in range(0, n, step):
        rows = min(step, n - first)
        part = z[first : first + rows]
        for j in range(d):
            total[j] = 0
            square[j] = 0
        for i in range(rows):
            for j in range(d):
                total[j] += part[i, j]
        for j in range(d):
            total[j] /= rows
        for i in range(rows):
            for j in range(d):
                v = part[i, j] - total[j]
                square[j] += v * v
        share, weight = rows / (first + rows), rows * (first / (first + rows))
        for j in range(d):
            away = total[j] - mean[j]
            mean[j] += away * share
            variance[j] += square[j] + away * away * weight
    for j in range(d):
        variance[j] /= max(1, n)


@jit
def joint_moments(z, g, mean, variance, mean_g, variance_g, covariance):
    """Write means, (biased) variances and the covariance of the columns of `z` and `g`, each (width,) in float64."""
    n, d = z.shape
    step = max(1, BLOCK // max(1, d))
    m, mg = np.empty(d, z.dtype), np.empty(d, z.dtype)
    zz, gg, zg = np.empty(d, z.dtype), np.empty(d, z.dtype), np.empty(d, z.dtype)
    for j in range(d):
        mean[j], variance[j], mean_g[j], variance_g[j], covariance[j] = 0, 0, 0, 0, 0
    for first in range(0, n, step):
        rows = min(step, n - first)
        part, pull = z[first : first + rows], g[first : first + rows]
        for j in range(d):
            m[j], mg[j], zz[j], gg[j], zg[j] = 0, 0, 0, 0, 0
        for i in range(rows):
            for j in range(d):
                m[j] += part[i, j]
                mg[j] += pull[i, j]
        for j in range(d):
            m[j] /= rows
            mg[j] /= rows
        for i in range(rows):
            for j in range(d):
                v, w = part[i, j] - m[j], pull[i, j] - mg[j]
                zz[j] += v * v
                gg[j] += w * w
                zg[j] += v * w
        share, weight = rows / (first + rows), rows * (first / (first + rows))
        for j in range(d):
            away, away_g = m[j] - mean[j], mg[j] - mean_g[j]
            mean[j] += away * share
            mean_g[j] += away_g * share
            variance[j] += zz[j] + away * away * weight
            variance_g[j] += gg[j] + away_g * away_g * weight
            covariance[j] += zg[j] + away * away_g * weight
    for j in range(d):
        variance[j] /= max(1, n)
        variance_g[j] /= max(1, n)
        covariance[j] /= max(1, n)


@jit
def normalise(z, mean, variance, eps, x):
    """Write (z - mean) / sqrt(variance + eps) of each column into `x`, which may be `z`; width numbers of any type."""
    d = z.shape[1]
    shift, scale = np.empty(d, z.dtype), np.empty(d, z.dtype)
    for j in range(d):
        scale[j] = 1.0 / np.sqrt(variance[j] + eps)
        shift[j] = mean[j]
    for i in range(z.shape[0]):
        for j in range(d):
            x[i, j] = (z[i, j] - shift[j]) * scale[j]


@jit
def normalise_rows(z, offset, eps, x, momentum, running_mean, running_variance):
    """Add `offset`, unless it is empty, write the normalised columns into `x`, and move the running statistics.

    The running variance is the unbiased one; a `momentum` of 0 leaves the statistics alone.
    """
    n, d = z.shape
    if offset.shape[0]:
        for i in range(n):
            for j in range(d):
                z[i, j] += offset[j]
    mean, variance = np.empty(d), np.empty(d)
    moments(z, mean, variance)
    normalise(z, mean, variance, eps, x)
    if momentum > 0.0 and n:
        unbiased = n / max(1, n - 1)
        for j in range(d):
            running_mean[j] += momentum * (mean[j] - running_mean[j])
            running_variance[j] += momentum * (variance[j] * unbiased - running_variance[j])


@jit
def normalise_difference(z, g, up, down, relative, eps, column_sum):
    """Overwrite `g` by the residual difference; add its rows to `column_sum` (may be empty)."""
    d = z.shape[1]
    mean, variance, mean_g, variance_g, covariance = np.empty(d), np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    joint_moments(z, g, mean, variance, mean_g, variance_g, covariance)
    difference_of_moments(z, g, mean, variance, mean_g, variance_g, covariance, up, down, relative, eps, column_sum)


@jit
def difference_of_moments(z, g, mean, variance, mean_g, variance_g, covariance, up, down, relative, eps, column_sum):
    """Do what `normalise_difference` does, by given moments.

    The moments of z + a g follow from those of z and g, which are read once; with a `relative` nudge they also give its scale.
    """
    n, d = z.shape
    s = 1.0
    if relative > 0.0:
        z2, g2 = 0.0, 0.0
        for j in range(d):
            z2 += (variance[j] + mean[j] * mean[j]) / d
            g2 += (variance_g[j] + mean_g[j] * mean_g[j]) / d
        z2 = z2 if z2 != 0.0 else 1.0
        s = relative * np.sqrt(z2 / max(g2, FLOOR * z2 + TINY))
    a, b = s * up, s * down
    of_z, of_g, rest = np.empty(d, z.dtype), np.empty(d, z.dtype), np.empty(d, z.dtype)
    centre = np.empty(d, z.dtype)
    for j in range(d):
        above = 1.0 / np.sqrt(max(0.0, variance[j] + a * (2.0 * covariance[j] + a * variance_g[j])) + eps)
        below = 1.0 / np.sqrt(max(0.0, variance[j] - b * (2.0 * covariance[j] - b * variance_g[j])) + eps)
        of_z[j] = (above - below) / s
        of_g[j] = up * above + down * below
        rest[j] = mean_g[j] * (up * above + down * below)
        centre[j] = mean[j]
    for i in range(n):
        for j in range(d):
            g[i, j] = (z[i, j] - centre[j]) * of_z[j] + (g[i, j] * of_g[j] - rest[j])
    if column_sum.shape[0]:
        for i in range(n):
            for j in range(d):
                column_sum[j] += g[i, j]
