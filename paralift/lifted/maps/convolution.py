"""Convolutions and their transposes on images and series whose channels are the last axis.

With channels last, what acts on the last axis acts on channels at every position: offsets, batch normalisation, softmax.
A series is an image of one line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paralift.kernels import patches
from paralift.kernels.arrays import Array, Work, namespace, to_host
from paralift.kernels.windows import Windows
from paralift.lifted.maps.base import Map, Shape, Theta
from paralift.lifted.maps.window import (
    channelled,
    check_counts,
    check_padding,
    check_sizes,
    images,
    per_axis,
    too_small,
    window_counts,
    windows_of,
)


@dataclass(frozen=True)
class Convolution(Map):
    """What convolutions and their transposes share; `axes` is 1 for series and 2 for images."""

    in_channels: int
    out_channels: int
    kernel: int | tuple[int, ...]
    stride: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] | str = 0
    dilation: int | tuple[int, ...] = 1
    groups: int = 1
    bias: bool = True

    axes: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_counts(self, "in_channels", "out_channels", "groups")
        check_sizes(self, self.axes, "kernel", "stride", "dilation")
        check_padding(self, self.axes, self.padding)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"{self!r}: {self.groups} groups do not divide {self.in_channels} channels into {self.out_channels}"
            )

    @property
    def offset(self) -> str | None:  # type: ignore[override]
        """Name of the offset's parameter."""
        return "bias" if self.bias else None

    def _kernel(self) -> Shape:
        return per_axis(self.kernel, self.axes)

    def _windows(self, shape: Shape) -> Windows:
        """Return the windows of an image of `shape` (height, width), checked."""
        return windows_of(self, shape, self.kernel, self.stride, self.padding, self.dilation)

    def parameters(self) -> dict[str, Shape]:
        """Return the shapes of `weight`, (*kernel, channels of a group, outputs), and, if there is one, `bias`."""
        shapes: dict[str, Shape] = {"weight": (*self._kernel(), self.in_channels // self.groups, self.out_channels)}
        return {**shapes, "bias": (self.out_channels,)} if self.bias else shapes

    def init(self, rng: np.random.Generator, gain: float) -> dict[str, np.ndarray]:
        """Return normal weights of variance gain / fan-in (He et al. 2015 for gain = 2), and a zero offset."""
        shape = self.parameters()["weight"]
        weight = rng.standard_normal(shape) * np.sqrt(gain / self._fan_in())
        return {"weight": weight, "bias": np.zeros(self.out_channels)} if self.bias else {"weight": weight}

    def _fan_in(self) -> float:
        return float(math.prod(self._kernel()) * self.in_channels // self.groups)

    def _weight(self, weight: Array) -> Array:
        """Return the weight of an image's convolution: that of a series gets a kernel of one line."""
        return weight if self.axes == 2 else namespace(weight).reshape(weight, (1, *weight.shape))

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Write the product into `out`."""
        self.bound_apply(theta, xs, out)()

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Write the pull of `r` into `out`."""
        self.bound_adjoint(theta, xs, r, parent, out)()

    def gradient(self, xs: Sequence[Array], r: Array, out: Theta) -> None:
        """Write what `r` pulls on the weight into ``out["weight"]``."""
        self.bound_gradient(xs, r, out)()


@dataclass(frozen=True)
class Conv2d(Convolution):
    """Convolution of images, samples of shape (height, width, channels).

    Parameters
    ----------
    in_channels, out_channels : int
        Sizes of the last axis; `weight` has shape (*kernel, in_channels / groups, out_channels), `bias` (out_channels,).
    kernel : int or pair
        Height and width of a window.
    stride : int or pair
        From window to window.
    padding : int, pair or "same"
        Zeros on each side; with "same" the output has ceil(size / stride) positions.
    dilation : int or pair
        From entry to entry within a window.
    groups : int
        Consecutive outputs of one group see the consecutive channels of the same group; it divides both.
    bias : bool
        Whether there is an offset for each output channel.
    """

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return (height, width, out_channels); ShapeError names what does not fit."""
        shape = channelled(self, shapes, self.axes, self.in_channels)
        return (*self._windows(shape).output[2 - self.axes :], self.out_channels)

    def bound_apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> Work:
        """Return the convolution, bound to its arrays."""
        windows = self._windows(xs[0].shape[1:-1])
        return patches.bound_product(images(xs[0]), self._weight(theta["weight"]), images(out), windows, self.groups)

    def bound_adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> Work:
        """Return the transposed convolution, bound to its arrays."""
        windows = self._windows(out.shape[1:-1])
        return patches.bound_transpose(images(r), self._weight(theta["weight"]), images(out), windows, self.groups)

    def bound_gradient(self, xs: Sequence[Array], r: Array, out: Theta) -> Work:
        """Return the sum of windows times residuals, bound to its arrays."""
        windows = self._windows(xs[0].shape[1:-1])
        return patches.bound_gradient(images(xs[0]), images(r), self._weight(out["weight"]), windows, self.groups)

    def curvature(self, xs: Sequence[Array]) -> np.ndarray:
        """Return the sum of |window|^2 (and 1 for the offset) over the positions, shape (1,)."""
        x = images(xs[0])
        windows = self._windows(xs[0].shape[1:-1])
        squares = to_host(namespace(x).sum(x * x, axis=(0, 3))).astype(np.float64)
        positions = float(math.prod(windows.output) * x.shape[0])
        return np.array([np.vdot(squares, window_counts(windows)) + self.bias * positions])

    def cost(self, *shapes: Shape) -> float:
        """Two operations for each entry of the weight and each position."""
        return 2.0 * self._fan_in() * float(math.prod(self.output_shape(*shapes)))


@dataclass(frozen=True)
class Conv1d(Conv2d):
    """Convolution of series, samples of shape (length, channels); arguments as those of `Conv2d`, with numbers for pairs."""

    axes: ClassVar[int] = 1


@dataclass(frozen=True)
class ConvTranspose2d(Convolution):
    """The transpose of a convolution of images: each position spreads its numbers over a window, windows are summed.

    Parameters
    ----------
    in_channels, out_channels, kernel, stride, dilation, groups, bias
        As for `Conv2d`; `weight` has shape (*kernel, out_channels / groups, in_channels): that of the convolution from
        out_channels to in_channels whose transpose this is.
    padding : int, pair or "same"
        Lines left out on each side; the output has (n - 1) stride + dilation (kernel - 1) + 1 - 2 padding positions, with
        "same" n stride.
    """

    def parameters(self) -> dict[str, Shape]:
        """Return the shapes of `weight` and, if there is one, `bias`."""
        shapes: dict[str, Shape] = {"weight": (*self._kernel(), self.out_channels // self.groups, self.in_channels)}
        return {**shapes, "bias": (self.out_channels,)} if self.bias else shapes

    def _fan_in(self) -> float:
        """Return how many numbers meet in one of the output, on the average."""
        entries = math.prod(self._kernel()) * self.in_channels / self.groups
        return max(1.0, entries / math.prod(per_axis(self.stride, self.axes)))

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return (height, width, out_channels)."""
        shape = channelled(self, shapes, self.axes, self.in_channels)
        return (*self._spread(shape), self.out_channels)

    def _spread(self, shape: Shape) -> Shape:
        """Return the size of the output for inputs of `shape`."""
        kernel, stride, dilation = (per_axis(n, self.axes) for n in (self.kernel, self.stride, self.dilation))
        if self.padding == "same":
            return tuple(n * s for n, s in zip(shape, stride, strict=True))
        padding = per_axis(self.padding, self.axes)  # type: ignore[arg-type]
        sizes = tuple(
            (n - 1) * s + d * (k - 1) + 1 - 2 * p
            for n, s, d, k, p in zip(shape, stride, dilation, kernel, padding, strict=True)
        )
        if min(sizes) < 1:
            raise too_small(self, shape)
        return sizes

    def bound_apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> Work:
        """Return the transposed convolution, bound to its arrays."""
        windows = self._windows(out.shape[1:-1])
        return patches.bound_transpose(images(xs[0]), self._weight(theta["weight"]), images(out), windows, self.groups)

    def bound_adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> Work:
        """Return the convolution, bound to its arrays."""
        windows = self._windows(r.shape[1:-1])
        return patches.bound_product(images(r), self._weight(theta["weight"]), images(out), windows, self.groups)

    def bound_gradient(self, xs: Sequence[Array], r: Array, out: Theta) -> Work:
        """Return the sum of windows of residuals times inputs, bound to its arrays."""
        windows = self._windows(r.shape[1:-1])
        return patches.bound_gradient(images(r), images(xs[0]), self._weight(out["weight"]), windows, self.groups)

    def curvature(self, xs: Sequence[Array]) -> np.ndarray:
        """Return the sum of |x|^2 times the entries of a window (and the offset's positions), shape (1,)."""
        x = images(xs[0])
        entries = math.prod(self._kernel())
        positions = math.prod(self._spread(xs[0].shape[1:-1])) * x.shape[0]
        return np.array([float(namespace(x).sum(x * x)) * entries + self.bias * positions])

    def cost(self, *shapes: Shape) -> float:
        """Two operations for each entry of the weight and each position of the input."""
        entries = math.prod(self.parameters()["weight"]) / self.groups
        return 2.0 * entries * float(math.prod(shapes[0][:-1]))


@dataclass(frozen=True)
class ConvTranspose1d(ConvTranspose2d):
    """The transpose of a convolution of series; arguments as those of `ConvTranspose2d`, with numbers for pairs."""

    axes: ClassVar[int] = 1
