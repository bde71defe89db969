"""Maps with several parents: sum and concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paralift.kernels.arrays import Array
from paralift.lifted.maps.base import Map, Shape, ShapeError, Theta


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


def add(a: Array, b: Array, out: Array) -> None:
    """Write a + b into `out`, without a temporary where the library can."""
    if isinstance(out, np.ndarray):
        np.add(a, b, out=out)
    else:
        out[...] = a + b
