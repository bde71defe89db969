"""Convolutions as products: by tiles or planes on NumPy arrays, by matrix products of patches on those of other libraries.

Images are (n, height, width, channels), weights (kernel height, kernel width, channels of a group, outputs). A patch is the
window that an output position sees, a row of kernel height x kernel width x channels numbers; a convolution is the product of
all patches with the weight as a matrix. A convolution with windows of one pixel is a plain product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from paralift.kernels import convolve, narrow
from paralift.kernels.arrays import Array, Work, bound_matmul, empty, namespace
from paralift.kernels.windows import Windows

NUMBERS = 1 << 25
"""In the patches that are multiplied at once, at most (but for those of one sample)."""


def bound_product(x: Array, weight: Array, out: Array, windows: Windows, groups: int = 1) -> Work:
    """Return the convolution of `x` with `weight`, written into `out`, as work on these arrays.

    Parameters
    ----------
    x : array, shape (n, height, width, channels)
    weight : array, shape (kernel height, kernel width, channels / groups, outputs)
    out : array, shape (n, *windows.output, outputs)
    windows : Windows
    groups : int
        Outputs of a group, outputs / groups consecutive ones, see the channels of the same group.
    """
    if windows.trivial and groups == 1:
        return bound_matmul(rows(x), rows(weight), rows(out))
    if isinstance(x, np.ndarray):
        if narrow.suits_product(weight, groups):
            return _contiguous(narrow.bound_product, x, weight, out, windows)
        return _contiguous(convolve.bound_product, x, weight, out, windows, groups)
    return partial(product_formula, x, weight, out, windows, groups)


def bound_transpose(r: Array, weight: Array, out: Array, windows: Windows, groups: int = 1) -> Work:
    """Return the transpose of the convolution in x: `r` like `out` of `bound_product`, and `out` like its `x`."""
    if windows.trivial and groups == 1:
        return bound_matmul(rows(r), rows(weight).T, rows(out))
    if isinstance(r, np.ndarray):
        if narrow.suits_transpose(weight, groups):
            return _contiguous(narrow.bound_transpose, r, weight, out, windows)
        return _contiguous(convolve.bound_transpose, r, weight, out, windows, groups)
    return partial(transpose_formula, r, weight, out, windows, groups)


def bound_gradient(x: Array, r: Array, out: Array, windows: Windows, groups: int = 1) -> Work:
    """Return the transpose of the convolution in the weight: `out` like `weight` is the sum of patches^T r."""
    if windows.trivial and groups == 1:
        return bound_matmul(rows(x).T, rows(r), rows(out))
    if isinstance(x, np.ndarray):
        if narrow.suits_gradient(out, windows, groups):
            return _contiguous(narrow.bound_gradient, x, r, out, windows, convolve.bound_gradient)
        return _contiguous(convolve.bound_gradient, x, r, out, windows, groups)
    return partial(gradient_formula, x, r, out, windows, groups)


def _contiguous(bind: Callable[..., Work], a: np.ndarray, b: np.ndarray, out: np.ndarray, *rest: Any) -> Work:
    """Bind work to contiguous arrays: those given or, where a caller's own are not contiguous, copies made at each call."""
    if all(array.flags.c_contiguous for array in (a, b, out)):
        return bind(a, b, out, *rest)

    def run() -> None:
        result = np.empty(out.shape, out.dtype)
        bind(np.ascontiguousarray(a), np.ascontiguousarray(b), result, *rest)()
        out[...] = result

    return run


def rows(x: Array) -> Array:
    """Return `x` as a matrix whose rows are the last axis."""
    return namespace(x).reshape(x, (-1, x.shape[-1]))


def product_formula(x: Array, weight: Array, out: Array, windows: Windows, groups: int) -> None:
    """Do the same as `bound_product` with whole-array operations, for any array library."""
    xp = namespace(x)
    for samples, inputs, outputs in _parts(x, weight, windows, groups):
        patches = gather(x[samples, :, :, inputs], windows)
        product = xp.matmul(patches, rows(weight)[:, outputs])
        out[samples, :, :, outputs] = xp.reshape(product, (-1, *windows.output, product.shape[1]))


def transpose_formula(r: Array, weight: Array, out: Array, windows: Windows, groups: int) -> None:
    """Do the same as `bound_transpose` with whole-array operations."""
    xp = namespace(r)
    out[...] = xp.zeros_like(out)
    for samples, inputs, outputs in _parts(out, weight, windows, groups):
        patches = xp.matmul(rows(r[samples, :, :, outputs]), rows(weight)[:, outputs].T)
        scatter(out[samples, :, :, inputs], windows, patches)


def gradient_formula(x: Array, r: Array, out: Array, windows: Windows, groups: int) -> None:
    """Do the same as `bound_gradient` with whole-array operations."""
    xp = namespace(x)
    out[...] = xp.zeros_like(out)
    for samples, inputs, outputs in _parts(x, out, windows, groups):
        patches = gather(x[samples, :, :, inputs], windows)
        product = xp.matmul(patches.T, rows(r[samples, :, :, outputs]))
        out[:, :, :, outputs] += xp.reshape(product, (*out.shape[:3], product.shape[1]))


def _parts(x: Array, weight: Array, windows: Windows, groups: int) -> Iterator[tuple[slice, slice, slice]]:
    """Yield ranges of samples, channels and outputs whose patches are not too many."""
    n, inputs, outputs = x.shape[0], weight.shape[2], weight.shape[3] // groups
    each = windows.output[0] * windows.output[1] * weight.shape[0] * weight.shape[1] * inputs
    step = max(1, NUMBERS // max(1, each))
    for g in range(groups):
        for start in range(0, n, step):
            yield (
                slice(start, min(start + step, n)),
                slice(g * inputs, (g + 1) * inputs),
                slice(g * outputs, (g + 1) * outputs),
            )


def gather(x: Array, windows: Windows) -> Array:
    """Return the patches of the images `x`, a matrix, by strided views."""
    shape = (x.shape[0], *windows.output, *windows.kernel, x.shape[-1])
    patches = empty(shape, x)
    patches[...] = namespace(x).zeros_like(patches)
    for (ky, kx), (i, j), (y, z) in windows.overlaps():
        patches[:, i, j, ky, kx, :] = x[:, y, z, :]
    return namespace(x).reshape(patches, (shape[0] * shape[1] * shape[2], -1))


def scatter(x: Array, windows: Windows, patches: Array) -> None:
    """Add patches to the pixels of the view `x` that `gather` took them from."""
    parts = namespace(x).reshape(patches, (x.shape[0], *windows.output, *windows.kernel, x.shape[-1]))
    for (ky, kx), (i, j), (y, z) in windows.overlaps():
        x[:, y, z, :] += parts[:, i, j, ky, kx, :]
