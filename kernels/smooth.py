"""Scalar functions of the smooth activations, in forms that neither overflow nor cancel.

All have an x-step by Newton's method in p. The sigmoid shapes are convex below 0 and concave above: steps that
start at 0, or between 0 and the solution, approach it from one side without passing it. The others are convex, and
the same holds from anywhere right of the solution. `start` returns such a point, so that no bracket is needed.
"""

from __future__ import annotations

import math

from numba.extending import register_jitable

from paralift.kernels.elementary import arctan, exp_minus, expm1_minus, log1p, tanh
from paralift.kernels.scalars import Scalar

# ruff: noqa: D103
LN2 = math.log(2)
TWO_OVER_PI = 2 / math.pi
PI2_OVER_6 = math.pi**2 / 6
DILOGARITHM = (
    *(1 / 1120863744000, -691 / 16999766784000, 1 / 526901760, -1 / 10886400),
    *(1 / 211680, -1 / 3600, 1 / 36),
)
"""B_2k / (2k + 1)! for k = 7 to 1, B the Bernoulli numbers."""


@register_jitable(forceinline=True)
def start_at_w(w, lam, a, b):
    return w


@register_jitable(forceinline=True)
def start_at_zero(w, lam, a, b):
    return type(w)(0) if abs(w) < type(w)(math.inf) else w


@register_jitable(forceinline=True)
def tanh_sigma(z, a, b):
    return tanh(z)


@register_jitable(forceinline=True)
def tanh_slope(z, a, b):
    T = type(z)
    s = tanh(z)
    return (T(1) - s) * (T(1) + s)


@register_jitable(forceinline=True)
def tanh_phi(z, a, b):
    t = abs(z)
    return t + (log1p(exp_minus(t + t)) - type(z)(LN2))


@register_jitable(forceinline=True)
def sigmoid_sigma(z, a, b):
    T = type(z)
    e = exp_minus(abs(z))
    p = T(1) / (T(1) + e)
    return e * p if z < T(0) else p


@register_jitable(forceinline=True)
def sigmoid_slope(z, a, b):
    T = type(z)
    e = exp_minus(abs(z))
    p = T(1) / (T(1) + e)
    return e * p * p


@register_jitable(forceinline=True)
def softplus_sigma(z, a, b):
    T = type(z)
    return (T(0) if z < T(0) else z) + log1p(exp_minus(abs(z)))


@register_jitable(forceinline=True)
def softplus_phi(z, a, b):
    """Return -Li2(-e^z): Landen's identity and the series in ln(1 + e^z) for z < 0, the inversion formula above."""
    T = type(z)
    w = log1p(exp_minus(abs(z)))
    w2 = w * w
    p = T(DILOGARITHM[0])
    for c in DILOGARITHM[1:]:
        p = p * w2 + T(c)
    p = w + w2 * (T(0.25) + w * p)
    return p if z < T(0) else T(0.5) * z * z + (T(PI2_OVER_6) - p)


@register_jitable(forceinline=True)
def elu_sigma(z, a, b):
    T = type(z)
    return T(a) * expm1_minus(-z) if z < T(0) else z


@register_jitable(forceinline=True)
def elu_slope(z, a, b):
    T = type(z)
    return T(a) * exp_minus(-z) if z <= T(0) else T(1)


@register_jitable(forceinline=True)
def elu_phi(z, a, b):
    T = type(z)
    return T(a) * (expm1_minus(-z) - z) if z < T(0) else T(0.5) * z * z


@register_jitable(forceinline=True)
def fold(z):
    """Return min(|z|, 1/|z|), with which functions of large z are computed without overflow."""
    T = type(z)
    v = abs(z)
    return T(1) / v if v > T(1) else v


@register_jitable(forceinline=True)
def signed(y, z):
    return -y if z < type(z)(0) else y


@register_jitable(forceinline=True)
def arctan_sigma(z, a, b):
    return type(z)(TWO_OVER_PI) * arctan(z)


@register_jitable(forceinline=True)
def arctan_slope(z, a, b):
    T = type(z)
    t2 = fold(z) * fold(z)
    return T(TWO_OVER_PI) * (t2 if abs(z) > T(1) else T(1)) / (T(1) + t2)


@register_jitable(forceinline=True)
def arctan_phi(z, a, b):
    T = type(z)
    t = fold(z)
    v = abs(z)
    log = T(0.5) * log1p(t * t) + (log1p(v - T(1)) if v > T(1) else T(0))
    return T(TWO_OVER_PI) * (z * arctan(z) - log)


@register_jitable(forceinline=True)
def isru_sigma(z, a, b):
    T = type(z)
    t = fold(z)
    s = T(1) / math.sqrt(T(1) + t * t)
    return signed(s if abs(z) > T(1) else t * s, z)


@register_jitable(forceinline=True)
def isru_slope(z, a, b):
    T = type(z)
    t = fold(z)
    s = T(1) / math.sqrt(T(1) + t * t)
    s = t * s if abs(z) > T(1) else s
    return s * s * s


@register_jitable(forceinline=True)
def isru_phi(z, a, b):
    T = type(z)
    t = fold(z)
    v = abs(z)
    return math.sqrt(T(1) + t * t) * (v if v > T(1) else T(1))


@register_jitable(forceinline=True)
def softsign_sigma(z, a, b):
    T = type(z)
    t = fold(z)
    return signed((T(1) if abs(z) > T(1) else t) / (T(1) + t), z)


@register_jitable(forceinline=True)
def softsign_slope(z, a, b):
    T = type(z)
    s = T(1) / (T(1) + abs(z))
    return s * s


