"""Convolutions with few channels on one side, on NumPy arrays: a matrix product, then a sum of shifted planes.

The tiles of `kernels/convolve.py` need as many output channels as a vector has numbers; with fewer most of a vector would
be idle; here every entry of the kernel gives a plane of products with one number a pixel, and planes are added where the entry
belongs. A few images are taken at a time, so that their planes stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from paralift.kernels.arrays import Work
from paralift.kernels.jit import jit
from paralift.kernels.windows import Windows

NARROW = 4
"""Channels at most."""
WIDE = 8
"""Channels on the other side at least."""
CACHED = 1 << 18
"""Bytes of the planes that are made at once."""


def suits_product(weight: np.ndarray, groups: int) -> bool:
    """Return whether a convolution has few outputs and many inputs."""
    return groups == 1 and weight.shape[3] <= NARROW and weight.shape[2] >= WIDE


def suits_transpose(weight: np.ndarray, groups: int) -> bool:
    """Return whether a convolution has few inputs and many outputs."""
    return groups == 1 and weight.shape[2] <= NARROW and weight.shape[3] >= WIDE


def suits_gradient(weight: np.ndarray, windows: Windows, groups: int) -> bool:
    """Return whether the gradient of a convolution with few outputs is that of its mirror image."""
    return suits_product(weight, groups) and windows.stride == (1, 1)


def bound_product(x: np.ndarray, weight: np.ndarray, out: np.ndarray, windows: Windows) -> Work:
    """Return the convolution of `x` with `weight` into `out` as work on these arrays; shapes as in `kernels/patches.py`."""
    turned = np.empty((*weight.shape[:2], weight.shape[3], weight.shape[2]), x.dtype)
    multiply = _planes(x, turned.reshape(-1, turned.shape[3]), out, partial(_gather, *_numbers(windows)))

    def run() -> None:
        turned[...] = weight.swapaxes(2, 3)
        multiply()

    return run


def bound_transpose(r: np.ndarray, weight: np.ndarray, out: np.ndarray, windows: Windows) -> Work:
    """Return the transpose of the convolution in x as work on these arrays."""
    return _planes(r, weight.reshape(-1, weight.shape[3]), out, partial(_scatter, *_numbers(windows)))


def bound_gradient(
    x: np.ndarray, r: np.ndarray, out: np.ndarray, windows: Windows, bind: Callable[..., Work]
) -> Work:
    """Return the transpose of the convolution in the weight: that of a convolution of `r`, whose outputs are the pixels of x.

    `bind` gives the work of that one.
    """
    (ky, kx), (dy, dx), (by, bx) = windows.kernel, windows.dilation, windows.before
    before = (dy * (ky - 1) - by, dx * (kx - 1) - bx)
    mirrored = Windows(windows.output, windows.kernel, (1, 1), windows.dilation, before, windows.size)
    found = np.empty((ky, kx, r.shape[3], x.shape[3]), r.dtype)
    gradient, turned = bind(r, x, found, mirrored, 1), found[::-1, ::-1].swapaxes(2, 3)

    def run() -> None:
        gradient()
        out[...] = turned

    return run


def _numbers(windows: Windows) -> tuple[int, ...]:
    return (*windows.kernel, *windows.stride, *windows.dilation, *windows.before)


def _planes(a: np.ndarray, weight: np.ndarray, out: np.ndarray, add: Callable[..., None]) -> Work:
    """Return the product of `weight` (planes, channels) with all pixels of `a`, added up into `out` by `add`."""
    n, pixels = a.shape[0], a.shape[1] * a.shape[2]
    step = max(1, min(n, CACHED // max(1, len(weight) * pixels * a.itemsize)))
    planes = np.empty(len(weight) * step * pixels, a.dtype)
    parts = []
    for start in range(0, n, step):
        count = min(step, n - start)
        part = a[start : start + count].reshape(count * pixels, a.shape[3])
        parts.append((part.T, planes[: len(weight) * count * pixels].reshape(len(weight), -1), out[start : start + count]))
    size = np.array(a.shape[1:3])

    def run() -> None:
        for part, product, images in parts:
            np.dot(weight, part, out=product)
            add(size, product, images)

    return run


@jit
def spans(shift, stride, outputs, size):
    """Return which outputs see a pixel through an entry `shift` pixels from their own, from the first to behind the last."""
    low = max(0, -(shift // stride))
    return low, max(low, min(outputs, (size - 1 - shift) // stride + 1))


@jit
def _scatter(ky, kx, sy, sx, dy, dx, by, bx, size, planes, out):
    """Write into the pixels of `out` (n, height, width, few) what the outputs, an image of `size`, spread by `planes`."""
    n, height, width, few = out.shape
    outputs = size[0] * size[1]
    out[...] = 0
    for k in range(n):
        for s in range(ky):
            first_i, last_i = spans(s * dy - by, sy, size[0], height)
            for t in range(kx):
                first_j, last_j = spans(t * dx - bx, sx, size[1], width)
                for c in range(few):
                    plane = planes[(s * kx + t) * few + c]
                    for i in range(first_i, last_i):
                        y, x = i * sy + s * dy - by, t * dx - bx
                        at = k * outputs + i * size[1]
                        for j in range(first_j, last_j):
                            out[k, y, j * sx + x, c] += plane[at + j]


@jit
def _gather(ky, kx, sy, sx, dy, dx, by, bx, size, planes, out):
    """Write into `out` (n, height, width, few) what its windows see in the `planes` of images of `size`."""
    n, height, width, few = out.shape
    pixels = size[0] * size[1]
    out[...] = 0
    for k in range(n):
        for s in range(ky):
            first_i, last_i = spans(s * dy - by, sy, height, size[0])
            for t in range(kx):
                first_j, last_j = spans(t * dx - bx, sx, width, size[1])
                for c in range(few):
                    plane = planes[(s * kx + t) * few + c]
                    for i in range(first_i, last_i):
                        at = k * pixels + (i * sy + s * dy - by) * size[1] + t * dx - bx
                        for j in range(first_j, last_j):
                            out[k, i, j, c] += plane[at + j * sx]
