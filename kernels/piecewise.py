"""Scalar functions of the piecewise linear activations, all with a prox in closed form (MATH.md, section 3)."""

from __future__ import annotations

import math

from numba.extending import register_jitable

from paralift.kernels.scalars import Scalar

# ruff: noqa: D103


@register_jitable
def identity_sigma(z, a, b):  # type: ignore[no-untyped-def]
    return z


@register_jitable
def identity_slope(z, a, b):  # type: ignore[no-untyped-def]
    return type(z)(1)


@register_jitable
def identity_phi(z, a, b):  # type: ignore[no-untyped-def]
    return type(z)(0.5) * z * z


@register_jitable
def identity_psi(x, a, b):  # type: ignore[no-untyped-def]
    return type(x)(0)


@register_jitable
def identity_prox(w, lam, a, b):  # type: ignore[no-untyped-def]
    return w


@register_jitable
def relu_sigma(z, a, b):  # type: ignore[no-untyped-def]
    T = type(z)
    return T(0) if z < T(0) else z  # in this order a NaN stays


@register_jitable
def relu_slope(z, a, b):  # type: ignore[no-untyped-def]
    T = type(z)
    return T(0) if z <= T(0) else T(1)


@register_jitable
def relu_phi(z, a, b):  # type: ignore[no-untyped-def]
    s = relu_sigma(z, a, b)
    return type(z)(0.5) * s * s


@register_jitable
def relu_psi(x, a, b):  # type: ignore[no-untyped-def]
    T = type(x)
    return T(math.inf) if x < T(0) else T(0)


@register_jitable
def relu_prox(w, lam, a, b):  # type: ignore[no-untyped-def]
    return relu_sigma(w, a, b)


@register_jitable
def leaky_sigma(z, a, b):  # type: ignore[no-untyped-def]
    T = type(z)
    return T(a) * z if z < T(0) else z


@register_jitable
def leaky_slope(z, a, b):  # type: ignore[no-untyped-def]
    T = type(z)
    return T(a) if z <= T(0) else T(1)


@register_jitable
def leaky_phi(z, a, b):  # type: ignore[no-untyped-def]
    return type(z)(0.5) * z * leaky_sigma(z, a, b)


@register_jitable
def leaky_psi(x, a, b):  # type: ignore[no-untyped-def]
    T = type(x)
    return T(0.5) * T(1 / a - 1) * x * x if x < T(0) else T(0)


@register_jitable
def leaky_prox(w, lam, a, b):  # type: ignore[no-untyped-def]
    T = type(w)
    return T(a) / (T(a) + lam * T(1 - a)) * w if w < T(0) else w


@register_jitable
def clip_sigma(z, a, b):  # type: ignore[no-untyped-def]
    T = type(z)
    return T(a) if z < T(a) else (T(b) if z > T(b) else z)


@register_jitable
def clip_slope(z, a, b):  # type: ignore[no-untyped-def]
    T = type(z)
    return T(0) if z <= T(a) or z >= T(b) else T(1)


@register_jitable
def clip_phi(z, a, b):  # type: ignore[no-untyped-def]
    s = clip_sigma(z, a, b)
    return s * (z - type(z)(0.5) * s)


@register_jitable
def clip_psi(x, a, b):  # type: ignore[no-untyped-def]
    T = type(x)
    return T(math.inf) if x < T(a) or x > T(b) else T(0)


@register_jitable
def clip_prox(w, lam, a, b):  # type: ignore[no-untyped-def]
    return clip_sigma(w, a, b)


@register_jitable
def shrink(z, t):  # type: ignore[no-untyped-def]
    return z - t if z > t else (z + t if z < -t else z - z)


@register_jitable
def soft_sigma(z, a, b):  # type: ignore[no-untyped-def]
    return shrink(z, type(z)(a))


@register_jitable
def soft_slope(z, a, b):  # type: ignore[no-untyped-def]
    T = type(z)
    return T(0) if abs(z) <= T(a) else T(1)


@register_jitable
def soft_phi(z, a, b):  # type: ignore[no-untyped-def]
    s = soft_sigma(z, a, b)
    return type(z)(0.5) * s * s


@register_jitable
def soft_psi(x, a, b):  # type: ignore[no-untyped-def]
    return type(x)(a) * abs(x)


@register_jitable
def soft_prox(w, lam, a, b):  # type: ignore[no-untyped-def]
    return shrink(w, lam * type(w)(a))


IDENTITY = Scalar("identity", identity_sigma, identity_slope, identity_phi, identity_psi, identity_prox)
RELU = Scalar("relu", relu_sigma, relu_slope, relu_phi, relu_psi, relu_prox)
LEAKY = Scalar("leaky", leaky_sigma, leaky_slope, leaky_phi, leaky_psi, leaky_prox)
CLIP = Scalar("clip", clip_sigma, clip_slope, clip_phi, clip_psi, clip_prox)
SOFT = Scalar("soft", soft_sigma, soft_slope, soft_phi, soft_psi, soft_prox)
