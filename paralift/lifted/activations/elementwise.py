"""Activations that treat every entry alone: the in-place work of stages is done by fused kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from paralift.kernels import bias_activation
from paralift.kernels.arrays import Array, Work
from paralift.kernels.difference import bound_difference, pull_back
from paralift.kernels.scalars import Scalar
from paralift.kernels.xstep import xstep, xstep_dual
from paralift.lifted.activations.base import Activation


@dataclass(frozen=True)
class Elementwise(Activation):
    """Base of the elementwise activations: whole-array formulas for any array, kernels for the in-place work.

    A subclass names its `scalar` functions and gives the same formulas for arrays (`sigma`, `phi`, `psi`,
    `derivative`, `prox`); where its scalar functions have parameters, they are `a` and `b`.
    """

    scalar: ClassVar[Scalar]

    @property
    def a(self) -> float:
        """First parameter of the scalar functions."""
        return 0.0

    @property
    def b(self) -> float:
        """Second parameter of the scalar functions."""
        return 0.0

    def activate(self, z: Array, offset: Array | None, x: Array) -> None:
        """Add `offset` (width,) to `z` in place and write sigma(z) into `x`, which may be `z` itself."""
        self.bound_activate(z, offset, x)()

    def bound_activate(self, z: Array, offset: Array | None, x: Array) -> Work:
        """Return the kernel of `activate`, bound to its arrays."""
        return bias_activation.bound(self, z, offset, x)

    def difference(
        self,
        z: Array,
        g: Array,
        up: float = 0.5,
        down: float = 0.5,
        relative: float = 0.0,
        column_sum: Array | None = None,
        accumulate: bool = False,
    ) -> None:
        """Overwrite the pull `g` by the residual of the sweep; see `Activation.difference`."""
        self.bound_difference(z, g, up, down, relative, column_sum, accumulate)()

    def bound_difference(
        self, z: Array, g: Array, up: float, down: float, relative: float, column_sum: Array | None, accumulate: bool
    ) -> Work:
        """Return the kernel of `difference`, bound to its arrays."""
        return bound_difference(self, z, g, up, down, relative, column_sum, accumulate)

    def pull_back(self, z: Array, g: Array, column_sum: Array | None = None, accumulate: bool = False) -> None:
        """Overwrite the pull `g` by sigma'(z) g, the residual of backpropagation."""
        pull_back(self, z, g, column_sum, accumulate)

    def xstep(self, x: Array, z: Array, g: Array, tau: float, r: Array, value: bool = True) -> Array | None:
        """One Euclidean x-step in place; see `Activation.xstep`. Without `value` the penalty is left out."""
        return xstep(self, x, z, g, tau, r, value)

    def xstep_dual(
        self, p: Array, x: Array, z: Array, g: Array, omega: float, r: Array, value: bool = True
    ) -> Array | None:
        """One dual x-step in place; see `Activation.xstep_dual`. Without `value` the penalty is left out."""
        return xstep_dual(self, p, x, z, g, omega, r, value)
