"""Maps that only change the shape of a sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from paralift.kernels.arrays import Array, namespace
from paralift.lifted.maps.base import Map, Shape, ShapeError, Theta, expect_parents


@dataclass(frozen=True)
class Keep(Map):
    """z = x: the map of an activation that follows another activation directly."""

    passes_through: ClassVar[bool] = True

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the parent's shape."""
        expect_parents(self, shapes, 1)
        return shapes[0]

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Copy x into `out`."""
        out[...] = namespace(out).reshape(xs[0], out.shape)

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Copy r into `out`."""
        out[...] = namespace(out).reshape(r, out.shape)

    def norm(self, theta: Theta, parent: int) -> float:
        """Return 1."""
        return 1.0

    def cost(self, *shapes: Shape) -> float:
        """Return 0: a copy is counted with the bytes, not with the operations."""
        return 0.0


@dataclass(frozen=True)
class Reshape(Keep):
    """Samples get another shape with as many entries.

    Parameters
    ----------
    *shape : int
        The new shape of a sample; one entry may be -1.
    """

    shape: tuple[int, ...]
    passes_through: ClassVar[bool] = False

    def __init__(self, *shape: int) -> None:
        if not shape or sum(n == -1 for n in shape) > 1 or any(not isinstance(n, int) or n < -1 for n in shape):
            raise ValueError(f"Reshape{shape}: expected integers of which at most one is -1")
        object.__setattr__(self, "shape", shape)

    def __repr__(self) -> str:
        return f"Reshape({', '.join(map(str, self.shape))})"

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the new shape."""
        expect_parents(self, shapes, 1)
        entries, known = math.prod(shapes[0]), math.prod(n for n in self.shape if n != -1)
        if -1 in self.shape and known and entries % known == 0:
            known = entries
        if known != entries:
            raise ShapeError(f"{self!r} cannot hold samples of shape {shapes[0]}")
        return tuple(entries // math.prod(n for n in self.shape if n != -1) if n == -1 else n for n in self.shape)


@dataclass(frozen=True)
class Flatten(Keep):
    """Samples become vectors."""

    passes_through: ClassVar[bool] = False

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the number of entries of a sample."""
        expect_parents(self, shapes, 1)
        return (math.prod(shapes[0]),)
