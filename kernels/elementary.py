"""exp, expm1, log1p, tanh and arctan from arithmetic alone, so that loops over them run in vector registers.

The C library takes one number at a time. Here are the textbook reductions with Taylor series long enough for
the rest to vanish, accurate to a few units in the last place, for the ranges that activations need. NaN and
infinity come out as they should. Called from Python the functions are NumPy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload, register_jitable

# No "reassoc": it would merge the two parts of ln 2 and lose the digits they carry beyond one number.
OPTIONS: dict[str, Any] = {"fastmath": {"contract", "nsz"}, "error_model": "numpy", "forceinline": True}
LN2 = Fraction("0.693147180559945309417232121458176568")


def exp_minus(t: Any) -> Any:
    """Return e^-t for t >= 0."""
    return np.exp(-t)


def expm1_minus(t: Any) -> Any:
    """Return e^-t - 1 for t >= 0, accurate near 0."""
    return np.expm1(-t)


def log1p(t: Any) -> Any:
    """Return ln(1 + t) for t >= 0, accurate near 0."""
    return np.log1p(t)


def tanh(t: Any) -> Any:
    """Return tanh t."""
    return np.tanh(t)


def arctan(t: Any) -> Any:
    """Return arctan t."""
    return np.arctan(t)


def _reduction(real: Any, integer: Any, high_bits: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return ``power(k)`` = 2^k for normal numbers and ``split(t)`` = k, r with -t = k ln 2 + r, |r| <= ln 2 / 2."""
    info = np.finfo(real)
    bias, shift = integer(info.maxexp - 1), integer(info.nmant)
    high = Fraction(round(LN2 * 2**high_bits), 2**high_bits)  # so short that k high is exact
    ln2_high, ln2_low, log2e, half = real(high), real(LN2 - high), real(1 / LN2), real(0.5)
    lowest = real(2 * info.minexp)

    @register_jitable(**OPTIONS)
    def power(k):
        return integer((k + bias) << shift).view(real)

    @register_jitable(**OPTIONS)
    def split(t):
        n = np.floor(half - t * log2e)
        r = (-t - n * ln2_high) - n * ln2_low
        return integer(n if n > lowest else lowest), r  # the comparison keeps a NaN out of the integers

    return power, split


def _exponentials(real: Any, integer: Any, high_bits: int, degree: int) -> dict[str, Callable[..., Any]]:
    power, split = _reduction(real, integer, high_bits)
    inverse = tuple(real(1 / math.factorial(n)) for n in range(degree, 0, -1))
    one, two, zero = real(1), real(2), real(0)
    vanish = real(-np.log(np.finfo(real).smallest_subnormal.astype(np.longdouble)) + 1)
    to_minus_one = real(40)

    @register_jitable(**OPTIONS)
    def series(r):
        """Return (e^r - 1) / r."""
        p = inverse[0]
        for c in inverse[1:]:
            p = p * r + c
        return p

    def exp_minus(t):
        k, r = split(vanish if t > vanish else t)
        half = k >> 1  # in two steps: 2^k alone may be no normal number
        return (series(r) * r + one) * power(half) * power(k - half)

    def expm1_minus(t):
        k, r = split(to_minus_one if t > to_minus_one else t)
        scale = power(k)
        return series(r) * r * scale + (scale - one)

    def tanh(t):
        twice = two * abs(t)
        k, r = split(to_minus_one if twice > to_minus_one else twice)
        scale = power(k)
        e = series(r) * r * scale + (scale - one)
        y = e / (two + e)
        return -y if t > zero else y

    return {"exp_minus": exp_minus, "expm1_minus": expm1_minus, "tanh": tanh}


def _logarithm(real: Any, integer: Any, terms: int) -> Callable[..., Any]:
    """Return log1p: 1 + t = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)], ln(1 + f) = 2 artanh(f / (2 + f))."""
    power, _ = _reduction(real, integer, 16)
    inverse = tuple(real(1 / (2 * n + 1)) for n in range(terms, 0, -1))
    shift, root = integer(np.finfo(real).nmant), real(math.sqrt(0.5)).view(integer)
    one, two, ln2, largest = real(1), real(2), real(LN2), np.finfo(real).max

    def log1p(t):
        k = integer((real(one + t).view(integer) - root) >> shift)
        half = k >> 1
        a, b = power(-half), power(half - k)
        f = t * a * b + (a * b - one)
        s = f / (two + f)
        p = inverse[0]
        for c in inverse[1:]:
            p = p * (s * s) + c
        y = real(k) * ln2 + (f - s * (f - two * (s * s) * p))  # = k ln 2 + 2 s + 2 s^3 p, without losing digits of f
        return t if t > largest else y

    return log1p


def _arc(real: Any, terms: int) -> Callable[..., Any]:
    """Return arctan by arctan |z| = arctan c + arctan((|z| - c) / (1 + c |z|)) with c = 0, 1, infinity."""
    even = tuple(real(1 / (2 * n + 1)) for n in range(terms - 2, -1, -2))
    odd = tuple(real(-1 / (2 * n + 1)) for n in range(terms - 1, 0, -2))  # short loops, which LLVM unrolls
    zero, one = real(0), real(1)
    small, large = real(math.sqrt(2) - 1), real(math.sqrt(2) + 1)
    quarter, half = real(math.pi / 4), real(math.pi / 2)

    def arctan(t):
        v = abs(t)
        top = -one if v > large else (v - one if v > small else v)
        bottom = v if v > large else (v + one if v > small else one)
        s = top / bottom
        s2 = s * s
        p, q = even[0], odd[0]
        for c in even[1:]:
            p = p * (s2 * s2) + c
        for c in odd[1:]:
            q = q * (s2 * s2) + c
        y = (half if v > large else (quarter if v > small else zero)) + s * (p + s2 * q)
        return -y if t < zero else y

    return arctan


_SINGLE = {
    **_exponentials(np.float32, np.int32, 16, 7),
    "log1p": _logarithm(np.float32, np.int32, 5),
    "arctan": _arc(np.float32, 10),
}
_DOUBLE = {
    **_exponentials(np.float64, np.int64, 32, 13),
    "log1p": _logarithm(np.float64, np.int64, 10),
    "arctan": _arc(np.float64, 20),
}


def _provide(function: Callable[..., Any]) -> None:
    """Let Numba compile `function` to the version for its argument's type."""

    @overload(function, jit_options=OPTIONS)  # type: ignore[arg-type]
    def choose(t):
        versions = {types.float32: _SINGLE, types.float64: _DOUBLE}.get(t)
        return versions and versions[function.__name__]


for _function in (exp_minus, expm1_minus, log1p, tanh, arctan):
    _provide(_function)
