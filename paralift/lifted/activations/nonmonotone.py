"""GELU and SiLU: not monotone, so gradients of no convex function, for methods that need sigma only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from paralift.kernels import nonmonotone as scalars
from paralift.kernels.arrays import Array, family, from_host, namespace, to_host
from paralift.kernels.nonmonotone import CUBIC, DENSITY, FAR, HALF_ROOT, TWICE_ROOT
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
    """sigma(z) = z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))) / 2, or with the error function z (1 + erf(z / sqrt(2))) / 2.

    Parameters
    ----------
    exact : bool
        Whether it is the form with the error function. The other one, of Hendrycks & Gimpel, 2016, differs from it by at most
        5e-4 and is faster; PyTorch calls it ``GELU(approximate="tanh")``.
    """

    exact: bool = False
    lipschitz: ClassVar[float] = 1.13

    def __repr__(self) -> str:
        return "GELU(exact=True)" if self.exact else "GELU()"  # sources of older runs know one form only

    @property
    def scalar(self) -> Scalar:  # type: ignore[override]
        """Of the form that was chosen."""
        return scalars.GELU_EXACT if self.exact else scalars.GELU

    def sigma(self, z: Array) -> Array:
        """Return z times its gate."""
        gate = self._exact_gate(z) if self.exact else logistic(self._inner(z))
        return where(z < -FAR, -FAR, z) * gate

    def derivative(self, z: Array, g: Array) -> Array:
        """Return (s + z s (1 - s) u') g with the gate s = 1 / (1 + e^-u), or with the slope of the exact gate."""
        y = clip(z, -FAR, FAR)
        if self.exact:
            return (self._exact_gate(z) + y * DENSITY * namespace(z).exp(-0.5 * y * y)) * g
        u = self._inner(z)
        return logistic(u) * (1.0 + TWICE_ROOT * y * (1.0 + 3 * CUBIC * y * y) * logistic(-u)) * g

    def _exact_gate(self, z: Array) -> Array:
        """Return erfc(-z / sqrt(2)) / 2; the array API knows no error function, so that other libraries ask the host."""
        if family(z) == "cupy":
            from cupyx.scipy.special import erfc

            return 0.5 * erfc(-HALF_ROOT * z)
        from scipy.special import erfc

        return from_host(0.5 * erfc(-HALF_ROOT * to_host(z)), z)

    def _inner(self, z: Array) -> Array:
        y = clip(z, -FAR, FAR)
        return TWICE_ROOT * y * (1.0 + CUBIC * y * y)
