"""All numbers of a vector in 2, 4 or 8 bits each: a sign and a level of `levels.py`, and a float32 scale for each bucket.

How large the error can be for any vector follows from the levels alone. With phi(a) = (l_{k+1} - a)(a - l_k) and

    psi(lambda) = max over a of phi(a) - lambda a^2,

a bucket of d numbers has sum phi(a_j) <= lambda sum a_j^2 + d psi(lambda) for every lambda, so that omega is at most

    min over lambda of lambda + d psi(lambda)               where sum a_j^2 = 1 (the norm |v|_2),
    the lambda with lambda = (d - 1) psi(lambda)            where max a_j = 1 (the norm |v|_inf): that number has no error.

The nearest level is farthest from a, against a itself, halfway between two levels m - h and m + h: for |v|_inf, rounding to it
is contractive, with 1 - alpha = max over intervals of (d - 1) h^2 / (1 + (d - 1) m^2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from paralift.kernels import quantize
from paralift.kernels.arrays import Array, to_host
from paralift.optim.checks import set_count
from paralift.optim.compression.compressor import Compressor, checked, flat, key, whole
from paralift.optim.compression.levels import Levels, alq

ROUNDINGS = ("random", "nearest")
SLACK = 2.0**-22
"""By which a scale is too large at most, relatively, because it is rounded up to float32; the bounds allow for it."""


@dataclass(frozen=True)
class Quantizer(Compressor):
    """Numbers rounded to levels times the norm of their bucket.

    Parameters
    ----------
    levels : tuple of float
        From 0 to 1, increasing: `qsgd(s)`, `nuqsgd(s)`, `e3m0()`, `alq(...)`.
    bits : {2, 4, 8}, optional
        Of a number, its sign inside; the fewest that have as many levels by default.
    bucket : int
        Numbers that share a scale; a multiple of four. Short buckets have small errors, and cost 32 bits each.
    norm : {"l2", "max"}
        The scale: the length of a bucket, or its largest magnitude.
    rounding : {"random", "nearest"}
        Random is unbiased. Nearest is not, but contractive; it needs the norm "max", without which it may round all to zero.

    Raises
    ------
    ValueError
        If the levels do not increase from 0 to 1 or are too many for the bits, or another parameter is out of range.
    """

    levels: Levels
    bits: int | None = None
    bucket: int = 512
    norm: str = "l2"
    rounding: str = "random"

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(float(x) for x in self.levels))
        steps = np.diff(self.levels)
        if len(self.levels) < 2 or self.levels[0] != 0 or self.levels[-1] != 1 or not (steps > 0).all():
            raise ValueError(f"Quantizer: levels = {self.levels} were given, expected increasing numbers from 0 to 1")
        if self.bits is None:
            object.__setattr__(self, "bits", next((b for b in quantize.BITS if 1 << (b - 1) >= len(self.levels)), 0))
        if self.bits not in quantize.BITS or 1 << (self.bits - 1) < len(self.levels):
            most = "bits = 2, 4 or 8 for at most 2, 8 or 128 levels"
            raise ValueError(f"Quantizer: bits = {self.bits} were given for {len(self.levels)} levels, expected {most}")
        set_count(self, "bucket", 4)
        if self.bucket % 4:
            raise ValueError(
                f"Quantizer: bucket = {self.bucket} was given, expected a multiple of 4: buckets begin with a byte"
            )
        if self.norm not in quantize.NORMS:
            raise ValueError(
                f"Quantizer: norm = {self.norm!r} was given, expected one of {', '.join(map(repr, quantize.NORMS))}"
            )
        if self.rounding not in ROUNDINGS:
            raise ValueError(
                f"Quantizer: rounding = {self.rounding!r} was given, expected one of {', '.join(map(repr, ROUNDINGS))}"
            )
        if self.rounding == "nearest" and self.norm != "max":
            raise ValueError(
                f"Quantizer: rounding to the nearest level was given with norm = {self.norm!r}, expected norm = 'max'"
            )

    @property
    def grid(self) -> quantize.Grid:
        """What kernels know of it."""
        assert self.bits is not None
        return quantize.Grid(self.levels, self.bits, self.bucket, self.norm)

    def bytes(self, size: int, dtype: Any = np.float32) -> int:
        """Return the length of a message: 4 bytes a bucket and `bits` a number, in whole words."""
        return whole(4 * self.grid.n_buckets(size) + self.grid.n_bytes(size))

    def write(self, v: Array, message: Array, step: int = 0, seed: int = 0) -> None:
        """Write scales and codes; the scale of a bucket with a NaN or an infinity is not finite."""
        v = flat(v, self)
        quantize.encode(v, self.grid, key(seed, step), *self._parts(message, v.size), self.rounding == "nearest")

    def add(self, message: Array, out: Array) -> None:
        """Add the numbers of a message to `out`."""
        out = flat(out, self)
        quantize.decode(*self._parts(message, out.size), self.grid, out, add=True)

    def decode(self, message: Array, out: Array) -> Array:
        """Overwrite `out` by the numbers of a message, and return it."""
        numbers = flat(out, self)
        quantize.decode(*self._parts(message, numbers.size), self.grid, numbers)
        return out

    def variance(self, v: Array) -> float:
        """Return the variance sum_j scale^2 (l_{k+1} - a_j)(a_j - l_k) = E |C(v) - v|^2, exactly; 0 for the nearest level."""
        v = flat(v, self)
        if self.rounding == "nearest":
            return 0.0
        return quantize.variance(v, self.grid, quantize.scales_formula(v, self.grid))

    def relative_variance(self, size: int) -> float | None:
        """Return omega, E |C(v) - v|^2 <= omega |v|^2 where scales are not below 1e-38; None for the nearest level."""
        if self.rounding == "nearest":
            return None
        return _omega(self.levels, min(size, self.bucket), self.norm)

    def contraction(self, size: int) -> float | None:
        """Return alpha with |C(v) - v|^2 <= (1 - alpha) |v|^2 for the nearest level; None for a random one."""
        if self.rounding == "random":
            return None
        ends, others = np.array(self.levels), min(size, self.bucket) - 1
        half, middle = 0.5 * np.diff(ends), 0.5 * (ends[1:] + ends[:-1])
        return 1.0 - float(((others * half**2 + SLACK**2) / ((1.0 + SLACK) ** -2 + others * middle**2)).max())

    def fitted(self, v: Array) -> Quantizer:
        """Return one with levels fitted to the magnitudes of `v`: no greater variance for it, and as many levels."""
        v = flat(v, self)
        scales = quantize.scales_formula(v, self.grid)
        a = to_host(quantize.places(v, self.grid, scales)[0])
        weights = np.repeat(to_host(scales).astype(np.float64), self.bucket)[: v.size] ** 2
        return replace(self, levels=alq(a, len(self.levels) - 1, self.levels, weights) if weights.any() else self.levels)

    def _parts(self, message: Array, size: int) -> tuple[Array, Array]:
        checked(message, self.bytes(size), self)
        buckets = 4 * self.grid.n_buckets(size)
        return message[:buckets].view(np.float32), message[buckets : buckets + self.grid.n_bytes(size)]


@lru_cache(maxsize=256)
def _omega(levels: Levels, size: int, norm: str) -> float:
    low, high = np.array(levels[:-1]), np.array(levels[1:])

    def psi(multiplier: float) -> float:
        """Return max over a of phi(a) - lambda a^2; concave on each interval, or greatest at an end."""
        inside = 0.5 * (low + high) / (1.0 + multiplier) if multiplier > -1.0 else high
        a = np.clip(inside, low, high)
        return float(((high - a) * (a - low) - multiplier * a * a).max())

    more = (1.0 + SLACK) ** 2
    if norm == "max":
        top = more * ((size - 1) * psi(0.0) + SLACK)
        return float(brentq(lambda x: x - more * ((size - 1) * psi(x) + SLACK), 0.0, 1.01 * top))
    top = more * size * psi(0.0)  # the value at 0, so what is least does not lie beyond
    bounds, precise = (-1.0, max(top, 1.0)), {"xatol": 1e-10}
    return float(minimize_scalar(lambda x: x + more * size * psi(x), bounds=bounds, method="bounded", options=precise).fun)
