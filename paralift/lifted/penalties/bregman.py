"""The Bregman penalty, which differentiates no activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from paralift.kernels.arrays import Array
from paralift.lifted.activations.base import Activation
from paralift.lifted.inference.regularised import regularised_prox
from paralift.lifted.penalties.base import SquarePenalty


@dataclass(frozen=True)
class Bregman(SquarePenalty):
    """B(x, z) = |x|^2/2 + Psi(x) + phi(z) - <x, z>: convex in x and in z, zero at x = sigma(z) only, gradient sigma(z) - x.

    References
    ----------
    Wang & Benning, JMLR 24(232), 2023, section 2.
    """

    geometries: ClassVar[tuple[str, ...]] = ("euclidean", "dual")
    fused: ClassVar[bool] = True
    sweeps: ClassVar[bool] = True

    def residual(self, activation: Activation, x: Array, z: Array, r: Array) -> None:
        """Leave sigma(z) - x."""
        r -= x

    def value(self, activation: Activation, x: Array, z: Array) -> Array:
        """Return B(x, z) of each row."""
        return activation.penalty(x, z)

    def anchor(self, activation: Activation, z: Array) -> Array:
        """Return `z`: B(x, z) = |x - z|^2/2 + Psi(x) + phi(z) - |z|^2/2."""
        return z

    def prox(self, activation: Activation, regularizer: Any, w: Array, lam: float) -> Array:
        """Return the prox of Psi and the regulariser together."""
        return regularised_prox(activation, regularizer, w, lam)
