"""The smooth activations as proximal maps (Combettes & Pesquet, 2020), by formulas that do not overflow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from paralift.kernels import smooth as scalars
from paralift.kernels.arrays import Array, namespace
from paralift.kernels.scalars import Scalar
from paralift.kernels.xstep import newton
from paralift.lifted.activations.elementwise import Elementwise
from paralift.lifted.activations.formulas import (
    arctan,
    clip,
    fold,
    infinite_outside,
    log_one_plus_exp,
    logistic,
    signed,
    where,
    x_log_x,
)


@dataclass(frozen=True)
class Smooth(Elementwise):
    """An activation given by formulas for each entry, whose prox is found by Newton's method."""

    def slope(self, z: Array) -> Array:
        """Return sigma'(z) of each entry."""
        raise NotImplementedError

    def potential(self, z: Array) -> Array:
        """Return phi of each entry."""
        raise NotImplementedError

    def conjugate(self, x: Array) -> Array:
        """Return Psi of each entry; +inf outside its domain."""
        raise NotImplementedError

    def start(self, w: Array) -> Array:
        """Return where Newton's method starts for the prox (see `paralift.kernels.smooth`)."""
        return w

    def phi(self, z: Array) -> Array:
        """Return the potential of each row."""
        return namespace(z).sum(self.potential(z), axis=1)

    def psi(self, x: Array) -> Array:
        """Return Psi of each row; +inf outside its domain."""
        return namespace(x).sum(self.conjugate(x), axis=1)

    def derivative(self, z: Array, g: Array) -> Array:
        """Return sigma'(z) g."""
        return self.slope(z) * g

    def prox(self, w: Array, lam: float) -> Array:
        """Return sigma(p), p the solution of (1 - lam) sigma(p) + lam p = w."""
        return self.sigma(newton(self.sigma, self.slope, w, lam, self.start(w)))


@dataclass(frozen=True)
class Tanh(Smooth):
    """sigma(z) = tanh z, phi(z) = ln cosh z."""

    scalar: ClassVar[Scalar] = scalars.TANH

    def sigma(self, z: Array) -> Array:
        """Return tanh z."""
        return namespace(z).tanh(z)

    def slope(self, z: Array) -> Array:
        """Return 1 - tanh(z)^2."""
        s = self.sigma(z)
        return (1.0 - s) * (1.0 + s)

    def potential(self, z: Array) -> Array:
        """Return ln cosh z."""
        xp = namespace(z)
        t = xp.abs(z)
        return t + (xp.log1p(xp.exp(-2.0 * t)) - math.log(2.0))

    def conjugate(self, x: Array) -> Array:
        """Return x artanh x + (ln(1 - x^2) - x^2) / 2 on [-1, 1]."""
        y = clip(x, -1.0, 1.0)
        return infinite_outside(x, 0.5 * (x_log_x(1.0 + y) + x_log_x(1.0 - y) - y * y), -1.0, 1.0)


@dataclass(frozen=True)
class Sigmoid(Smooth):
    """sigma(z) = 1 / (1 + e^-z), phi(z) = ln(1 + e^z)."""

    scalar: ClassVar[Scalar] = scalars.SIGMOID

    def sigma(self, z: Array) -> Array:
        """Return 1 / (1 + e^-z)."""
        return logistic(z)

    def slope(self, z: Array) -> Array:
        """Return sigma(z) sigma(-z)."""
        return logistic(z) * logistic(-z)

    def potential(self, z: Array) -> Array:
        """Return ln(1 + e^z)."""
        return log_one_plus_exp(z)

    def conjugate(self, x: Array) -> Array:
        """Return x ln x + (1 - x) ln(1 - x) - x^2/2 on [0, 1]."""
        y = clip(x, 0.0, 1.0)
        return infinite_outside(x, x_log_x(y) + x_log_x(1.0 - y) - 0.5 * y * y, 0.0, 1.0)

    def start(self, w: Array) -> Array:
        """Return 0, where sigma turns from convex to concave (`w` itself where that is infinite)."""
        return where(namespace(w).abs(w) < math.inf, 0.0, w)


