"""Pooling: averages, which are linear, and the largest number of a window, which is a selection.

Max pooling keeps one number of each window and its adjoint puts the residual back where that number lay: which one it is
depends on x, and is read from the x of the forward pass, which adjoints are handed; nothing is kept between the two. As the
selection moves with x, the penalty of the block above is convex in x only while the same numbers are chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paralift.kernels import pooling
from paralift.kernels.arrays import Array, Work, namespace
from paralift.kernels.windows import Windows
from paralift.lifted.maps.base import Map, Shape, ShapeError, Theta, expect_parents
from paralift.lifted.maps.window import (
    Sizes,
    channelled,
    check_counts,
    check_padding,
    check_sizes,
    images,
    per_axis,
    windows_of,
)


@dataclass(frozen=True)
class BoxMap(Map):
    """A map that sums boxes of pixels with weights; a subclass says which (`_boxes`)."""

    axes: ClassVar[int] = 2

    def _boxes(self, shape: Shape) -> pooling.Boxes:
        """Return the boxes of an image of `shape` (height, width) or a series of `shape` (length,)."""
        raise NotImplementedError

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Write the sums over boxes into `out`."""
        self.bound_apply(theta, xs, out)()

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Spread `r` over the boxes of `out`."""
        self.bound_adjoint(theta, xs, r, parent, out)()

    def bound_apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> Work:
        """Return the sums over boxes, bound to their arrays."""
        return pooling.bound_sum(images(xs[0]), images(out), self._boxes(xs[0].shape[1:-1]))

    def bound_adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> Work:
        """Return the transpose, bound to its arrays."""
        return pooling.bound_spread(images(r), images(out), self._boxes(out.shape[1:-1]))

    def cost(self, *shapes: Shape) -> float:
        """Two operations for each pixel."""
        return 2.0 * math.prod(shapes[0])


@dataclass(frozen=True)
class AveragePool2d(BoxMap):
    """Mean of each window of an image, zeros of the padding included.

    Parameters
    ----------
    kernel : int or pair
        Height and width of a window.
    stride : int or pair, optional
        From window to window; by default the kernel.
    padding : int, pair or "same"
        See `Conv2d`.
    """

    kernel: Sizes
    stride: Sizes | None = None
    padding: Sizes | str = 0

    def __post_init__(self) -> None:
        check_sizes(self, self.axes, "kernel", *(() if self.stride is None else ("stride",)))
        check_padding(self, self.axes, self.padding)

    def _windows(self, shape: Shape) -> Windows:
        stride = self.kernel if self.stride is None else self.stride
        return windows_of(self, shape, self.kernel, stride, self.padding)

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the number of windows along each axis, and the parent's channels."""
        return (*self._windows(channelled(self, shapes, self.axes)).output[2 - self.axes :], shapes[0][-1])

    def _boxes(self, shape: Shape) -> pooling.Boxes:
        windows = self._windows(shape)
        spans, weights = [], []
        for n, k, s, b, outputs in zip(
            windows.size, windows.kernel, windows.stride, windows.before, windows.output, strict=True
        ):
            starts = np.arange(outputs) * s - b
            spans.append(np.stack([np.clip(starts, 0, n), np.clip(starts + k, 0, n)], axis=1))
            weights.append(np.full(outputs, 1.0 / k))
        return pooling.Boxes(*spans, *weights)

    def norm(self, theta: Theta, parent: int) -> float | None:
        """Return 1/sqrt(numbers of a window) where windows touch, or leave gaps, without padding."""
        kernel = per_axis(self.kernel, self.axes)
        stride = kernel if self.stride is None else per_axis(self.stride, self.axes)
        apart = all(s >= k for s, k in zip(stride, kernel, strict=True))
        return math.prod(kernel) ** -0.5 if apart and per_axis(0, self.axes) == _zeros(self.padding, self.axes) else None


def _zeros(padding: Sizes | str, axes: int) -> tuple[int, ...] | None:
    return None if isinstance(padding, str) else per_axis(padding, axes)


@dataclass(frozen=True)
class AveragePool1d(AveragePool2d):
    """Mean of each window of a series; arguments as those of `AveragePool2d`, with numbers for pairs."""

    axes: ClassVar[int] = 1


