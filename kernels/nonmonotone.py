"""Scalar functions of GELU and SiLU, which are not monotone: only sigma and its slope exist.

Both are z times a gate between 0 and 1. Beyond -`FAR` the gate is 0 in every precision; there z itself is held, so
that minus infinity gives 0.
"""

from __future__ import annotations

import math

from numba.extending import register_jitable

from paralift.kernels.elementary import exp_minus
from paralift.kernels.scalars import Scalar

# ruff: noqa: D103
FAR = 1000.0
CUBIC = 0.044715
TWICE_ROOT = 2 * math.sqrt(2 / math.pi)
"""GELU's gate is 1 / (1 + exp(-TWICE_ROOT (z + CUBIC z^3)))."""
HALF_ROOT, DENSITY = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)
"""The exact one is erfc(-HALF_ROOT z) / 2, with the slope DENSITY exp(-z^2/2)."""


@register_jitable(forceinline=True)
def held(z):
    far = type(z)(FAR)
    return -far if z < -far else (far if z > far else z)


@register_jitable(forceinline=True)
def gate(u):
    T = type(u)
    e = exp_minus(abs(u))
    p = T(1) / (T(1) + e)
    return e * p if u < T(0) else p


@register_jitable(forceinline=True)
def silu_sigma(z, a, b):
    return (held(z) if z < type(z)(0) else z) * gate(z)


@register_jitable(forceinline=True)
def silu_slope(z, a, b):
    return gate(z) * (type(z)(1) + held(z) * gate(-z))


@register_jitable(forceinline=True)
def gelu_inner(z):
    T = type(z)
    y = held(z)
    return T(TWICE_ROOT) * y * (T(1) + T(CUBIC) * y * y)


@register_jitable(forceinline=True)
def gelu_sigma(z, a, b):
    return (held(z) if z < type(z)(0) else z) * gate(gelu_inner(z))


@register_jitable(forceinline=True)
def gelu_slope(z, a, b):
    T = type(z)
    y, u = held(z), gelu_inner(z)
    return gate(u) * (T(1) + T(TWICE_ROOT) * y * (T(1) + T(3 * CUBIC) * y * y) * gate(-u))


@register_jitable(forceinline=True)
def exact_gate(z):
    T = type(z)
    return T(0.5) * T(math.erfc(-T(HALF_ROOT) * z))


@register_jitable(forceinline=True)
def gelu_exact_sigma(z, a, b):
    return (held(z) if z < type(z)(0) else z) * exact_gate(z)


@register_jitable(forceinline=True)
def gelu_exact_slope(z, a, b):
    T = type(z)
    y = held(z)
    return exact_gate(z) + y * T(DENSITY) * exp_minus(T(0.5) * y * y)


GATE = f"""
template <typename T> __device__ inline T held(T z) {{
  return z < -T({FAR}) ? -T({FAR}) : z > T({FAR}) ? T({FAR}) : z;
}}
template <typename T> __device__ inline T gate(T u) {{
  const T e = exp(-fabs(u)), p = T(1) / (T(1) + e);
  return u < T(0) ? e * p : p;
}}
template <typename T> __device__ inline T gelu_inner(T z) {{
  const T y = held(z);
  return T({TWICE_ROOT}) * y * (T(1) + T({CUBIC}) * y * y);
}}
"""

SILU = Scalar(
    "silu",
    silu_sigma,
    silu_slope,
    cuda=GATE
    + r"""
template <typename T> struct Act {
  T a, b;
  __device__ T sigma(T z) const { return (z < T(0) ? held(z) : z) * gate(z); }
  __device__ T slope(T z) const { return gate(z) * (T(1) + held(z) * gate(-z)); }
};
""",
)

GELU = Scalar(
    "gelu",
    gelu_sigma,
    gelu_slope,
    cuda=GATE
    + f"""
template <typename T> struct Act {{
  T a, b;
  __device__ T sigma(T z) const {{ return (z < T(0) ? held(z) : z) * gate(gelu_inner(z)); }}
  __device__ T slope(T z) const {{
    const T y = held(z), u = gelu_inner(z);
    return gate(u) * (T(1) + T({TWICE_ROOT}) * y * (T(1) + T({3 * CUBIC}) * y * y) * gate(-u));
  }}
}};
""",
)

GELU_EXACT = Scalar(
    "gelu_exact",
    gelu_exact_sigma,
    gelu_exact_slope,
    cuda=GATE
    + f"""
template <typename T> struct Act {{
  T a, b;
  __device__ static T exact_gate(T z) {{ return T(0.5) * erfc(-T({HALF_ROOT}) * z); }}
  __device__ T sigma(T z) const {{ return (z < T(0) ? held(z) : z) * exact_gate(z); }}
  __device__ T slope(T z) const {{
    const T y = held(z);
    return exact_gate(z) + y * T({DENSITY}) * exp(T(-0.5) * y * y);
  }}
}};
""",
)