@dataclass(frozen=True)
class Arctan(Smooth):
    """sigma(z) = (2/pi) arctan z, phi(z) = (2/pi) (z arctan z - ln(1 + z^2)/2)."""

    scalar: ClassVar[Scalar] = scalars.ARCTAN

    def sigma(self, z: Array) -> Array:
        """Return (2/pi) arctan z."""
        return (2.0 / math.pi) * arctan(z)

    def slope(self, z: Array) -> Array:
        """Return (2/pi) / (1 + z^2)."""
        xp = namespace(z)
        t2 = fold(z) * fold(z)
        return (2.0 / math.pi) * xp.where(xp.abs(z) > 1, t2, xp.ones_like(t2)) / (1.0 + t2)

    def potential(self, z: Array) -> Array:
        """Return (2/pi) (z arctan z - ln(1 + z^2)/2), the logarithm as ln |z| + ln(1 + 1/z^2)/2 for |z| > 1."""
        xp = namespace(z)
        v, t = xp.abs(z), fold(z)
        log = 0.5 * xp.log1p(t * t) + xp.log(where(v <= 1, 1.0, v))
        return (2.0 / math.pi) * (z * arctan(z) - log)

    def conjugate(self, x: Array) -> Array:
        """Return -(2/pi) ln cos(pi x/2) - x^2/2 on (-1, 1), the cosine as a sine of the distance to the ends."""
        xp = namespace(x)
        y = xp.abs(clip(x, -1.0, 1.0))
        sine = xp.sin(0.5 * math.pi * (1.0 - y))
        value = -(2.0 / math.pi) * xp.log(where(y == 1, 1.0, sine)) - 0.5 * y * y
        return where(xp.abs(x) >= 1, math.inf, value)


@dataclass(frozen=True)
class ISRU(Smooth):
    """sigma(z) = z / sqrt(1 + z^2), phi(z) = sqrt(1 + z^2): the inverse square root unit."""

    scalar: ClassVar[Scalar] = scalars.ISRU

    def sigma(self, z: Array) -> Array:
        """Return z / sqrt(1 + z^2)."""
        return signed(self._share(z, 1.0, fold(z)), z)

    def slope(self, z: Array) -> Array:
        """Return (1 + z^2)^(-3/2)."""
        return self._share(z, fold(z), 1.0) ** 3

    def potential(self, z: Array) -> Array:
        """Return sqrt(1 + z^2)."""
        xp = namespace(z)
        v, t = xp.abs(z), fold(z)
        return xp.sqrt(1.0 + t * t) * where(v <= 1, 1.0, v)

    def conjugate(self, x: Array) -> Array:
        """Return -sqrt(1 - x^2) - x^2/2 on [-1, 1]."""
        y = clip(x, -1.0, 1.0)
        value = -(namespace(x).sqrt((1.0 - y) * (1.0 + y))) - 0.5 * y * y
        return infinite_outside(x, value, -1.0, 1.0)

    def _share(self, z: Array, large: Array | float, small: Array | float) -> Array:
        """Return `large` or `small`, for |z| above or below 1, over sqrt(1 + min(|z|, 1/|z|)^2)."""
        xp = namespace(z)
        t = fold(z)
        one = xp.ones_like(t)
        return xp.where(xp.abs(z) > 1, large * one, small * one) / xp.sqrt(1.0 + t * t)


@dataclass(frozen=True)
class Softsign(Smooth):
    """sigma(z) = z / (1 + |z|), phi(z) = |z| - ln(1 + |z|)."""

    scalar: ClassVar[Scalar] = scalars.SOFTSIGN

    def sigma(self, z: Array) -> Array:
        """Return z / (1 + |z|)."""
        xp = namespace(z)
        t = fold(z)
        return signed(xp.where(xp.abs(z) > 1, xp.ones_like(t), t) / (1.0 + t), z)

    def slope(self, z: Array) -> Array:
        """Return (1 + |z|)^-2."""
        return (1.0 / (1.0 + namespace(z).abs(z))) ** 2

    def potential(self, z: Array) -> Array:
        """Return |z| - ln(1 + |z|)."""
        xp = namespace(z)
        v = xp.abs(z)
        return v - xp.log1p(v)

    def conjugate(self, x: Array) -> Array:
        """Return -|x| - ln(1 - |x|) - x^2/2 on (-1, 1)."""
        xp = namespace(x)
        v = xp.abs(x)
        y = where(v >= 1, 0.0, v)
        return where(v >= 1, math.inf, -y - xp.log1p(-y) - 0.5 * y * y)


