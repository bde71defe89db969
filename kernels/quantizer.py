"""Scalar functions of the quantiser: uniform levels on [0, high] or [-high, high] by rounding, any levels by a table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.extending import register_jitable

from paralift.kernels.scalars import Scalar

# ruff: noqa: D103
EXACT: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "forceinline": True}
"""A division stays a division, so that the highest level is 1 and not its neighbour."""


@register_jitable(**EXACT)
def uniform_sigma(z, a, b):
    """Return the nearest of the levels 0, b/a, ..., b."""
    T = type(z)
    y = z / T(b)
    y = T(0) if y < T(0) else (T(1) if y > T(1) else y)
    return np.floor(y * T(a) + T(0.5)) / T(a) * T(b)


@register_jitable(**EXACT)
def uniform_phi(z, a, b):
    q = uniform_sigma(z, a, b)
    return q * (z - type(z)(0.5) * q)


@register_jitable(**EXACT)
def uniform_psi(x, a, b):
    T = type(x)
    return T(math.inf) if abs(x - uniform_sigma(x, a, b)) > T(1e-6) * T(b) else T(0)


@register_jitable(**EXACT)
def uniform_prox(w, lam, a, b):
    return uniform_sigma(w, a, b)


@register_jitable(**EXACT)
def signed_sigma(z, a, b):
    """Return the nearest of the levels -b, ..., b, a + 1 of them."""
    T = type(z)
    y = z / T(b)
    y = T(-1) if y < T(-1) else (T(1) if y > T(1) else y)
    return (np.floor((y + T(1)) * (T(0.5) * T(a)) + T(0.5)) * T(2) / T(a) - T(1)) * T(b)


@register_jitable(**EXACT)
def signed_phi(z, a, b):
    q = signed_sigma(z, a, b)
    return q * (z - type(z)(0.5) * q)


@register_jitable(**EXACT)
def signed_psi(x, a, b):
    T = type(x)
    return T(math.inf) if abs(x - signed_sigma(x, a, b)) > T(1e-6) * T(b) else T(0)


@register_jitable(**EXACT)
def signed_prox(w, lam, a, b):
    return signed_sigma(w, a, b)


@register_jitable(**EXACT)
def table_sigma(z, a, b):
    """Return the nearest of the levels a[0] < a[1] < ..., b[k] halfway between a[k] and a[k + 1]."""
    T = type(z)
    x = T(a[0])
    for k in range(b.shape[0]):
        x = T(a[k + 1]) if z >= T(b[k]) else x
    return x if z == z else z


@register_jitable(**EXACT)
def table_phi(z, a, b):
    q = table_sigma(z, a, b)
    return q * (z - type(z)(0.5) * q)


@register_jitable(**EXACT)
def table_psi(x, a, b):
    T = type(x)
    q = table_sigma(x, a, b)
    return T(math.inf) if abs(x - q) > T(1e-6) * (T(1) + abs(q)) else T(0)


@register_jitable(**EXACT)
def table_prox(w, lam, a, b):
    return table_sigma(w, a, b)


STRUCT = r"""
template <typename T> struct Act {
  T a, b;
  __device__ T sigma(T z) const {
    const T y = z / b;
    SIGMA
  }
  __device__ T phi(T z) const { const T q = sigma(z); return q * (z - T(0.5) * q); }
  __device__ T psi(T x) const { return fabs(x - sigma(x)) > T(1e-6) * b ? T(1) / T(0) : T(0); }
  __device__ T prox(T w, T) const { return sigma(w); }
};
"""

UNIFORM = Scalar(
    "quantizer",
    uniform_sigma,
    phi=uniform_phi,
    psi=uniform_psi,
    prox=uniform_prox,
    cuda=STRUCT.replace("SIGMA", "return floor((y < T(0) ? T(0) : y > T(1) ? T(1) : y) * a + T(0.5)) / a * b;"),
)

SIGNED = Scalar(
    "quantizer_signed",
    signed_sigma,
    phi=signed_phi,
    psi=signed_psi,
    prox=signed_prox,
    cuda=STRUCT.replace(
        "SIGMA",
        "const T v = y < T(-1) ? T(-1) : y > T(1) ? T(1) : y;\n"
        "    return (floor((v + T(1)) * (T(0.5) * a) + T(0.5)) * T(2) / a - T(1)) * b;",
    ),
)

TABLE = Scalar("quantizer_table", table_sigma, phi=table_phi, psi=table_psi, prox=table_prox)
"""Its parameters are arrays, which only the Numba kernels take; elsewhere the formulas serve."""
