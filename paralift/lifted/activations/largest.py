"""Rectifying and max pooling as one proximal activation: of each row the largest positive entry stays.

phi(z) = max(0, max z)^2/2, whose conjugate is (sum x)^2/2 on x >= 0: so Psi(x) = ((sum x)^2 - |x|^2)/2 there, which is not
convex. The sum over the row, a linear map behind the activation, is the pooled number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from paralift.kernels import largest
from paralift.kernels.arrays import Array, from_host, namespace
from paralift.lifted.activations.base import Activation
from paralift.lifted.activations.formulas import where
from paralift.lifted.activations.rowwise import Rowwise
from paralift.lifted.maps.base import Map
from paralift.lifted.maps.regroup import SumWindows, ToWindows

BISECTIONS = 60


@dataclass(frozen=True)
class LargestPositive(Rowwise):
    """sigma(z) = max(z_i, 0) at the first of the largest entries of a row, 0 elsewhere; monotone, but not continuous."""

    lipschitz: ClassVar[float] = math.inf
    init_gain: ClassVar[float] = 2.0

    def _chosen(self, z: Array) -> Array:
        """Return 1 at the first of the largest entries of each row, 0 elsewhere."""
        xp = namespace(z)
        index = xp.argmax(z, axis=1)[:, None]
        columns = from_host(np.arange(z.shape[1]), index)[None, :]
        return xp.where(columns == index, xp.ones_like(z), xp.zeros_like(z))

    def _top(self, z: Array) -> Array:
        top = namespace(z).max(z, axis=1, keepdims=True)
        return where(top < 0, 0.0, top)

    def sigma(self, z: Array) -> Array:
        """Return the rows with their largest positive entries alone."""
        return self._chosen(z) * self._top(z)

    def phi(self, z: Array) -> Array:
        """Return max(0, max z)^2/2 of each row."""
        return 0.5 * self._top(z)[:, 0] ** 2

    def psi(self, x: Array) -> Array:
        """Return ((sum x)^2 - |x|^2)/2 of each row without a negative entry, else inf."""
        xp = namespace(x)
        value = 0.5 * (xp.sum(x, axis=1) ** 2 - xp.sum(x * x, axis=1))
        return where(xp.any(x < 0, axis=1), math.inf, value)

    def prox(self, w: Array, lam: float) -> Array:
        """Return max(w - lam S, 0) / (1 - lam) with the S that is its row's sum; sigma(w) for lam = 1."""
        if lam >= 1.0:
            return self.sigma(w)
        xp = namespace(w)
        low = 0.0 * w[:, :1]
        high = xp.sum(self._above(w, 0.0), axis=1, keepdims=True)
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            too_low = xp.sum(self._above(w, lam * middle), axis=1, keepdims=True) > (1.0 - lam) * middle
            low, high = xp.where(too_low, middle, low), xp.where(too_low, high, middle)
        on = xp.where(w > lam * high, xp.ones_like(w), xp.zeros_like(w))
        total = xp.sum(on * w, axis=1, keepdims=True) / (1.0 - lam + lam * xp.sum(on, axis=1, keepdims=True))
        return self._above(w, lam * total) / (1.0 - lam)

    def _above(self, w: Array, threshold: Any) -> Array:
        above = w - threshold
        return where(above < 0, 0.0, above)

    def derivative(self, z: Array, g: Array) -> Array:
        """Return g at the largest entry where it is positive, else 0."""
        xp = namespace(z)
        return xp.where(self._top(z) > 0, self._chosen(z) * g, xp.zeros_like(g))

    def write(self, z: np.ndarray, x: np.ndarray) -> None:
        """Write sigma(z) into `x`."""
        largest.largest_positive(z, x)

    def write_difference(self, z: np.ndarray, g: np.ndarray, *scales: Any) -> None:
        """Overwrite `g` by the residual difference."""
        largest.largest_positive_difference(z, g, *scales)


@dataclass(frozen=True)
class ReLUMaxPool:
    """ReLU and max pooling over windows side by side, as one activation: lines that do not fill a window are left out.

    Parameters
    ----------
    kernel : int or tuple of int
        Size of a window of an image (height, width, channels) or a series (length, channels).
    """

    kernel: int | tuple[int, ...]

    def expand(self) -> list[Activation | Map]:
        """Return the map that makes rows of windows, the activation, and the sum over windows."""
        return [ToWindows(self.kernel), LargestPositive(), SumWindows()]