@dataclass(frozen=True)
class ELU(Smooth):
    """sigma(z) = z for z >= 0, alpha (e^z - 1) for z < 0."""

    alpha: float = 1.0
    """Minus the limit of sigma for z -> -inf, in (0, 1]."""

    scalar: ClassVar[Scalar] = scalars.ELU

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha <= 1.0:
            raise ValueError(
                f"ELU: alpha = {self.alpha!r} was given, expected 0 < alpha <= 1 "
                "(above 1 sigma is steeper than 1, so it is no proximal map of a convex Psi)"
            )

    @property
    def a(self) -> float:
        """The limit alpha."""
        return self.alpha

    def sigma(self, z: Array) -> Array:
        """Return z where z >= 0, else alpha (e^z - 1)."""
        xp = namespace(z)
        return xp.where(z < 0, self.alpha * xp.expm1(where(z > 0, 0.0, z)), z)

    def slope(self, z: Array) -> Array:
        """Return 1 where z > 0, else alpha e^z."""
        xp = namespace(z)
        return where(z > 0, 1.0, self.alpha * xp.exp(where(z > 0, 0.0, z)))

    def potential(self, z: Array) -> Array:
        """Return z^2/2 where z >= 0, else alpha (e^z - 1 - z)."""
        xp = namespace(z)
        y = where(z > 0, 0.0, z)
        x = where(z < 0, 0.0, z)
        return 0.5 * x * x + self.alpha * (xp.expm1(y) - y)

    def conjugate(self, x: Array) -> Array:
        """Return 0 where x >= 0, else (alpha + x) ln(1 + x/alpha) - x - x^2/2 on [-alpha, 0]."""
        y = clip(x, -self.alpha, 0.0)
        value = self.alpha * x_log_x(1.0 + y / self.alpha) - y - 0.5 * y * y
        return infinite_outside(x, value, -self.alpha, math.inf)


@dataclass(frozen=True)
class Softplus(Smooth):
    """sigma(z) = ln(1 + e^z), phi(z) = -Li2(-e^z) with the dilogarithm Li2."""

    scalar: ClassVar[Scalar] = scalars.SOFTPLUS

    def sigma(self, z: Array) -> Array:
        """Return ln(1 + e^z)."""
        return log_one_plus_exp(z)

    def slope(self, z: Array) -> Array:
        """Return 1 / (1 + e^-z)."""
        return logistic(z)

    def potential(self, z: Array) -> Array:
        """Return -Li2(-e^z).

        With w = ln(1 + e^-|z|), Landen's identity and the series of Li2 in powers of w give -Li2(-e^-|z|) =
        w + w^2/4 + sum_k B_2k w^(2k+1) / (2k+1)!; for z >= 0 the inversion formula adds z^2/2 + pi^2/6.
        """
        xp = namespace(z)
        w = xp.log1p(xp.exp(-xp.abs(z)))
        series = xp.full_like(w, scalars.DILOGARITHM[0])
        for c in scalars.DILOGARITHM[1:]:
            series = series * (w * w) + c
        series = w + w * w * (0.25 + w * series)
        y = where(z < 0, 0.0, z)
        return xp.where(z < 0, series, 0.5 * y * y + (math.pi**2 / 6.0 - series))

    def conjugate(self, x: Array) -> Array:
        """Return <p, x> - phi(p) - x^2/2 with p = ln(e^x - 1), the inverse of sigma, for x >= 0; 0 at 0."""
        xp = namespace(x)
        y = where(x <= 0, 1.0, x)
        p = y + xp.log(-xp.expm1(-y))
        value = where(x == 0, 0.0, p * y - self.potential(p) - 0.5 * y * y)
        return infinite_outside(x, value, 0.0, math.inf)
