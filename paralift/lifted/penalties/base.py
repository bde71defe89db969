"""What a penalty P(x, z) is: its value, its gradient in z, and its x-step."""

from __future__ import annotations

from typing import Any, ClassVar

from paralift.kernels.arrays import Array, namespace
from paralift.lifted.activations.base import Activation


class Penalty:
    """Base of all penalties; arrays are two-dimensional, a row for each sample, token or pixel.

    A penalty of one's own gives `value`, `gradient` and `step`, which change none of their arguments; it is 0 at x = sigma(z).
    """

    lipschitz: ClassVar[float] = 1.0
    """Lipschitz constant of `gradient` in z, as a multiple of that of sigma: steps are shorter by it."""
    geometries: ClassVar[tuple[str, ...]] = ("euclidean",)
    """The geometries of `ProximalGradient` that know its x-step."""
    fused: ClassVar[bool] = False
    """Whether its Euclidean x-step is `Activation.xstep`, which kernels do in one pass."""
    sweeps: ClassVar[bool] = False
    """Whether it vanishes, with its gradient, after a forward pass, so that a sweep finds its states."""
    derivative: ClassVar[bool] = False
    """Whether its gradient in z multiplies by sigma', so that it is no convex function of z."""
    regularised: ClassVar[bool] = False
    """Whether its x-step takes in a regulariser on the variable."""

    def check(self, activation: Activation, where: str) -> None:
        """Raise TypeError unless the hidden block `where` may have this activation."""

    def value(self, activation: Activation, x: Array, z: Array) -> Array:
        """Return P(x, z) of each row, shape (rows,)."""
        raise NotImplementedError

    def gradient(self, activation: Activation, x: Array, z: Array) -> Array:
        """Return the gradient of P(x, z) in z."""
        raise NotImplementedError

    def step(self, activation: Activation, x: Array, z: Array, g: Array, tau: float, regularizer: Any = None) -> Array:
        """Return argmin_y P(y, z) + R(y) + <g, y> + |y - x|^2/(2 tau); R only where `regularised`, and may then be left out."""
        raise NotImplementedError

    def residual(self, activation: Activation, x: Array, z: Array, r: Array) -> None:
        """Overwrite sigma(z) in `r` by the gradient of P in z."""
        r[...] = self.gradient(activation, x, z)


class SquarePenalty(Penalty):
    """P(x, z) = |x - anchor(z)|^2/2 + Q(x) + what x has no part in.

    The x-step is prox_{lam (Q + R)}((x + tau (anchor(z) - g))/(1 + tau)), lam = tau/(1 + tau).
    """

    regularised: ClassVar[bool] = True

    def gradient(self, activation: Activation, x: Array, z: Array) -> Array:
        """Return the gradient of P(x, z) in z."""
        r = namespace(z).empty_like(z)
        r[...] = activation.sigma(z)
        self.residual(activation, x, z, r)
        return r

    def step(self, activation: Activation, x: Array, z: Array, g: Array, tau: float, regularizer: Any = None) -> Array:
        """Return the x-step, by the prox of Q and R together."""
        w = (x + tau * (self.anchor(activation, z) - g)) / (1.0 + tau)
        return self.prox(activation, regularizer, w, tau / (1.0 + tau))

    def residual(self, activation: Activation, x: Array, z: Array, r: Array) -> None:
        """Overwrite sigma(z) in `r` by the gradient of P in z."""
        raise NotImplementedError

    def anchor(self, activation: Activation, z: Array) -> Array:
        """Return the point from which P measures squares."""
        raise NotImplementedError

    def prox(self, activation: Activation, regularizer: Any, w: Array, lam: float) -> Array:
        """Return argmin_x lam (Q(x) + R(x)) + |x - w|^2/2, R the regulariser or nothing."""
        raise NotImplementedError
