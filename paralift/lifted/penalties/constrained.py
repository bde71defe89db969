"""The penalty of Askari et al.: squares to the pre-activation itself, within the range of a projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paralift.kernels.arrays import Array, namespace
from paralift.lifted.activations.base import Activation
from paralift.lifted.inference.regularised import regularised_prox
from paralift.lifted.penalties.base import SquarePenalty


@dataclass(frozen=True)
class Constrained(SquarePenalty):
    """|x - z|^2/2 with x in the domain of Psi, gradient z - x: for activations that are projections.

    It is a square in the parameters, too, whose minimiser is a linear least squares fit. It is not zero at x = sigma(z), but
    the squared distance of z from the range there: it bends z towards the range.

    References
    ----------
    Askari, Negiar, Sambharya & El Ghaoui, Lifted neural networks, arXiv 1805.01532, 2018.
    """

    def check(self, activation: Activation, where: str) -> None:
        """Raise TypeError unless sigma is a projection."""
        if not activation.projection:
            raise TypeError(
                f"{where}: the penalty |x - z|^2/2 over the range of {activation!r} is least at the projection of z, which is "
                'not its sigma(z): take ReLU, Hardtanh, Sparsemax, Ball or Identity, or penalty="bregman"'
            )

    def residual(self, activation: Activation, x: Array, z: Array, r: Array) -> None:
        """Write z - x."""
        r[...] = z - x

    def value(self, activation: Activation, x: Array, z: Array) -> Array:
        """Return |x - z|^2/2 of each row; +inf outside of the range."""
        return 0.5 * namespace(x).sum((x - z) ** 2, axis=1) + activation.psi(x)

    def anchor(self, activation: Activation, z: Array) -> Array:
        """Return `z`."""
        return z

    def prox(self, activation: Activation, regularizer: Any, w: Array, lam: float) -> Array:
        """Return the projection onto the range, with the regulariser's prox."""
        return regularised_prox(activation, regularizer, w, lam)
