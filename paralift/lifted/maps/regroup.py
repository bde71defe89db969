"""Maps that bring what an activation of rows couples into the last axis: the numbers of a window, or of a group of channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from paralift.kernels.arrays import Array, namespace
from paralift.lifted.maps.base import Map, Shape, ShapeError, Theta, expect_parents
from paralift.lifted.maps.window import Sizes, check_counts, check_sizes, per_axis


@dataclass(frozen=True)
class Rearrange(Map):
    """A map that only moves numbers: `apply` copies view to view, and `adjoint` copies back."""

    def _view(self, x: Array) -> Array:
        """Return the parent's array (n, *shape), without what is left out, as a view of more axes."""
        raise NotImplementedError

    def _order(self, shape: Shape) -> tuple[int, ...]:
        """Return the order in which z has the axes of that view."""
        raise NotImplementedError

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Copy the numbers in their new order into `out`."""
        moved = _transposed(self._view(xs[0]), self._order(xs[0].shape[1:]))
        namespace(out).reshape(out, tuple(moved.shape))[...] = moved

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Copy them back; what was left out gets zeros."""
        out[...] = 0.0
        moved = _transposed(self._view(out), self._order(out.shape[1:]))
        moved[...] = namespace(r).reshape(r, tuple(moved.shape))

    def norm(self, theta: Theta, parent: int) -> float:
        """Return 1."""
        return 1.0

    def cost(self, *shapes: Shape) -> float:
        """Return 0: a copy is counted with the bytes, not with the operations."""
        return 0.0


def _transposed(x: Array, order: tuple[int, ...]) -> Array:
    xp = namespace(x)
    return xp.permute_dims(x, order) if hasattr(xp, "permute_dims") else xp.transpose(x, order)


@dataclass(frozen=True)
class ToWindows(Rearrange):
    """Images (height, width, channels) or series become (windows..., channels, numbers of a window).

    Parameters
    ----------
    kernel : int or tuple of int
        Size of a window; windows lie side by side, and lines that do not fill one are left out.
    """

    kernel: Sizes

    def __post_init__(self) -> None:
        check_sizes(self, len(self.kernel) if isinstance(self.kernel, tuple) else 1, "kernel")

    def _sizes(self, shape: Shape) -> list[tuple[int, int]]:
        """Return windows and kernel along each axis."""
        kernel = per_axis(self.kernel, len(shape) - 1)
        return [(n // k, k) for n, k in zip(shape, kernel, strict=False)]

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the windows along each axis, the channels, and the numbers of a window."""
        expect_parents(self, shapes, 1)
        axes = (len(self.kernel) + 1,) if isinstance(self.kernel, tuple) else (2, 3)
        sizes = self._sizes(shapes[0])
        if len(shapes[0]) not in axes or min(n for n, _ in sizes) < 1:
            raise ShapeError(f"{self!r} expects images or series with room for a window, its parent gives shape {shapes[0]}")
        return (*(n for n, _ in sizes), shapes[0][-1], math.prod(k for _, k in sizes))

    def _view(self, x: Array) -> Array:
        sizes = self._sizes(x.shape[1:])
        for axis, (n, k) in enumerate(sizes):
            x = x[(slice(None), *(slice(None),) * axis, slice(0, n * k), ...)]
        return _split(x, sizes)

    def _order(self, shape: Shape) -> tuple[int, ...]:
        axes = len(shape) - 1
        return (0, *range(1, 2 * axes, 2), 2 * axes + 1, *range(2, 2 * axes + 1, 2))


def _split(x: Array, sizes: Sequence[tuple[int, int]]) -> Array:
    """Return `x` with each axis as windows and places in them: a view, also of an array of which lines were left out."""
    return namespace(x).reshape(x, (x.shape[0], *(n for pair in sizes for n in pair), x.shape[-1]))


@dataclass(frozen=True)
class SumWindows(Map):
    """Sum over the last axis, the numbers of a window."""

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the parent's shape without its last axis."""
        expect_parents(self, shapes, 1)
        if len(shapes[0]) < 2:
            raise ShapeError(f"{self!r} expects samples of two axes or more, its parent gives shape {shapes[0]}")
        return shapes[0][:-1]

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Write the sums into `out`."""
        out[...] = xs[0][..., 0]
        for k in range(1, xs[0].shape[-1]):
            out += xs[0][..., k]

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Copy r to every number of its window."""
        out[...] = r[..., None]


@dataclass(frozen=True)
class ToGroups(Rearrange):
    """Samples (..., channels) become (groups, numbers of a group): consecutive channels at all positions.

    Parameters
    ----------
    groups : int
        It divides the channels.
    """

    groups: int

    def __post_init__(self) -> None:
        check_counts(self, "groups")

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return (groups, numbers of a group)."""
        expect_parents(self, shapes, 1)
        if not shapes[0] or shapes[0][-1] % self.groups:
            raise ShapeError(f"{self!r}: {self.groups} groups do not divide the channels of samples of shape {shapes[0]}")
        return (self.groups, math.prod(shapes[0]) // self.groups)

    def _view(self, x: Array) -> Array:
        return namespace(x).reshape(x, (x.shape[0], math.prod(x.shape[1:-1]), self.groups, x.shape[-1] // self.groups))

    def _order(self, shape: Shape) -> tuple[int, ...]:
        return (0, 2, 1, 3)


@dataclass(frozen=True)
class FromGroups(Rearrange):
    """The way back from `ToGroups`: samples (groups, numbers of a group) get the shape they had.

    Parameters
    ----------
    shape : tuple of int
        That shape.
    """

    shape: tuple[int, ...]

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return `shape`."""
        expect_parents(self, shapes, 1)
        if len(shapes[0]) != 2 or math.prod(shapes[0]) != math.prod(self.shape) or self.shape[-1] % shapes[0][0]:
            raise ShapeError(f"{self!r} cannot be made of samples of shape {shapes[0]}")
        return self.shape

    def _view(self, x: Array) -> Array:
        return namespace(x).reshape(x, (*x.shape[:2], math.prod(self.shape[:-1]), -1))

    def _order(self, shape: Shape) -> tuple[int, ...]:
        return (0, 2, 1, 3)
