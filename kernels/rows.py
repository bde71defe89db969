"""Kernels for activations that couple the entries of a row: softmax and normalisation.

Formulas live with the activations; here are the Numba kernels, one pass over memory for each row, which is read from
cache after its first touch. NaN in a row gives NaN in the row.
"""

from __future__ import annotations

import numpy as np

from paralift.kernels.difference import FLOOR, TINY
from paralift.kernels.elementary import exp_minus
from paralift.kernels.jit import jit


@jit
def _softmax_row(x, n):
    """X <- softmax of its first `n` entries, in place."""
    top = x[0]
    for j in range(n):
        top = x[j] if x[j] > top else top
    total = top - top  # zero, or NaN if the first entry is one
    for j in range(n):
        e = exp_minus(top - x[j])
        x[j] = e
        total += e
    inverse = x.dtype.type(1) / total
    for j in range(n):
        x[j] *= inverse


@jit
def softmax(z, x):
    """Write softmax of each row of `z` (rows, width) into `x`, which may be `z`."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            x[i, j] = z[i, j]
        _softmax_row(x[i], x.shape[1])


@jit
def softmax_difference(z, g, up, down, relative, column_sum):
    """Overwrite `g` by the residual difference of softmax and add its rows to `column_sum` (may be empty)."""
    plus = np.empty(z.shape[1], z.dtype)
    minus = np.empty(z.shape[1], z.dtype)
    for i in range(z.shape[0]):
        s = _row_scale(z[i], g[i], relative, z.shape[1])
        _displace(z[i], g[i], up * s, down * s, plus, minus)
        _softmax_row(plus, plus.shape[0])
        _softmax_row(minus, minus.shape[0])
        _write_difference(plus, minus, s, g[i], column_sum)


LANES = 32
"""Entries that a loop over a row takes at once; what is left it takes one by one, so that short rows are better filled up."""


@jit
def _filled(n, width):
    """Return up to where a row of `width` with `n` entries is worked on."""
    return min(width, (n + LANES - 1) // LANES * LANES)


@jit
def causal_softmax(z, x):
    """Write softmax of the first 1 + i mod width entries of row i of `z` (rows, width) into `x`, which may be `z`, then 0."""
    width = z.shape[1]
    hidden = z.dtype.type(-np.inf)
    for i in range(z.shape[0]):
        n = i % width + 1
        m = _filled(n, width)
        for j in range(m):
            x[i, j] = z[i, j] if j < n else hidden
        _softmax_row(x[i], m)
        for j in range(m, width):
            x[i, j] = 0


@jit
def causal_softmax_difference(z, g, up, down, relative, column_sum):
    """Overwrite `g` by the residual difference of `causal_softmax`, as `softmax_difference`."""
    width = z.shape[1]
    plus = np.empty(width, z.dtype)
    minus = np.empty(width, z.dtype)
    hidden, zero = z.dtype.type(-np.inf), z.dtype.type(0)
    for i in range(z.shape[0]):
        n = i % width + 1
        m = _filled(n, width)
        for j in range(m):
            plus[j] = z[i, j] if j < n else zero
            minus[j] = g[i, j] if j < n else zero
        s = _row_scale(plus[:m], minus[:m], relative, n)
        a, b, inverse = up * s, down * s, z.dtype.type(1) / s
        for j in range(m):
            seen, pull = plus[j], minus[j]
            plus[j] = seen + a * pull if j < n else hidden
            minus[j] = seen - b * pull if j < n else hidden
        _softmax_row(plus, m)
        _softmax_row(minus, m)
        for j in range(m):
            g[i, j] = (plus[j] - minus[j]) * inverse
        for j in range(m, width):
            g[i, j] = 0
        if column_sum.shape[0]:
            for j in range(n):
                column_sum[j] += g[i, j]


@jit
def _norm_row(x, eps, centre):
    """X <- P x / sqrt(|P x|^2 / d + eps) in place, P = centring if `centre` else the identity."""
    d = x.dtype.type(x.shape[0])
    zero = x.dtype.type(0)
    mean = zero
    if centre:
        for j in range(x.shape[0]):
            mean += x[j]
        mean = mean / d
    square = zero
    for j in range(x.shape[0]):
        x[j] -= mean
        square += x[j] * x[j]
    scale = x.dtype.type(1) / np.sqrt(square / d + eps)
    for j in range(x.shape[0]):
        x[j] *= scale


@jit
def norm(z, eps, centre, x):
    """Write the normalised rows of `z` (rows, width) into `x`, which may be `z`."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            x[i, j] = z[i, j]
        _norm_row(x[i], eps, centre)


@jit
def norm_difference(z, g, up, down, relative, eps, centre, column_sum):
    """Overwrite `g` by the residual difference of the normalisation, as `softmax_difference`."""
    plus = np.empty(z.shape[1], z.dtype)
    minus = np.empty(z.shape[1], z.dtype)
    for i in range(z.shape[0]):
        s = _row_scale(z[i], g[i], relative, z.shape[1])
        _displace(z[i], g[i], up * s, down * s, plus, minus)
        _norm_row(plus, eps, centre)
        _norm_row(minus, eps, centre)
        _write_difference(plus, minus, s, g[i], column_sum)


@jit
def _displace(z, g, up, down, plus, minus):
    for j in range(z.shape[0]):
        plus[j] = z[j] + up * g[j]
        minus[j] = z[j] - down * g[j]


@jit
def _row_scale(z, g, relative, n):
    """Return relative rms(z) / rms(g) of `n` entries, or 1 where no relative nudge is asked for."""
    one = z.dtype.type(1)
    if relative <= 0:
        return one
    z2 = z.dtype.type(0)
    g2 = z.dtype.type(0)
    for j in range(z.shape[0]):
        z2 += z[j] * z[j]
        g2 += g[j] * g[j]
    d = z.dtype.type(n)
    z2 = z2 / d if z2 != 0 else one
    return relative * np.sqrt(z2 / max(g2 / d, z.dtype.type(FLOOR) * z2 + z.dtype.type(TINY)))


@jit
def _write_difference(plus, minus, s, g, column_sum):
    for j in range(g.shape[0]):
        g[j] = (plus[j] - minus[j]) / s
    if column_sum.shape[0]:
        for j in range(g.shape[0]):
            column_sum[j] += g[j]
