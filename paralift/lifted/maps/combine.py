"""Maps with several parents: sums and concatenation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paralift.kernels import columns
from paralift.kernels.arrays import Array
from paralift.lifted.maps.affine import rows
from paralift.lifted.maps.base import Map, Shape, ShapeError, Theta, expect_parents


@dataclass(frozen=True)
class Add(Map):
    """z = sum of the parents, which have one shape."""

    passes_through: ClassVar[bool] = True

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the common shape."""
        if len(shapes) < 2 or any(s != shapes[0] for s in shapes):
            raise ShapeError(f"Add() expects two or more parents of one shape, given {', '.join(map(str, shapes))}")
        return shapes[0]

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Write the sum of `xs` into `out`."""
        add(xs[0], xs[1], out)
        for x in xs[2:]:
            add(out, x, out)

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Copy r into `out`."""
        out[...] = r

    def norm(self, theta: Theta, parent: int) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True)
class Concatenate(Map):
    """z = the parents side by side on the last axis."""

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the common leading shape with the sum of the last axes."""
        if len(shapes) < 2 or any(not s or s[:-1] != shapes[0][:-1] for s in shapes):
            raise ShapeError(
                f"Concatenate() expects two or more parents that differ at most in their last axis, "
                f"given {', '.join(map(str, shapes))}"
            )
        return (*shapes[0][:-1], sum(s[-1] for s in shapes))

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Write `xs` side by side into `out`."""
        start = 0
        for x in xs:
            out[..., start : start + x.shape[-1]] = x
            start += x.shape[-1]

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Copy the parent's columns of r into `out`."""
        start = sum(x.shape[-1] for x in xs[:parent])
        out[...] = r[..., start : start + out.shape[-1]]

    def norm(self, theta: Theta, parent: int) -> float:
        """Return 1."""
        return 1.0


@dataclass(frozen=True)
class Combine(Map):
    """z = the sum of the parents, which have one shape, with fixed weights; a single one is scaled.

    Parameters
    ----------
    *weights : float
        One for each parent.
    """

    weights: tuple[float, ...]

    def __init__(self, *weights: float) -> None:
        numbers = (isinstance(w, int | float) and not isinstance(w, bool) and math.isfinite(w) for w in weights)
        if not weights or not all(numbers):
            raise ValueError(f"Combine{weights!r}: expected finite numbers, one for each parent")
        object.__setattr__(self, "weights", tuple(map(float, weights)))

    def __repr__(self) -> str:
        return f"Combine({', '.join(map(repr, self.weights))})"

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the common shape."""
        expect_parents(self, shapes, len(self.weights))
        if any(s != shapes[0] for s in shapes):
            raise ShapeError(f"{self!r} expects parents of one shape, given {', '.join(map(str, shapes))}")
        return shapes[0]

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Write the weighted sum of `xs` into `out`."""
        scaled(xs[0], self.weights[0], out)
        for x, weight in zip(xs[1:], self.weights[1:], strict=True):
            add_scaled(x, weight, out)

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Write the parent's weight times r into `out`."""
        scaled(r, self.weights[parent], out)

    def norm(self, theta: Theta, parent: int) -> float:
        """Return the modulus of the parent's weight."""
        return abs(self.weights[parent])


def scaled(a: Array, weight: float, out: Array) -> None:
    """Write weight a into `out`."""
    if isinstance(out, np.ndarray):
        np.multiply(a, out.dtype.type(weight), out=out)
    else:
        out[...] = weight * a


def add_scaled(a: Array, weight: float, out: Array) -> None:
    """Add weight a to `out`, without a temporary where the library can."""
    if not isinstance(out, np.ndarray):
        out[...] = out + weight * a
    elif weight == 1.0:
        np.add(out, a, out=out)
    elif weight == -1.0:
        np.subtract(out, a, out=out)
    else:
        columns.add_scaled(rows(a), out.dtype.type(weight), rows(out))


def add(a: Array, b: Array, out: Array) -> None:
    """Write a + b into `out`, without a temporary where the library can."""
    if isinstance(out, np.ndarray):
        np.add(a, b, out=out)
    else:
        out[...] = a + b
