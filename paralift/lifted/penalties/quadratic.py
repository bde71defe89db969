"""The quadratic penalty of the method of auxiliary coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from paralift.kernels.arrays import Array, namespace
from paralift.lifted.activations.base import Activation
from paralift.lifted.penalties.base import SquarePenalty


@dataclass(frozen=True)
class Quadratic(SquarePenalty):
    """|x - sigma(z)|^2/2, gradient sigma'(z) (sigma(z) - x) in z: the one that needs sigma', and is not convex in z.

    References
    ----------
    Carreira-Perpinan & Wang, Distributed optimization of deeply nested systems, AISTATS 2014.
    """

    sweeps: ClassVar[bool] = True
    derivative: ClassVar[bool] = True

    def residual(self, activation: Activation, x: Array, z: Array, r: Array) -> None:
        """Leave sigma'(z) (sigma(z) - x)."""
        r -= x
        activation.pull_back(z, r)

    def value(self, activation: Activation, x: Array, z: Array) -> Array:
        """Return |x - sigma(z)|^2/2 of each row."""
        return 0.5 * namespace(x).sum((x - activation.sigma(z)) ** 2, axis=1)

    def anchor(self, activation: Activation, z: Array) -> Array:
        """Return sigma(z)."""
        return activation.sigma(z)

    def prox(self, activation: Activation, regularizer: Any, w: Array, lam: float) -> Array:
        """Return the prox of the regulariser, `w` without one: x has no domain."""
        return w if regularizer is None else regularizer.prox(w, lam)
