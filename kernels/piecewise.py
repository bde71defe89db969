"""Scalar functions of the piecewise linear activations, all with a prox in closed form."""

from __future__ import annotations

import math

from numba.extending import register_jitable

from paralift.kernels.scalars import Scalar

# ruff: noqa: D103


@register_jitable(forceinline=True)
def identity_sigma(z, a, b):
    return z


@register_jitable(forceinline=True)
def identity_slope(z, a, b):
    return type(z)(1)


@register_jitable(forceinline=True)
def identity_phi(z, a, b):
    return type(z)(0.5) * z * z


@register_jitable(forceinline=True)
def identity_psi(x, a, b):
    return type(x)(0)


@register_jitable(forceinline=True)
def identity_prox(w, lam, a, b):
    return w


@register_jitable(forceinline=True)
def relu_sigma(z, a, b):
    T = type(z)
    return T(0) if z < T(0) else z  # in this order a NaN stays


@register_jitable(forceinline=True)
def relu_slope(z, a, b):
    T = type(z)
    return T(0) if z <= T(0) else T(1)


@register_jitable(forceinline=True)
def relu_phi(z, a, b):
    s = relu_sigma(z, a, b)
    return type(z)(0.5) * s * s


@register_jitable(forceinline=True)
def relu_psi(x, a, b):
    T = type(x)
    return T(math.inf) if x < T(0) else T(0)


@register_jitable(forceinline=True)
def relu_prox(w, lam, a, b):
    return relu_sigma(w, a, b)


@register_jitable(forceinline=True)
def leaky_sigma(z, a, b):
    T = type(z)
    return T(a) * z if z < T(0) else z


@register_jitable(forceinline=True)
def leaky_slope(z, a, b):
    T = type(z)
    return T(a) if z <= T(0) else T(1)


@register_jitable(forceinline=True)
def leaky_phi(z, a, b):
    return type(z)(0.5) * z * leaky_sigma(z, a, b)


@register_jitable(forceinline=True)
def leaky_psi(x, a, b):
    T = type(x)
    return T(0.5) * T(1 / a - 1) * x * x if x < T(0) else T(0)


@register_jitable(forceinline=True)
def leaky_prox(w, lam, a, b):
    T = type(w)
    return T(a) / (T(a) + lam * T(1 - a)) * w if w < T(0) else w


@register_jitable(forceinline=True)
def clip_sigma(z, a, b):
    T = type(z)
    return T(a) if z < T(a) else (T(b) if z > T(b) else z)


@register_jitable(forceinline=True)
def clip_slope(z, a, b):
    T = type(z)
    return T(0) if z <= T(a) or z >= T(b) else T(1)


@register_jitable(forceinline=True)
def clip_phi(z, a, b):
    s = clip_sigma(z, a, b)
    return s * (z - type(z)(0.5) * s)


@register_jitable(forceinline=True)
def clip_psi(x, a, b):
    T = type(x)
    return T(math.inf) if x < T(a) or x > T(b) else T(0)


@register_jitable(forceinline=True)
def clip_prox(w, lam, a, b):
    return clip_sigma(w, a, b)


@register_jitable(forceinline=True)
def shrink(z, t):
    T = type(z)
    return T(0) if abs(z) <= t else (z + t if z < T(0) else z - t)


@register_jitable(forceinline=True)
def soft_sigma(z, a, b):
    return shrink(z, type(z)(a))


@register_jitable(forceinline=True)
def soft_slope(z, a, b):
    T = type(z)
    return T(0) if abs(z) <= T(a) else T(1)


@register_jitable(forceinline=True)
def soft_phi(z, a, b):
    s = soft_sigma(z, a, b)
    return type(z)(0.5) * s * s


@register_jitable(forceinline=True)
def soft_psi(x, a, b):
    return type(x)(a) * abs(x)


@register_jitable(forceinline=True)
def soft_prox(w, lam, a, b):
    return shrink(w, lam * type(w)(a))


IDENTITY = Scalar(
    "identity",
    identity_sigma,
    identity_slope,
    identity_phi,
    identity_psi,
    identity_prox,
    cuda=r"""
template <typename T> struct Act {
  T a, b;
  __device__ T sigma(T z) const { return z; }
  __device__ T slope(T) const { return T(1); }
  __device__ T phi(T z) const { return T(0.5) * z * z; }
  __device__ T psi(T) const { return T(0); }
  __device__ T prox(T w, T) const { return w; }
};
""",
)

RELU = Scalar(
    "relu",
    relu_sigma,
    relu_slope,
    relu_phi,
    relu_psi,
    relu_prox,
    cuda=r"""
template <typename T> struct Act {
  T a, b;
  __device__ T sigma(T z) const { return z < T(0) ? T(0) : z; }
  __device__ T slope(T z) const { return z <= T(0) ? T(0) : T(1); }
  __device__ T phi(T z) const { const T s = sigma(z); return T(0.5) * s * s; }
  __device__ T psi(T x) const { return x < T(0) ? T(1) / T(0) : T(0); }
  __device__ T prox(T w, T) const { return sigma(w); }
};
""",
)

LEAKY = Scalar(
    "leaky",
    leaky_sigma,
    leaky_slope,
    leaky_phi,
    leaky_psi,
    leaky_prox,
    cuda=r"""
template <typename T> struct Act {
  T a, b;
  __device__ T sigma(T z) const { return z < T(0) ? a * z : z; }
  __device__ T slope(T z) const { return z <= T(0) ? a : T(1); }
  __device__ T phi(T z) const { return T(0.5) * z * sigma(z); }
  __device__ T psi(T x) const { return x < T(0) ? T(0.5) * (T(1) / a - T(1)) * x * x : T(0); }
  __device__ T prox(T w, T lam) const { return w < T(0) ? a / (a + lam * (T(1) - a)) * w : w; }
};
""",
)

CLIP = Scalar(
    "clip",
    clip_sigma,
    clip_slope,
    clip_phi,
    clip_psi,
    clip_prox,
    cuda=r"""
template <typename T> struct Act {
  T a, b;
  __device__ T sigma(T z) const { return z < a ? a : z > b ? b : z; }
  __device__ T slope(T z) const { return z <= a || z >= b ? T(0) : T(1); }
  __device__ T phi(T z) const { const T s = sigma(z); return s * (z - T(0.5) * s); }
  __device__ T psi(T x) const { return x < a || x > b ? T(1) / T(0) : T(0); }
  __device__ T prox(T w, T) const { return sigma(w); }
};
""",
)

SOFT = Scalar(
    "soft",
    soft_sigma,
    soft_slope,
    soft_phi,
    soft_psi,
    soft_prox,
    cuda=r"""
template <typename T> struct Act {
  T a, b;
  __device__ T shrink(T z, T t) const { return fabs(z) <= t ? T(0) : z < T(0) ? z + t : z - t; }
  __device__ T sigma(T z) const { return shrink(z, a); }
  __device__ T slope(T z) const { return fabs(z) <= a ? T(0) : T(1); }
  __device__ T phi(T z) const { const T s = sigma(z); return T(0.5) * s * s; }
  __device__ T psi(T x) const { return a * fabs(x); }
  __device__ T prox(T w, T lam) const { return shrink(w, lam * a); }
};
""",
)