@register_jitable(forceinline=True)
def softsign_phi(z, a, b):
    v = abs(z)
    return v - log1p(v)


TANH = Scalar(
    "tanh",
    tanh_sigma,
    tanh_slope,
    tanh_phi,
    start=start_at_w,
    cuda=r"""
template <typename T> struct Act {
  T a, b;
  __device__ T sigma(T z) const { return tanh(z); }
  __device__ T slope(T z) const { const T s = tanh(z); return (T(1) - s) * (T(1) + s); }
  __device__ T phi(T z) const { const T t = fabs(z); return t + (log1p(exp(T(-2) * t)) - T(0.6931471805599453)); }
  __device__ T start(T w) const { return w; }
};
""",
)

SIGMOID = Scalar(
    "sigmoid",
    sigmoid_sigma,
    sigmoid_slope,
    softplus_sigma,
    start=start_at_zero,
    cuda=r"""
template <typename T> struct Act {
  T a, b;
  __device__ T sigma(T z) const {
    const T e = exp(-fabs(z)), p = T(1) / (T(1) + e);
    return z < T(0) ? e * p : p;
  }
  __device__ T slope(T z) const { const T e = exp(-fabs(z)), p = T(1) / (T(1) + e); return e * p * p; }
  __device__ T phi(T z) const { return (z < T(0) ? T(0) : z) + log1p(exp(-fabs(z))); }
  __device__ T start(T w) const { return fabs(w) < T(1) / T(0) ? T(0) : w; }
};
""",
)

SOFTPLUS = Scalar(
    "softplus",
    softplus_sigma,
    sigmoid_sigma,
    softplus_phi,
    start=start_at_w,
    cuda=r"""
template <typename T> struct Act {
  T a, b;
  __device__ T sigma(T z) const { return (z < T(0) ? T(0) : z) + log1p(exp(-fabs(z))); }
  __device__ T slope(T z) const {
    const T e = exp(-fabs(z)), p = T(1) / (T(1) + e);
    return z < T(0) ? e * p : p;
  }
  __device__ T phi(T z) const {
    const T w = log1p(exp(-fabs(z))), w2 = w * w;
    T p = T(0);
"""
    + "".join(f"    p = p * w2 + T({c!r});\n" for c in DILOGARITHM)
    + r"""    p = w + w2 * (T(0.25) + w * p);
    return z < T(0) ? p : T(0.5) * z * z + (T(1.6449340668482264) - p);
  }
  __device__ T start(T w) const { return w; }
};
""",
)

ELU = Scalar(
    "elu",
    elu_sigma,
    elu_slope,
    elu_phi,
    start=start_at_w,
    cuda=r"""
template <typename T> struct Act {
  T a, b;
  __device__ T sigma(T z) const { return z < T(0) ? a * expm1(z) : z; }
  __device__ T slope(T z) const { return z <= T(0) ? a * exp(z) : T(1); }
  __device__ T phi(T z) const { return z < T(0) ? a * (expm1(z) - z) : T(0.5) * z * z; }
  __device__ T start(T w) const { return w; }
};
""",
)

ARCTAN = Scalar(
    "arctan",
    arctan_sigma,
    arctan_slope,
    arctan_phi,
    start=start_at_w,
    cuda=r"""
template <typename T> struct Act {
  T a, b;
  __device__ T sigma(T z) const { return T(0.6366197723675814) * atan(z); }
  __device__ T slope(T z) const {
    const T v = fabs(z), t = v > T(1) ? T(1) / v : v;
    return T(0.6366197723675814) * (v > T(1) ? t * t : T(1)) / (T(1) + t * t);
  }
  __device__ T phi(T z) const {
    const T v = fabs(z), t = v > T(1) ? T(1) / v : v;
    const T logarithm = T(0.5) * log1p(t * t) + (v > T(1) ? log(v) : T(0));
    return T(0.6366197723675814) * (z * atan(z) - logarithm);
  }
  __device__ T start(T w) const { return w; }
};
""",
)

ISRU = Scalar(
    "isru",
    isru_sigma,
    isru_slope,
    isru_phi,
    start=start_at_w,
    cuda=r"""
template <typename T> struct Act {
  T a, b;
  __device__ T share(T v, T large, T small, T t) const { return (v > T(1) ? large : small) / sqrt(T(1) + t * t); }
  __device__ T sigma(T z) const {
    const T v = fabs(z), t = v > T(1) ? T(1) / v : v, y = share(v, T(1), t, t);
    return z < T(0) ? -y : y;
  }
  __device__ T slope(T z) const {
    const T v = fabs(z), t = v > T(1) ? T(1) / v : v, s = share(v, t, T(1), t);
    return s * s * s;
  }
  __device__ T phi(T z) const {
    const T v = fabs(z), t = v > T(1) ? T(1) / v : v;
    return sqrt(T(1) + t * t) * (v > T(1) ? v : T(1));
  }
  __device__ T start(T w) const { return w; }
};
""",
)

SOFTSIGN = Scalar(
    "softsign",
    softsign_sigma,
    softsign_slope,
    softsign_phi,
    start=start_at_w,
    cuda=r"""
template <typename T> struct Act {
  T a, b;
  __device__ T sigma(T z) const {
    const T v = fabs(z), t = v > T(1) ? T(1) / v : v, y = (v > T(1) ? T(1) : t) / (T(1) + t);
    return z < T(0) ? -y : y;
  }
  __device__ T slope(T z) const { const T s = T(1) / (T(1) + fabs(z)); return s * s; }
  __device__ T phi(T z) const { const T v = fabs(z); return v - log1p(v); }
  __device__ T start(T w) const { return w; }
};
""",
)
