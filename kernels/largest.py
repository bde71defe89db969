"""Kernels of the activation that keeps the largest positive entry of a row and sets the others to zero."""

from __future__ import annotations

import numpy as np

from paralift.kernels.jit import jit
from paralift.kernels.rows import _displace, _row_scale, _write_difference


@jit
def _keep_largest(x):
    """Set all entries of `x` but the first of the largest to zero, that one too where it is negative; NaN spoils the row."""
    best = 0
    for j in range(x.shape[0]):
        if x[j] > x[best] or x[j] != x[j]:
            best = j
    top = x[best]
    for j in range(x.shape[0]):
        x[j] = top - top
    x[best] = x[best] if top < 0 else top


@jit
def largest_positive(z, x):
    """Write the activation of each row of `z` (rows, width) into `x`, which may be `z`."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            x[i, j] = z[i, j]
        _keep_largest(x[i])


@jit
def largest_positive_difference(z, g, up, down, relative, column_sum):
    """Overwrite `g` by the residual difference and add its rows to `column_sum` (may be empty)."""
    plus, minus = np.empty(z.shape[1], z.dtype), np.empty(z.shape[1], z.dtype)
    for i in range(z.shape[0]):
        s = _row_scale(z[i], g[i], relative, z.shape[1])
        _displace(z[i], g[i], up * s, down * s, plus, minus)
        _keep_largest(plus)
        _keep_largest(minus)
        _write_difference(plus, minus, s, g[i], column_sum)
