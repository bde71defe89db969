"""The axes of a sample in another order."""

from __future__ import annotations

from dataclasses import dataclass

from paralift.kernels.arrays import Array
from paralift.lifted.maps.base import Shape, ShapeError, expect_parents
from paralift.lifted.maps.regroup import Rearrange


@dataclass(frozen=True, init=False, repr=False)
class Permute(Rearrange):
    """Samples get their axes in another order: what was axis `axes[i]` becomes axis i, counted from 0 without the samples'.

    Parameters
    ----------
    *axes : int
        Each of 0, 1, ... once, one for each axis; ``Permute(1, 0)`` transposes.
    """

    axes: tuple[int, ...]

    def __init__(self, *axes: int) -> None:
        if not axes or any(type(a) is not int for a in axes) or sorted(axes) != list(range(len(axes))):
            raise ValueError(f"Permute{axes}: expected each of 0, 1, ..., once, one for each axis of a sample")
        object.__setattr__(self, "axes", axes)

    def __repr__(self) -> str:
        return f"Permute({', '.join(map(str, self.axes))})"

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the parent's sizes in the new order."""
        expect_parents(self, shapes, 1)
        if len(shapes[0]) != len(self.axes):
            raise ShapeError(f"{self!r} expects samples of {len(self.axes)} axes, its parent gives shape {shapes[0]}")
        return tuple(shapes[0][a] for a in self.axes)

    def _view(self, x: Array) -> Array:
        return x

    def _order(self, shape: Shape) -> tuple[int, ...]:
        return (0, *(a + 1 for a in self.axes))
