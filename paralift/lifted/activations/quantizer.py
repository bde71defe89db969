"""The quantiser: a staircase of levels, trained by differences without a surrogate gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NoReturn

import numpy as np

from paralift.kernels import quantizer as scalars
from paralift.kernels.arrays import Array, namespace
from paralift.kernels.scalars import Scalar
from paralift.lifted.activations.elementwise import Elementwise
from paralift.lifted.activations.formulas import clip, where


@dataclass(frozen=True, repr=False)
class Quantizer(Elementwise):
    """sigma(z) = the level nearest to z (the higher of two as near), gradient of max_k (q_k z - q_k^2/2).

    Psi is the indicator of the levels, which is not convex: sigma is monotone but not continuous. Sweeps learn through it by
    nudges that are about as wide as its steps, ``methods.nudged(relative=0.5)`` (docs/results.md, section 18).
    """

    levels: int | Sequence[float]
    """K >= 2 for as many levels at equal distances (2^n for n bits), or the increasing levels themselves."""
    high: float = 1.0
    """The highest of K levels."""
    signed: bool = False
    """Whether K levels begin at -high; they begin at 0 otherwise."""

    lipschitz: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        if not 0.0 < self.high < math.inf:
            raise ValueError(f"Quantizer: high = {self.high!r} was given, expected a finite number greater than 0")
        if isinstance(self.levels, int):
            if self.levels < 2:
                raise ValueError(f"Quantizer: levels = {self.levels} was given, expected at least 2")
            return
        if self.high != 1.0 or self.signed:
            raise ValueError("Quantizer: high and signed were given beside the levels themselves, which say all")
        levels = tuple(float(q) for q in self.levels)
        increasing = all(low < high for low, high in zip(levels[:-1], levels[1:], strict=True))
        if len(levels) < 2 or not increasing or not all(math.isfinite(q) for q in levels):
            raise ValueError(
                f"Quantizer: levels = {self.levels!r} was given, expected a number of levels "
                "or at least two finite levels in increasing order"
            )
        object.__setattr__(self, "levels", levels)

    def __repr__(self) -> str:
        more = "" if self.high == 1.0 else f", high={self.high!r}"  # sources of older runs do not have them
        return f"Quantizer(levels={self.levels!r}{more}{', signed=True' if self.signed else ''})"

    @property
    def scalar(self) -> Scalar:  # type: ignore[override]
        """Rounding for uniform levels, a table for others."""
        if not isinstance(self.levels, int):
            return scalars.TABLE
        return scalars.SIGNED if self.signed else scalars.UNIFORM

    @cached_property
    def a(self) -> Any:
        """The highest index of uniform levels, or the levels as an array."""
        return float(self.levels - 1) if isinstance(self.levels, int) else np.array(self.levels)

    @cached_property
    def b(self) -> Any:
        """The highest of uniform levels, else the points halfway between neighbours."""
        return float(self.high) if isinstance(self.levels, int) else 0.5 * (self.a[:-1] + self.a[1:])

    def sigma(self, z: Array) -> Array:
        """Return the nearest level."""
        xp = namespace(z)
        if isinstance(self.levels, int) and self.signed:
            y = clip(z / self.b, -1.0, 1.0)
            return (xp.floor((y + 1.0) * (0.5 * self.a) + 0.5) * 2.0 / self.a - 1.0) * self.b
        if isinstance(self.levels, int):
            return xp.floor(clip(z / self.b, 0.0, 1.0) * self.a + 0.5) / self.a * self.b
        x = where(z == z, self.levels[0], z)
        for middle, level in zip(self.b.tolist(), self.levels[1:], strict=True):
            x = where(z >= middle, level, x)
        return x

    def phi(self, z: Array) -> Array:
        """Return max_k (q_k z - q_k^2/2), summed over each row."""
        q = self.sigma(z)
        return namespace(z).sum(q * (z - 0.5 * q), axis=1)

    def psi(self, x: Array) -> Array:
        """Return 0 for each row of levels (to rounding), else inf."""
        xp = namespace(x)
        q = self.sigma(x)
        return xp.sum(where(xp.abs(x - q) > 1e-6 * (1.0 + xp.abs(q)), math.inf, xp.zeros_like(x)), axis=1)

    def prox(self, w: Array, lam: float) -> Array:
        """Return the nearest level."""
        return self.sigma(w)

    def derivative(self, z: Array, g: Array) -> NoReturn:
        """Raise TypeError: a staircase has no derivative to train with."""
        raise TypeError(
            f"{type(self).__name__} has no derivative: it is 0 almost everywhere; "
            'use the penalty "bregman" with a nudge, which takes differences, instead of backprop or "quadratic"'
        )

    def pull_back(
        self, z: Array, g: Array, column_sum: Array | None = None, accumulate: bool = False
    ) -> None:
        """Raise TypeError: a staircase has no derivative to train with."""
        self.derivative(z, g)


@dataclass(frozen=True, repr=False)
class Sign(Quantizer):
    """sigma(z) = 1 where z >= 0, else -1, gradient of |z| - 1/2: the quantiser of one bit."""

    levels: int | Sequence[float] = field(default=2, init=False)
    high: float = field(default=1.0, init=False)
    signed: bool = field(default=True, init=False)

    def __repr__(self) -> str:
        return "Sign()"
