"""GELU and SiLU: not monotone, so gradients of no convex function, for methods that need sigma only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from paralift.kernels import nonmonotone as scalars
from paralift.kernels.arrays import Array
from paralift.kernels.nonmonotone import CUBIC, FAR, TWICE_ROOT
from paralift.kernels.scalars import Scalar
from paralift.lifted.activations.elementwise import Elementwise
from paralift.lifted.activations.formulas import clip, logistic, where


@dataclass(frozen=True)
class NonMonotone(Elementwise):
    """An activation without potential: everything that needs phi or Psi raises NotMonotoneError."""

    proximal: ClassVar[bool] = False

    def penalty(self, x: Array, z: Array) -> Array:
        """Raise NotMonotoneError."""
        raise self._no("penalty")

    def penalty_dual(self, p: Array, z: Array) -> Array:
        """Raise NotMonotoneError."""
        raise self._no("penalty")

    def xstep(self, x: Array, z: Array, g: Array, tau: float, r: Array, value: bool = True) -> Array | None:
        """Raise NotMonotoneError."""
        raise self._no("x-step")

    def xstep_dual(
        self, p: Array, x: Array, z: Array, g: Array, omega: float, r: Array, value: bool = True
    ) -> Array | None:
        """Raise NotMonotoneError."""
        raise self._no("x-step")


@dataclass(frozen=True)
class SiLU(NonMonotone):
    """sigma(z) = z / (1 + e^-z)."""

    lipschitz: ClassVar[float] = 1.1
    scalar: ClassVar[Scalar] = scalars.SILU

    def sigma(self, z: Array) -> Array:
        """Return z / (1 + e^-z)."""
        return where(z < -FAR, -FAR, z) * logistic(z)

    def derivative(self, z: Array, g: Array) -> Array:
        """Return s (1 + z (1 - s)) g with s = 1 / (1 + e^-z)."""
        return logistic(z) * (1.0 + clip(z, -FAR, FAR) * logistic(-z)) * g


@dataclass(frozen=True)
class GELU(NonMonotone):
    """sigma(z) = z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))) / 2.

    This is the form of Hendrycks & Gimpel, 2016, that PyTorch calls ``GELU(approximate="tanh")``; the form with the
    error function differs from it by at most 5e-4.
    """

    lipschitz: ClassVar[float] = 1.13
    scalar: ClassVar[Scalar] = scalars.GELU

    def sigma(self, z: Array) -> Array:
        """Return z times its gate."""
        return where(z < -FAR, -FAR, z) * logistic(self._inner(z))

    def derivative(self, z: Array, g: Array) -> Array:
        """Return (s + z s (1 - s) u') g with the gate s = 1 / (1 + e^-u)."""
        y, u = clip(z, -FAR, FAR), self._inner(z)
        return logistic(u) * (1.0 + TWICE_ROOT * y * (1.0 + 3 * CUBIC * y * y) * logistic(-u)) * g

    def _inner(self, z: Array) -> Array:
        y = clip(z, -FAR, FAR)
        return TWICE_ROOT * y * (1.0 + CUBIC * y * y)
