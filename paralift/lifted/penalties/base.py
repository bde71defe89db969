"""What a penalty P(x, z) is: its value, its gradient in z, and the prox that the x-step takes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from paralift.kernels.arrays import Array
from paralift.lifted.activations.base import Activation


@dataclass(frozen=True)
class Penalty:
    """Base of all penalties; arrays are two-dimensional, a row for each sample, token or pixel.

    The x-step, argmin_x P(x, z) + <g, x> + |x - c|^2/(2 tau), is written as prox_{lam Q}((c + tau (anchor(z) - g))/(1 + tau)),
    lam = tau/(1 + tau), with P(x, z) = |x - anchor(z)|^2/2 + Q(x) + what x has no part in.
    """

    geometries: ClassVar[tuple[str, ...]] = ("euclidean",)
    """The geometries of `ProximalGradient` that know its x-step."""
    fused: ClassVar[bool] = False
    """Whether its Euclidean x-step is `Activation.xstep`, which kernels do in one pass."""
    sweeps: ClassVar[bool] = False
    """Whether it vanishes, with its gradient, after a forward pass, so that a sweep finds its states."""
    derivative: ClassVar[bool] = False
    """Whether its gradient in z multiplies by sigma', so that it is no convex function of z."""

    def check(self, activation: Activation, where: str) -> None:
        """Raise TypeError unless the hidden block `where` may have this activation."""

    def residual(self, activation: Activation, x: Array, z: Array, r: Array) -> None:
        """Overwrite sigma(z) in `r` by the gradient of P in z."""
        raise NotImplementedError

    def value(self, activation: Activation, x: Array, z: Array) -> Array:
        """Return P(x, z) of each row, shape (rows,)."""
        raise NotImplementedError

    def anchor(self, activation: Activation, z: Array) -> Array:
        """Return the point from which P measures squares."""
        raise NotImplementedError

    def prox(self, activation: Activation, regularizer: Any, w: Array, lam: float) -> Array:
        """Return argmin_x lam (Q(x) + R(x)) + |x - w|^2/2, R the regulariser or nothing."""
        raise NotImplementedError
