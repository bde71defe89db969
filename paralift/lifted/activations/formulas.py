"""Whole-array formulas that several activations share, for NumPy, CuPy and the Python array API standard.

None of them overflows or takes a logarithm of zero, so that NumPy has nothing to warn of at finite arguments.
"""

from __future__ import annotations

import math

from paralift.kernels.arrays import Array, namespace


def where(condition: Array, number: float, other: Array) -> Array:
    """Return `number` where `condition` holds, else `other`, in the type of `other`."""
    xp = namespace(other)
    return xp.where(condition, xp.full_like(other, number), other)


def clip(z: Array, low: float, high: float) -> Array:
    """Return `z` clipped to [low, high]; a NaN stays."""
    return where(z < low, low, where(z > high, high, z))


def shrink(z: Array, threshold: float) -> Array:
    """Return sign(z) max(|z| - threshold, 0); a NaN stays."""
    xp = namespace(z)
    beyond = where(z < -threshold, threshold, where(z > threshold, -threshold, xp.zeros_like(z)))
    return where(xp.abs(z) <= threshold, 0.0, z + beyond)


def half_square(x: Array) -> Array:
    """Return |x|^2/2 of each row."""
    return 0.5 * namespace(x).sum(x * x, axis=1)


def infinite_outside(x: Array, value: Array, low: float, high: float) -> Array:
    """Return `value` where low <= x <= high, else inf."""
    return where((x < low) | (x > high), math.inf, value)


def x_log_x(x: Array) -> Array:
    """Return x ln x for x >= 0, 0 at 0."""
    return x * namespace(x).log(where(x == 0, 1.0, x))


def logistic(z: Array) -> Array:
    """Return 1 / (1 + e^-z)."""
    xp = namespace(z)
    e = xp.exp(-xp.abs(z))
    return xp.where(z < 0, e, xp.ones_like(e)) / (1.0 + e)


def log_one_plus_exp(z: Array) -> Array:
    """Return ln(1 + e^z)."""
    xp = namespace(z)
    return where(z < 0, 0.0, z) + xp.log1p(xp.exp(-xp.abs(z)))


def arctan(z: Array) -> Array:
    """Return arctan z; NumPy before version 2 and CuPy know it by the older name."""
    xp = namespace(z)
    return xp.atan(z) if hasattr(xp, "atan") else xp.arctan(z)


def fold(z: Array) -> Array:
    """Return min(|z|, 1/|z|), with which functions of large z are computed without overflow."""
    xp = namespace(z)
    v = xp.abs(z)
    return xp.where(v > 1, 1.0 / where(v <= 1, 1.0, v), v)


def signed(y: Array, z: Array) -> Array:
    """Return `y` with the sign of `z`."""
    return namespace(z).where(z < 0, -y, y)
