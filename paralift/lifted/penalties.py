"""Penalties of one's own: how far x may be from sigma(z) in proximal gradient iterations.

The Bregman penalty and the quadratic one need no object: they are known to methods by name.
"""

from __future__ import annotations

from typing import ClassVar

from paralift.kernels.arrays import Array
from paralift.lifted.activations.base import Activation


class Penalty:
    """Base of penalties: D(x, z) >= 0, which is 0 at x = sigma(z), its gradient in z, and the x-step with it.

    A subclass gives the three functions below. All arrays have shape (rows, width); none may be changed.
    `paralift.testing.check_penalty` tells whether they belong together.
    """

    lipschitz: ClassVar[float] = 1.0
    """Lipschitz constant of `gradient` in z, as a multiple of that of sigma: steps are shorter by it."""

    def value(self, activation: Activation, x: Array, z: Array) -> Array:
        """Return D(x, z) of each row, shape (rows,)."""
        raise NotImplementedError

    def gradient(self, activation: Activation, x: Array, z: Array) -> Array:
        """Return the gradient of D(x, z) in z: what the block pulls on its parents and its parameters."""
        raise NotImplementedError

    def step(self, activation: Activation, x: Array, z: Array, g: Array, tau: float) -> Array:
        """Return argmin_y D(y, z) + <g, y> + |y - x|^2 / (2 tau)."""
        raise NotImplementedError


PENALTIES = ("bregman", "quadratic")
"""Penalties that are known by name."""


def check_penalty_name(penalty: object) -> None:
    """Raise ValueError unless `penalty` is a known name or a `Penalty`."""
    if not isinstance(penalty, Penalty) and penalty not in PENALTIES:
        raise ValueError(f"penalty is {penalty!r}, expected one of {PENALTIES} or a Penalty of your own (docs/extend.md)")
