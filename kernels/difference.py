"""The residual of the sweep: g <- r, a difference of two activations (or sigma'(z) g), and the sum of r over the rows.

One pass over memory; the relative version reads each row twice, the second time from the cache.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from paralift.kernels.arrays import Array, namespace
from paralift.kernels.jit import jit
from paralift.kernels.scalars import Elementwise, Function, Scalar


def difference(
    act: Elementwise,
    z: Array,
    g: Array,
    up: float = 0.5,
    down: float = 0.5,
    relative: float = 0.0,
    column_sum: Array | None = None,
    accumulate: bool = False,
) -> None:
    """Overwrite the pull `g` by the residual r = (sigma(z + s up g) - sigma(z - s down g)) / s.

    s = 1, or with ``relative`` = eps > 0, for each row, s = eps rms(z) / rms(g) (r = 0 where g = 0; rms(z) = 1 where
    z = 0). `column_sum` (width,), if given, receives the sum of r over the rows, or has it added if `accumulate`.
    """
    if not isinstance(z, np.ndarray):
        formula(act.sigma, z, g, up, down, relative, column_sum, accumulate)
    elif relative > 0.0:
        numba_relative(act.scalar)(z, g, up, down, relative, column_sum, accumulate, act.a, act.b)
    else:
        numba_difference(act.scalar)(z, g, up, down, column_sum, accumulate, act.a, act.b)


def pull_back(act: Elementwise, z: Array, g: Array, column_sum: Array | None = None, accumulate: bool = False) -> None:
    """Overwrite the pull `g` by sigma'(z) g, the residual of backpropagation; sums as in `difference`."""
    if isinstance(z, np.ndarray):
        numba_pull_back(act.scalar)(z, g, column_sum, accumulate, act.a, act.b)
    else:
        g[...] = act.derivative(z, g)
        sum_columns_formula(g, column_sum, accumulate)


def sum_columns(r: Array, column_sum: Array | None, accumulate: bool = False) -> None:
    """Write or add the sum of `r` (rows, width) over its rows into `column_sum` (width,), unless that is None."""
    if column_sum is None:
        return
    if isinstance(r, np.ndarray):
        _numba_sum(r, column_sum, accumulate)
    else:
        sum_columns_formula(r, column_sum, accumulate)


def formula(
    sigma: Function,
    z: Array,
    g: Array,
    up: float,
    down: float,
    relative: float,
    column_sum: Array | None,
    accumulate: bool,
) -> None:
    """Do the same as `difference` with whole-array operations, for any array library."""
    if relative > 0.0:
        s = relative_scale(z, g, relative)
        g[...] = (sigma(z + (up * s) * g) - sigma(z - (down * s) * g)) / s
    else:
        g[...] = sigma(z + up * g) - sigma(z - down * g)
    sum_columns_formula(g, column_sum, accumulate)


def relative_scale(z: Array, g: Array, relative: float) -> Array:
    """Return s = relative rms(z) / rms(g) of each row, shape (rows, 1), with 1 for a vanishing rms."""
    xp = namespace(z)
    z2 = xp.mean(z * z, axis=1)[:, None]
    g2 = xp.mean(g * g, axis=1)[:, None]
    one = xp.ones_like(g2)
    return relative * xp.sqrt(xp.where(z2 > 0, z2, one) / xp.where(g2 > 0, g2, one))


def sum_columns_formula(r: Array, column_sum: Array | None, accumulate: bool) -> None:
    """Do the same as `sum_columns` for any array library."""
    if column_sum is None:
        return
    total = namespace(r).sum(r, axis=0)
    column_sum[...] = column_sum + total if accumulate else total


@cache
def numba_difference(scalar: Scalar) -> Any:
    """Return the compiled ``(z, g, up, down, column_sum or None, accumulate, a, b)``."""
    sigma = scalar.sigma

    def kernel(z, g, up, down, column_sum, accumulate, a, b):  # type: ignore[no-untyped-def]
        up, down = z.dtype.type(up), z.dtype.type(down)
        if column_sum is not None and not accumulate:
            column_sum[:] = 0
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):  # along a row: sums of neighbouring columns share a vector register
                r = sigma(z[i, j] + up * g[i, j], a, b) - sigma(z[i, j] - down * g[i, j], a, b)
                g[i, j] = r
                if column_sum is not None:
                    column_sum[j] += r

    return jit(kernel, scalar.name, scalar.stamp)


@cache
def numba_relative(scalar: Scalar) -> Any:
    """Return the compiled ``(z, g, up, down, relative, column_sum or None, accumulate, a, b)``."""
    sigma = scalar.sigma

    def kernel(z, g, up, down, relative, column_sum, accumulate, a, b):  # type: ignore[no-untyped-def]
        T = z.dtype.type
        up, down, relative = T(up), T(down), T(relative)
        width = z.shape[1]
        if column_sum is not None and not accumulate:
            column_sum[:] = 0
        for i in range(z.shape[0]):
            z2 = T(0)
            g2 = T(0)
            for j in range(width):
                z2 += z[i, j] * z[i, j]
                g2 += g[i, j] * g[i, j]
            z2 = z2 if z2 > 0 else T(width)
            g2 = g2 if g2 > 0 else T(width)
            s = relative * np.sqrt(z2 / g2)
            inverse, up_s, down_s = T(1) / s, up * s, down * s
            for j in range(width):
                r = sigma(z[i, j] + up_s * g[i, j], a, b) - sigma(z[i, j] - down_s * g[i, j], a, b)
                r *= inverse
                g[i, j] = r
                if column_sum is not None:
                    column_sum[j] += r

    return jit(kernel, scalar.name, scalar.stamp)


@cache
def numba_pull_back(scalar: Scalar) -> Any:
    """Return the compiled ``(z, g, column_sum or None, accumulate, a, b)``."""
    slope = scalar.slope

    def kernel(z, g, column_sum, accumulate, a, b):  # type: ignore[no-untyped-def]
        if column_sum is not None and not accumulate:
            column_sum[:] = 0
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                r = slope(z[i, j], a, b) * g[i, j]
                g[i, j] = r
                if column_sum is not None:
                    column_sum[j] += r

    return jit(kernel, scalar.name, scalar.stamp)


def _sum_kernel(r, column_sum, accumulate):  # type: ignore[no-untyped-def]
    rows, width = r.shape
    fours = rows - rows % 4
    if not accumulate:
        column_sum[:] = 0
    for i in range(0, fours, 4):  # four streams from memory: one alone does not fill it
        for j in range(width):
            column_sum[j] += (r[i, j] + r[i + 1, j]) + (r[i + 2, j] + r[i + 3, j])
    for i in range(fours, rows):
        for j in range(width):
            column_sum[j] += r[i, j]


_numba_sum = jit(_sum_kernel)
