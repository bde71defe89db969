"""Projections and group thresholds: proximal maps whose potential is a squared distance.

phi = |z|^2/2 - dist(z, C)^2/2 for the projection on a closed convex C; the prox of an indicator is the projection for any
step. The projection on a box is `Hardtanh(low, high)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from paralift.kernels.arrays import Array, namespace
from paralift.lifted.activations.base import Activation

BISECTIONS = 60


@dataclass(frozen=True)
class Projection(Activation):
    """Base of the projections: phi and the prox follow from sigma."""

    projection: ClassVar[bool] = True

    def phi(self, z: Array) -> Array:
        """Return |z|^2/2 - |z - sigma(z)|^2/2 of each row."""
        away = z - self.sigma(z)
        return 0.5 * namespace(z).sum(z * z - away * away, axis=1)

    def contains(self, x: Array) -> Array:
        """Return for each row whether it lies in the set, to rounding."""
        raise NotImplementedError

    def psi(self, x: Array) -> Array:
        """Return 0 in the set, +inf outside."""
        xp = namespace(x)
        zero = 0.0 * x[:, 0]
        return xp.where(self.contains(x), zero, xp.full_like(zero, float("inf")))

    def prox(self, w: Array, lam: float) -> Array:
        """Return the projection of `w`, whatever the step."""
        return self.sigma(w)


@dataclass(frozen=True)
class Sparsemax(Projection):
    """Projection of each row on the simplex (Martins & Astudillo 2016)."""

    def sigma(self, z: Array) -> Array:
        """Return max(z - t, 0) with the t that makes the row sum one: bisection, then exactly from the support."""
        xp = namespace(z)
        z = z - xp.max(z, axis=1, keepdims=True)  # the projection does not see a shift; a NaN spoils its row
        low = 0.0 * z[:, :1] - 1.0
        high = low + 1.0
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            mass = xp.sum(self._above(z, middle), axis=1, keepdims=True)
            low, high = xp.where(mass > 1.0, middle, low), xp.where(mass > 1.0, high, middle)
        support = xp.astype(z > low, z.dtype) if hasattr(xp, "astype") else (z > low).astype(z.dtype)
        threshold = (xp.sum(z * support, axis=1, keepdims=True) - 1.0) / xp.sum(support, axis=1, keepdims=True)
        return self._above(z, threshold) + 0.0 * low

    def _above(self, z: Array, t: Array) -> Array:
        return namespace(z).where(z > t, z - t, namespace(z).zeros_like(z))

    def contains(self, x: Array) -> Array:
        """Return whether a row is nonnegative with sum one (to 1e-5)."""
        xp = namespace(x)
        return xp.all(x >= 0, axis=1) & (xp.abs(xp.sum(x, axis=1) - 1.0) < 1e-5)

    def derivative(self, z: Array, g: Array) -> Array:
        """Return g minus its mean over the support, zero elsewhere."""
        xp = namespace(z)
        on = self.sigma(z) > 0
        kept = xp.where(on, g, xp.zeros_like(g))
        count = xp.sum(xp.where(on, xp.ones_like(g), xp.zeros_like(g)), axis=1, keepdims=True)
        return xp.where(on, g - xp.sum(kept, axis=1, keepdims=True) / count, xp.zeros_like(g))


@dataclass(frozen=True)
class Ball(Projection):
    """Projection of each row on the Euclidean ball of `radius` around zero."""

    radius: float = 1.0

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise ValueError(f"Ball: radius is {self.radius}, expected a number greater than 0")

    def _length(self, z: Array) -> Array:
        xp = namespace(z)
        return xp.sqrt(xp.sum(z * z, axis=1, keepdims=True))

    def sigma(self, z: Array) -> Array:
        """Return z radius / max(|z|, radius)."""
        length = self._length(z)
        return z * (self.radius / namespace(z).where(length > self.radius, length, 0.0 * length + self.radius))

    def contains(self, x: Array) -> Array:
        """Return whether the length of a row is at most the radius (to 1e-6 of it)."""
        return self._length(x)[:, 0] <= self.radius * (1 + 1e-6)

    def derivative(self, z: Array, g: Array) -> Array:
        """Return g inside the ball, and radius/|z| times its part tangent to the sphere outside."""
        xp = namespace(z)
        length = self._length(z)
        safe = xp.where(length > 0, length, xp.ones_like(length))
        u = z / safe
        outside = (g - u * xp.sum(u * g, axis=1, keepdims=True)) * (self.radius / safe)
        return xp.where(length > self.radius, outside, g)


@dataclass(frozen=True)
class GroupSoftThreshold(Activation):
    """Shrinks groups of consecutive entries towards zero: x_G = z_G max(0, 1 - threshold/|z_G|).

    Parameters
    ----------
    threshold : float
        Greater than zero; Psi(x) = threshold * sum of |x_G|.
    group : int
        Entries in a group; it divides the width.
    """

    threshold: float
    group: int

    def __post_init__(self) -> None:
        if not self.threshold > 0 or not isinstance(self.group, int) or self.group < 1:
            raise ValueError(f"{self!r}: expected a threshold greater than 0 and a group of at least 1")

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless the group divides the width."""
        if shape[-1] % self.group:
            raise ValueError(f"{self!r}: groups of {self.group} do not divide a width of {shape[-1]}")

    def _lengths(self, z: Array) -> Array:
        xp = namespace(z)
        groups = xp.reshape(z, (z.shape[0], z.shape[1] // self.group, self.group))
        return xp.sqrt(xp.sum(groups * groups, axis=2))

    def _spread(self, per_group: Array, width: int) -> Array:
        xp = namespace(per_group)
        return xp.reshape(
            xp.broadcast_to(per_group[:, :, None], (*per_group.shape, self.group)), (per_group.shape[0], width)
        )

    def sigma(self, z: Array) -> Array:
        """Return the shrunk rows."""
        return self.prox(z, 1.0)

    def prox(self, w: Array, lam: float) -> Array:
        """Return w_G max(0, 1 - lam threshold / |w_G|)."""
        xp = namespace(w)
        lengths = self._lengths(w)
        keep = 1.0 - lam * self.threshold / xp.where(lengths > 0, lengths, xp.ones_like(lengths))
        factor = xp.where((keep > 0) & (lengths > 0), keep, xp.zeros_like(keep))
        return w * self._spread(xp.where(lengths == lengths, factor, lengths), w.shape[1])

    def phi(self, z: Array) -> Array:
        """Return the sum over groups of max(|z_G| - threshold, 0)^2/2."""
        xp = namespace(z)
        above = self._lengths(z) - self.threshold
        above = xp.where(above > 0, above, xp.zeros_like(above))
        return 0.5 * xp.sum(above * above, axis=1)

    def psi(self, x: Array) -> Array:
        """Return threshold times the sum of the groups' lengths."""
        return self.threshold * namespace(x).sum(self._lengths(x), axis=1)

    def derivative(self, z: Array, g: Array) -> Array:
        """Return (1 - t/|z_G|) g_G + t <z_G, g_G> z_G / |z_G|^3 in the groups that survive, zero elsewhere."""
        xp = namespace(z)
        lengths = self._lengths(z)
        safe = xp.where(lengths > 0, lengths, xp.ones_like(lengths))
        inner = xp.sum(xp.reshape(z * g, (z.shape[0], z.shape[1] // self.group, self.group)), axis=2)
        alive = lengths > self.threshold
        zero = xp.zeros_like(lengths)
        a = xp.where(alive, 1.0 - self.threshold / safe, zero)
        b = xp.where(alive, self.threshold * inner / safe**3, zero)
        return self._spread(a, z.shape[1]) * g + self._spread(b, z.shape[1]) * z