@dataclass(frozen=True)
class AdaptiveAveragePool2d(BoxMap):
    """Means of as many boxes as are asked for: box i of n goes from floor(i size / n) to ceil((i + 1) size / n).

    Parameters
    ----------
    output : int or pair
        Boxes along each axis.
    """

    output: Sizes

    def __post_init__(self) -> None:
        check_sizes(self, self.axes, "output")

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the numbers of boxes, and the parent's channels."""
        shape = channelled(self, shapes, self.axes)
        output = per_axis(self.output, self.axes)
        if any(n < boxes for n, boxes in zip(shape, output, strict=True)):
            raise ShapeError(f"{self!r}: samples of size {shape} have fewer positions than boxes")
        return (*output, shapes[0][-1])

    def _boxes(self, shape: Shape) -> pooling.Boxes:
        sizes, outputs = ((1,) * (2 - self.axes) + tuple(n) for n in (shape, per_axis(self.output, self.axes)))
        spans = [np.array([(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]) for n, m in zip(sizes, outputs, strict=True)]
        return pooling.Boxes(*spans, *(1.0 / (s[:, 1] - s[:, 0]) for s in spans))


@dataclass(frozen=True)
class AdaptiveAveragePool1d(AdaptiveAveragePool2d):
    """Means of as many boxes of a series as are asked for; see `AdaptiveAveragePool2d`."""

    axes: ClassVar[int] = 1


@dataclass(frozen=True)
class GlobalAverage(BoxMap):
    """Mean of each channel over all positions: samples (..., channels) become vectors (channels,)."""

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the number of channels."""
        expect_parents(self, shapes, 1)
        if len(shapes[0]) < 2:
            raise ShapeError(f"{self!r} expects samples of shape (..., channels), its parent gives shape {shapes[0]}")
        return shapes[0][-1:]

    def bound_apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> Work:
        """Return the mean over positions, bound to its arrays."""
        x = _line(xs[0])
        return pooling.bound_sum(x, _line(out), self._boxes(x.shape[1:-1]))

    def bound_adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> Work:
        """Return the transpose, bound to its arrays."""
        x = _line(out)
        return pooling.bound_spread(_line(r), x, self._boxes(x.shape[1:-1]))

    def _boxes(self, shape: Shape) -> pooling.Boxes:
        return pooling.Boxes(np.array([[0, 1]]), np.array([[0, shape[1]]]), np.ones(1), np.full(1, 1.0 / shape[1]))


def _line(x: Array) -> Array:
    """Return samples as images of one line that holds all positions."""
    return namespace(x).reshape(x, (x.shape[0], 1, math.prod(x.shape[1:-1]), x.shape[-1]))


@dataclass(frozen=True)
class Upsample(BoxMap):
    """Every pixel (or entry of a series) becomes a box of `factor` x `factor` equal ones.

    Parameters
    ----------
    factor : int
        At least 1.
    """

    factor: int

    def __post_init__(self) -> None:
        check_counts(self, "factor")

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the parent's shape, its axes but the last times the factor."""
        expect_parents(self, shapes, 1)
        if len(shapes[0]) not in (2, 3):
            raise ShapeError(
                f"{self!r} expects samples of shape (height, width, channels) or (length, channels), "
                f"its parent gives shape {shapes[0]}"
            )
        return (*(self.factor * n for n in shapes[0][:-1]), shapes[0][-1])

    def bound_apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> Work:
        """Return the enlargement, the transpose of sums over boxes, bound to its arrays."""
        return pooling.bound_spread(images(xs[0]), images(out), self._boxes(xs[0].shape[1:-1]))

    def bound_adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> Work:
        """Return the sums over boxes, bound to their arrays."""
        return pooling.bound_sum(images(r), images(out), self._boxes(out.shape[1:-1]))

    def _boxes(self, shape: Shape) -> pooling.Boxes:
        factors = [self.factor] * len(shape)
        sizes = [1, *shape] if len(shape) == 1 else list(shape)
        factors = [1, *factors] if len(shape) == 1 else factors
        spans = [np.arange(n)[:, None] * f + np.array([[0, f]]) for n, f in zip(sizes, factors, strict=True)]
        return pooling.Boxes(*spans, *(np.ones(n) for n in sizes))


@dataclass(frozen=True)
class MaxPool2d(Map):
    """Largest number of each window and channel: a selection, the first of equal numbers.

    Parameters
    ----------
    kernel, stride, padding
        As for `AveragePool2d`; positions of the padding are never chosen.
    """

    kernel: Sizes
    stride: Sizes | None = None
    padding: Sizes | str = 0

    axes: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_sizes(self, self.axes, "kernel", *(() if self.stride is None else ("stride",)))
        check_padding(self, self.axes, self.padding)
        kernel = per_axis(self.kernel, self.axes)
        padding = _zeros(self.padding, self.axes) or per_axis(0, self.axes)
        if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
            raise ValueError(f"{self!r}: padding of more than half a window, which windows could see alone")

    def _windows(self, shape: Shape) -> Windows:
        stride = self.kernel if self.stride is None else self.stride
        return windows_of(self, shape, self.kernel, stride, self.padding)

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the number of windows along each axis, and the parent's channels."""
        return (*self._windows(channelled(self, shapes, self.axes)).output[2 - self.axes :], shapes[0][-1])

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Write the largest numbers into `out`."""
        self.bound_apply(theta, xs, out)()

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Put `r` into `out` where the largest numbers of the parent lie."""
        self.bound_adjoint(theta, xs, r, parent, out)()

    def bound_apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> Work:
        """Return the selection, bound to its arrays."""
        return pooling.bound_max(images(xs[0]), images(out), self._windows(xs[0].shape[1:-1]))

    def bound_adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> Work:
        """Return the transpose of the selection that the parent's values make, bound to its arrays."""
        windows = self._windows(out.shape[1:-1])
        return pooling.bound_max_transpose(images(xs[0]), images(r), images(out), windows)

    def norm(self, theta: Theta, parent: int) -> float:
        """Return the square root of how many windows may choose one number: a bound for every selection."""
        kernel = per_axis(self.kernel, self.axes)
        stride = kernel if self.stride is None else per_axis(self.stride, self.axes)
        return math.prod(-(-k // s) for k, s in zip(kernel, stride, strict=True)) ** 0.5

    def cost(self, *shapes: Shape) -> float:
        """One operation for each number of each window."""
        return math.prod(per_axis(self.kernel, self.axes)) * float(math.prod(self.output_shape(*shapes)))


@dataclass(frozen=True)
class MaxPool1d(MaxPool2d):
    """Largest number of each window of a series; arguments as those of `MaxPool2d`, with numbers for pairs."""

    axes: ClassVar[int] = 1
