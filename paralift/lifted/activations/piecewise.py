"""The piecewise linear activations, each with its prox in closed form (Combettes & Pesquet, 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from paralift.kernels import piecewise as scalars
from paralift.kernels.arrays import Array, Work, namespace
from paralift.kernels.difference import sum_columns
from paralift.kernels.scalars import Scalar
from paralift.lifted.activations.elementwise import Elementwise
from paralift.lifted.activations.formulas import clip, half_square, infinite_outside, shrink, where


def _nothing() -> None:
    """Do nothing: the numbers are where they should be."""


@dataclass(frozen=True)
class Identity(Elementwise):
    """sigma(z) = z: Psi = 0, phi = z^2/2; as a last block it gives the squared loss."""

    is_identity: ClassVar[bool] = True
    projection: ClassVar[bool] = True
    scalar: ClassVar[Scalar] = scalars.IDENTITY

    def sigma(self, z: Array) -> Array:
        """Return `z` itself."""
        return z

    def phi(self, z: Array) -> Array:
        """Return |z|^2/2 of each row."""
        return 0.5 * namespace(z).sum(z * z, axis=1)

    def psi(self, x: Array) -> Array:
        """Return 0 for each row."""
        return namespace(x).zeros_like(x[:, 0])

    def derivative(self, z: Array, g: Array) -> Array:
        """Return `g` itself."""
        return g

    def prox(self, w: Array, lam: float) -> Array:
        """Return `w` itself."""
        return w

    def activate(self, z: Array, offset: Array | None, x: Array) -> None:
        """Add `offset` to `z` in place and copy `z` into `x` where that is another array."""
        if offset is not None or x is not z:
            super().activate(z, offset, x)

    def bound_activate(self, z: Array, offset: Array | None, x: Array) -> Work:
        """Return `activate` as work on these arrays: none at all for a sum, say, that no offset follows."""
        return _nothing if offset is None and x is z else super().bound_activate(z, offset, x)

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
        """Leave ``(up + down) g``, which is `g` itself for up + down = 1; only the column sum remains to do."""
        if up + down != 1.0:
            g *= up + down
        sum_columns(g, column_sum, accumulate)

    def bound_difference(
        self, z: Array, g: Array, up: float, down: float, relative: float, column_sum: Array | None, accumulate: bool
    ) -> Work:
        """Return `difference` as work on these arrays: none at all where g stays as it is and no sum is wanted."""
        if up + down == 1.0 and column_sum is None:
            return _nothing
        return partial(self.difference, z, g, up, down, relative, column_sum, accumulate)

    def pull_back(self, z: Array, g: Array, column_sum: Array | None = None, accumulate: bool = False) -> None:
        """Leave `g`; only the column sum remains to do."""
        sum_columns(g, column_sum, accumulate)


@dataclass(frozen=True)
class ReLU(Elementwise):
    """sigma(z) = max(z, 0), the projection onto x >= 0."""

    scalar: ClassVar[Scalar] = scalars.RELU
    projection: ClassVar[bool] = True
    init_gain: ClassVar[float] = 2.0

    def sigma(self, z: Array) -> Array:
        """Return max(z, 0)."""
        return where(z < 0, 0.0, z)

    def phi(self, z: Array) -> Array:
        """Return |max(z, 0)|^2/2 of each row."""
        return half_square(self.sigma(z))

    def psi(self, x: Array) -> Array:
        """Return 0 for each row without a negative entry, else inf."""
        xp = namespace(x)
        return xp.sum(infinite_outside(x, xp.zeros_like(x), 0.0, math.inf), axis=1)

    def derivative(self, z: Array, g: Array) -> Array:
        """Return `g` where z > 0, else 0."""
        return where(z <= 0, 0.0, g)

    def prox(self, w: Array, lam: float) -> Array:
        """Return max(w, 0)."""
        return self.sigma(w)


@dataclass(frozen=True)
class LeakyReLU(Elementwise):
    """sigma(z) = z for z >= 0, slope z for z < 0."""

    slope: float = 0.01
    """Slope for negative entries, in (0, 1]."""

    scalar: ClassVar[Scalar] = scalars.LEAKY

    @property
    def init_gain(self) -> float:  # type: ignore[override]
        """2 / (1 + slope^2): what keeps the variance from block to block (He et al. 2015)."""
        return 2.0 / (1.0 + self.slope**2)

    def __post_init__(self) -> None:
        if not 0.0 < self.slope <= 1.0:
            raise ValueError(
                f"LeakyReLU: slope = {self.slope!r} was given, expected 0 < slope <= 1 "
                "(take ReLU() for a slope of 0; above 1 sigma is no proximal map of a convex Psi)"
            )

    @property
    def a(self) -> float:
        """The slope."""
        return self.slope

    def sigma(self, z: Array) -> Array:
        """Return z where z >= 0, else slope z."""
        return namespace(z).where(z < 0, self.slope * z, z)

    def phi(self, z: Array) -> Array:
        """Return <z, sigma(z)>/2 of each row."""
        return 0.5 * namespace(z).sum(z * self.sigma(z), axis=1)

    def psi(self, x: Array) -> Array:
        """Return (1/slope - 1) |min(x, 0)|^2/2 of each row."""
        return (1.0 / self.slope - 1.0) * half_square(where(x > 0, 0.0, x))

    def derivative(self, z: Array, g: Array) -> Array:
        """Return `g` where z > 0, else slope g."""
        return namespace(z).where(z <= 0, self.slope * g, g)

    def prox(self, w: Array, lam: float) -> Array:
        """Return w where w >= 0, else w / (1 + lam (1/slope - 1))."""
        return namespace(w).where(w < 0, self.slope / (self.slope + lam * (1.0 - self.slope)) * w, w)


@dataclass(frozen=True)
class Hardtanh(Elementwise):
    """sigma(z) = z clipped to [low, high], the projection onto a box."""

    low: float = -1.0
    high: float = 1.0

    scalar: ClassVar[Scalar] = scalars.CLIP
    projection: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(
                f"Hardtanh: low = {self.low!r} and high = {self.high!r} were given, expected finite low < high"
            )

    @property
    def a(self) -> float:
        """The lower end."""
        return self.low

    @property
    def b(self) -> float:
        """The upper end."""
        return self.high

    def sigma(self, z: Array) -> Array:
        """Return z clipped to [low, high]."""
        return clip(z, self.low, self.high)

    def phi(self, z: Array) -> Array:
        """Return <s, z - s/2> of each row, s = sigma(z)."""
        s = self.sigma(z)
        return namespace(z).sum(s * (z - 0.5 * s), axis=1)

    def psi(self, x: Array) -> Array:
        """Return 0 for each row inside the box, else inf."""
        xp = namespace(x)
        return xp.sum(infinite_outside(x, xp.zeros_like(x), self.low, self.high), axis=1)

    def derivative(self, z: Array, g: Array) -> Array:
        """Return `g` where low < z < high, else 0."""
        return where((z <= self.low) | (z >= self.high), 0.0, g)

    def prox(self, w: Array, lam: float) -> Array:
        """Return w clipped to [low, high]."""
        return self.sigma(w)


@dataclass(frozen=True)
class SoftThreshold(Elementwise):
    """sigma(z) = sign(z) max(|z| - threshold, 0): Psi = threshold |x|_1, which makes x sparse."""

    threshold: float

    scalar: ClassVar[Scalar] = scalars.SOFT

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold < math.inf:
            raise ValueError(
                f"SoftThreshold: threshold = {self.threshold!r} was given, expected a finite number >= 0"
            )

    @property
    def a(self) -> float:
        """The threshold."""
        return self.threshold

    def sigma(self, z: Array) -> Array:
        """Return sign(z) max(|z| - threshold, 0)."""
        return shrink(z, self.threshold)

    def phi(self, z: Array) -> Array:
        """Return |sigma(z)|^2/2 of each row."""
        return half_square(self.sigma(z))

    def psi(self, x: Array) -> Array:
        """Return threshold |x|_1 of each row."""
        xp = namespace(x)
        return self.threshold * xp.sum(xp.abs(x), axis=1)

    def derivative(self, z: Array, g: Array) -> Array:
        """Return `g` where |z| > threshold, else 0."""
        return where(namespace(z).abs(z) <= self.threshold, 0.0, g)

    def prox(self, w: Array, lam: float) -> Array:
        """Return sign(w) max(|w| - lam threshold, 0)."""
        return shrink(w, lam * self.threshold)
