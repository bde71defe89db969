"""Normalisation as an activation: the gradient of the convex d sqrt(|P z|^2 / d + eps).

For eps -> 0 it is the projection onto a sphere; nothing of it is differentiated in training. Gain and shift are a diagonal
affine map in the next block, which `LayerNorm` and `RMSNorm` add.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from paralift.kernels import rows
from paralift.kernels.arrays import Array, namespace
from paralift.lifted.activations.base import Activation
from paralift.lifted.activations.rowwise import Rowwise
from paralift.lifted.maps.affine import Diagonal

NEWTON_STEPS = 60


@dataclass(frozen=True)
class Normalise(Rowwise):
    """x = P z / sqrt(|P z|^2 / d + eps) over the last axis of d entries.

    Parameters
    ----------
    centre : bool
        P = centring (layer normalisation) or the identity (root mean square normalisation).
    eps : float
        Greater than zero; sigma is Lipschitz with constant 1 / sqrt(eps).
    """

    centre: bool = True
    eps: float = 1e-5

    def __post_init__(self) -> None:
        if not self.eps > 0:
            raise ValueError(f"{type(self).__name__}: eps is {self.eps}, expected a number greater than 0")

    @property
    def lipschitz(self) -> float:  # type: ignore[override]
        """Lipschitz constant of sigma."""
        return float(self.eps**-0.5)

    def _centred(self, z: Array) -> Array:
        return z - namespace(z).mean(z, axis=1, keepdims=True) if self.centre else z

    def _scale(self, pz: Array) -> Array:
        xp = namespace(pz)
        return xp.sqrt(xp.mean(pz * pz, axis=1, keepdims=True) + self.eps)

    def sigma(self, z: Array) -> Array:
        """Return the normalised rows."""
        pz = self._centred(z)
        return pz / self._scale(pz)

    def phi(self, z: Array) -> Array:
        """Return d sqrt(|P z|^2 / d + eps) of each row."""
        return z.shape[1] * self._scale(self._centred(z))[:, 0]

    def psi(self, x: Array) -> Array:
        """Return -sqrt(eps d) sqrt(d - |x|^2) - |x|^2/2 on the (centred) ball |x|^2 <= d, +inf outside."""
        xp = namespace(x)
        d = x.shape[1]
        room = d - xp.sum(x * x, axis=1)
        inside = room >= -1e-5 * d
        if self.centre:
            inside = inside & (xp.abs(xp.mean(x, axis=1)) < 1e-5)
        room = xp.where(room > 0, room, xp.zeros_like(room))
        value = -((self.eps * d) ** 0.5) * xp.sqrt(room) - 0.5 * xp.sum(x * x, axis=1)
        return xp.where(inside, value, xp.full_like(value, float("inf")))

    def derivative(self, z: Array, g: Array) -> Array:
        """Return (P g - x <x, P g> / d) / scale, x = sigma(z)."""
        pz, pg = self._centred(z), self._centred(g)
        scale = self._scale(pz)
        x = pz / scale
        return (pg - x * namespace(z).mean(x * pg, axis=1, keepdims=True)) / scale

    def prox(self, w: Array, lam: float) -> Array:
        """Return sigma(z*), z* = t P w / |P w|, t the root of lam t + (1 - lam) t / sqrt(t^2/d + eps) = |P w|.

        The left side is concave and increasing for t >= 0, so Newton's method from the left never overshoots.
        """
        xp = namespace(w)
        d = w.shape[1]
        pw = self._centred(w)
        rho = xp.sqrt(xp.sum(pw * pw, axis=1, keepdims=True))
        far = (rho - (1.0 - lam) * d**0.5) / lam
        t = xp.where(far > 0, far, xp.zeros_like(far))
        for _ in range(NEWTON_STEPS):
            square = t * t / d + self.eps
            value = lam * t + (1.0 - lam) * t / xp.sqrt(square)
            slope = lam + (1.0 - lam) * self.eps / (square * xp.sqrt(square))
            t = t + (rho - value) / slope
        direction = pw / xp.where(rho > 0, rho, xp.ones_like(rho))
        return t * direction / xp.sqrt(t * t / d + self.eps)

    def write(self, z: np.ndarray, x: np.ndarray) -> None:
        """Write sigma(z) into `x`."""
        rows.norm(z, z.dtype.type(self.eps), self.centre, x)

    def write_difference(self, z: np.ndarray, g: np.ndarray, *scales: Any) -> None:
        """Overwrite `g` by the residual difference."""
        up, down, relative, column_sum = scales
        rows.norm_difference(z, g, up, down, relative, z.dtype.type(self.eps), self.centre, column_sum)


@dataclass(frozen=True)
class LayerNorm:
    """Layer normalisation over the last axis of `width` features, with a learned gain and shift."""

    width: int
    eps: float = 1e-5

    def expand(self) -> list[Activation | Diagonal]:
        """Return the activation and the diagonal map that follows it."""
        return [Normalise(centre=True, eps=self.eps), Diagonal(self.width)]


@dataclass(frozen=True)
class RMSNorm:
    """Root mean square normalisation over the last axis of `width` features, with a learned gain and shift."""

    width: int
    eps: float = 1e-5

    def expand(self) -> list[Activation | Diagonal]:
        """Return the activation and the diagonal map that follows it."""
        return [Normalise(centre=False, eps=self.eps), Diagonal(self.width)]
