"""What convolutions and poolings share: checked arguments, the windows of an image, series as images of one line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paralift.kernels.arrays import Array, namespace
from paralift.kernels.windows import Windows
from paralift.lifted.maps.base import Map, Shape, ShapeError, expect_parents

PER_AXIS = {1: "an integer", 2: "an integer or a pair of them"}
AXES = {1: "(length, channels)", 2: "(height, width, channels)"}

Sizes = int | tuple[int, ...]


def check_counts(map_: Map, *names: str) -> None:
    """Raise ValueError unless the arguments of these names are integers of at least 1."""
    for name in names:
        value = getattr(map_, name)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{type(map_).__name__}: {name} is {value!r}, expected an integer of at least 1")


def check_sizes(map_: Map, axes: int, *names: str) -> None:
    """Raise ValueError unless the arguments are integers of at least 1, or tuples of one for each axis."""
    for name in names:
        _check(map_, axes, name, getattr(map_, name), 1)


def check_padding(map_: Map, axes: int, padding: Sizes | str) -> None:
    """Raise ValueError unless `padding` is "same", an integer of at least 0 or a tuple of one for each axis."""
    if padding != "same":
        _check(map_, axes, "padding", padding, 0, ', or "same"')


def _check(map_: Map, axes: int, name: str, value: object, least: int, more: str = "") -> None:
    numbers = value if isinstance(value, tuple) and len(value) == axes else (value,)
    if any(not isinstance(n, int) or isinstance(n, bool) or n < least for n in numbers):
        raise ValueError(
            f"{type(map_).__name__}: {name} is {value!r}, expected {PER_AXIS[axes]} of at least {least}{more}"
        )


def per_axis(value: Sizes, axes: int) -> tuple[int, ...]:
    """Return a number for each axis."""
    return value if isinstance(value, tuple) else (value,) * axes


def channelled(map_: Map, shapes: Sequence[Shape], axes: int, channels: int | None = None) -> Shape:
    """Return the parent's shape without its channels; raise ShapeError unless it has `axes` axes and `channels`."""
    expect_parents(map_, shapes, 1)
    shape = shapes[0]
    if len(shape) != axes + 1 or channels not in (None, shape[-1]):
        wanted = AXES[axes] if channels is None else AXES[axes].replace("channels", f"{channels} channels")
        way = "; Reshape(height, width, channels) makes images of vectors" if len(shape) == 1 else ""
        raise ShapeError(f"{map_!r} expects samples of shape {wanted}, its parent gives shape {shape}{way}")
    return shape[:-1]


def windows_of(
    map_: Map, shape: Shape, kernel: Sizes, stride: Sizes, padding: Sizes | str, dilation: Sizes = 1
) -> Windows:
    """Return the windows of an image of `shape` (height, width), or of a series of `shape` (length,).

    Raises
    ------
    ShapeError
        If not one window fits.
    """
    axes = len(shape)
    numbers = [
        _along(n, k, s, d, None if padding == "same" else p)
        for n, k, s, d, p in zip(
            shape,
            per_axis(kernel, axes),
            per_axis(stride, axes),
            per_axis(dilation, axes),
            per_axis(0 if isinstance(padding, str) else padding, axes),
            strict=True,
        )
    ]
    if min(n[-1] for n in numbers) < 1:
        raise too_small(map_, shape)
    if axes == 1:
        numbers.insert(0, (1, 1, 1, 1, 0, 1))
    return Windows(*((a, b) for a, b in zip(*numbers, strict=True)))


def _along(size: int, kernel: int, stride: int, dilation: int, padding: int | None) -> tuple[int, ...]:
    """Return size, kernel, stride, dilation, zeros before, and positions along one axis; no padding means "same"."""
    reach = dilation * (kernel - 1) + 1
    if padding is not None:
        return size, kernel, stride, dilation, padding, (size + 2 * padding - reach) // stride + 1
    positions = -(-size // stride)
    return size, kernel, stride, dilation, max(0, (positions - 1) * stride + reach - size) // 2, positions


def too_small(map_: Map, shape: Shape) -> ShapeError:
    """Return the error that no window fits."""
    return ShapeError(f"{map_!r}: samples of size {shape} are too small, not one window fits; take more padding")


def images(x: Array) -> Array:
    """Return samples as images (n, height, width, channels): series (n, length, channels) are images of one line."""
    return x if x.ndim == 4 else namespace(x).reshape(x, (x.shape[0], 1, *x.shape[1:]))


def window_counts(windows: Windows) -> np.ndarray:
    """Return in how many windows each pixel lies, shape (height, width)."""
    counts = np.zeros(windows.size)
    for _, _, pixels in windows.overlaps():
        counts[pixels] += 1.0
    return counts
