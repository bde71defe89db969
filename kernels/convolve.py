"""Convolutions on NumPy arrays, by tiles that read the images where they lie: no patches are gathered.

A pass is made of planes. In a plane every output position sees the same entries of the kernel, and its window moves by a fixed
step: a convolution is one plane; its transpose is one for each place of a pixel relative to the stride. Images that windows
stick out of are copied into a frame of zeros, one at a time, so that the copy stays in the cache; weights are copied into
columns of whole vectors, once a call.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from paralift.kernels.arrays import Work
from paralift.kernels.jit import jit
from paralift.kernels.tiles import (
    TALL,
    VECTOR_BYTES,
    tile_1x1,
    tile_1x2,
    tile_1x4,
    tile_4x1,
    tile_4x2,
    tile_4x4,
    tile_7x4,
    tile_8x1,
    tile_8x2,
    tile_8x4,
    tile_16x1,
    tile_16x2,
)
from paralift.kernels.windows import Axis, Windows

CACHED = 24 << 10
"""Bytes of an image, and of the residual, that the gradient goes over again and again: what stays next to the core."""


def bound_product(x: np.ndarray, weight: np.ndarray, out: np.ndarray, windows: Windows, groups: int) -> Work:
    """Return the convolution of `x` with `weight` into `out` as work on these arrays."""
    frame = _Frame(x.shape, windows.axes(), x.dtype)
    planes = _planes(windows.axes())
    packed = _packed(weight.size, weight.shape[3] // groups, x.dtype)
    work = (frame.numbers, frame.array, planes, weight, False, groups, out.reshape(-1), out.shape, packed)
    return partial(convolve, x.reshape(-1), x.shape, *work)


def bound_transpose(r: np.ndarray, weight: np.ndarray, out: np.ndarray, windows: Windows, groups: int) -> Work:
    """Return the transpose of the convolution in x as work on these arrays."""
    axes = windows.transposed_axes()
    frame = _Frame(r.shape, axes, r.dtype)
    packed = _packed(weight.size, weight.shape[2], r.dtype)
    work = (frame.numbers, frame.array, _planes(axes), weight, True, groups, out.reshape(-1), out.shape, packed)
    return partial(convolve, r.reshape(-1), r.shape, *work)


def bound_gradient(x: np.ndarray, r: np.ndarray, out: np.ndarray, windows: Windows, groups: int) -> Work:
    """Return the transpose of the convolution in the weight as work on these arrays."""
    frame = _Frame(x.shape, windows.axes(), x.dtype)
    planes = _planes(windows.axes())
    wide = padded(r.shape[3] // groups, x.itemsize)
    scratch = _scratch("residual", r.shape[1] * r.shape[2] * wide * groups, r.dtype)
    sums = _scratch("sums", weight_rows(out) * wide * groups, r.dtype)
    lines = max(1, CACHED // max(1, max(x.shape[2] * x.shape[3], r.shape[2] * wide) * x.itemsize))
    work = (frame.numbers, frame.array, planes, r.reshape(-1), r.shape, scratch, sums, groups, lines)
    return partial(gradient, x.reshape(-1), x.shape, *work, out.reshape(-1, out.shape[3]))


def weight_rows(weight: np.ndarray) -> int:
    """Return the rows of a weight as a matrix: the numbers of a window."""
    return weight.shape[0] * weight.shape[1] * weight.shape[2]


class _Frame:
    """The zeros around an image: `numbers` = (top, left, height, width) and an array, empty where none are needed."""

    def __init__(self, shape: tuple[int, ...], axes: tuple[list[Axis], list[Axis]], dtype: np.dtype) -> None:
        before = [max(0, -min(a.start for a in each if a.outputs and a.taps)) if _seen(each) else 0 for each in axes]
        after = [
            max(0, max(a.last() for a in each if a.outputs and a.taps) + 1 - size) if _seen(each) else 0
            for each, size in zip(axes, shape[1:3], strict=True)
        ]
        high, wide = (b + n + a for b, n, a in zip(before, shape[1:3], after, strict=True))
        self.numbers = (*before, high, wide)
        numbers = high * wide * shape[3] if (high, wide) != shape[1:3] else 0
        self.array = _scratch("frame", numbers, dtype)


def _seen(axes: list[Axis]) -> bool:
    return any(a.outputs and a.taps for a in axes)


def _planes(axes: tuple[list[Axis], list[Axis]]) -> np.ndarray:
    """Return the numbers of each plane, a row for each pair of axes."""
    pairs = [zip(y.numbers(), x.numbers(), strict=True) for y in axes[0] for x in axes[1]]
    return np.array([[n for pair in plane for n in pair] for plane in pairs])


def _packed(numbers: int, columns: int, dtype: np.dtype) -> np.ndarray:
    """Return room for a weight in whole vectors."""
    return _scratch("weight", numbers // columns * padded(columns, dtype.itemsize), dtype)


_kept: dict[tuple[str, np.dtype], np.ndarray] = {}


def _scratch(name: str, numbers: int, dtype: np.dtype) -> np.ndarray:
    """Return a buffer: one for all convolutions, so that it is in the cache when the next one starts.

    It holds nothing between two calls of a kernel, and a call holds the interpreter's lock: threads do not meet in it.
    """
    key = (name, dtype)
    if key not in _kept or _kept[key].size < numbers:
        spare = np.empty(max(numbers, 1 << 14) + VECTOR_BYTES // dtype.itemsize, dtype)
        _kept[key] = spare[-spare.ctypes.data % VECTOR_BYTES // dtype.itemsize :]  # vectors lie within one cache line
    return _kept[key][:numbers]


@jit
def frame_image(x, start, height, line, before, numbers, channels, frame):
    """Copy an image of `height` lines of `line` numbers, from `start` in flat `x`, into the flat `frame` of zeros."""
    top, left, high, wide = numbers
    end = wide * channels
    for i in range(high):
        at = i * end
        if i < top or i >= top + height:
            fill_zero(frame[at : at + end])
        else:
            source = start + (i - top) * line
            fill_zero(frame[at : at + before])
            copy(x[source : source + line], frame[at + before : at + before + line])
            fill_zero(frame[at + before + line : at + end])


@jit
def fill_zero(out):
    """Write zeros."""
    for j in range(out.shape[0]):
        out[j] = 0


@jit
def copy(x, out):
    """Copy numbers: as slices, whose indices Numba knows not to be negative, so that it takes vectors of them."""
    for j in range(x.shape[0]):
        out[j] = x[j]


@jit
def pack(weight, plane, transposed, groups, packed):
    """Copy the entries of the kernel that a plane sees into `packed`: for each group and each pair of vectors, all rows."""
    taps_y, taps_x, first_y, first_x, step_y, step_x = plane[6], plane[7], plane[8], plane[9], plane[10], plane[11]
    inputs, outputs = weight.shape[2], weight.shape[3] // groups
    if transposed:
        inputs, outputs = outputs, inputs
    half = VECTOR_BYTES // weight.itemsize // 2
    at = 0
    for g in range(groups):
        start = 0
        while start < outputs:
            wide = halves_of(outputs - start, half) * half
            filled = min(wide, outputs - start)
            for s in range(taps_y):
                for t in range(taps_x):
                    entry = weight[first_y + s * step_y, first_x + t * step_x]
                    for c in range(inputs):
                        for v in range(filled):
                            if transposed:
                                packed[at + v] = entry[start + v, g * inputs + c]
                            else:
                                packed[at + v] = entry[c, g * outputs + start + v]
                        for v in range(filled, wide):
                            packed[at + v] = 0
                        at += wide
            start += wide


@jit
def convolve(x, shape, frame_numbers, frame, planes, weight, transposed, groups, out, out_shape, packed):
    """Write the convolution of flat `x` (n, height, width, channels) with `weight` into flat `out`, or the transpose's."""
    top, left, high, wide = frame_numbers
    line = shape[2] * shape[3]
    size = shape[1] * line
    framed = frame.shape[0] > 0
    columns = shape[3] * padded(out_shape[3] // groups, out.itemsize)  # for one entry of the kernel
    at = 0
    for k in range(planes.shape[0]):
        pack(weight, planes[k], transposed, groups, packed[at:])
        at += planes[k, 6] * planes[k, 7] * columns
    for n in range(shape[0]):
        if framed:
            frame_image(x, n * size, shape[1], line, left * shape[3], frame_numbers, shape[3], frame)
        a, start = (frame, 0) if framed else (x, n * size)
        at = 0
        for k in range(planes.shape[0]):
            plane(a, start, planes[k], top, left, wide, shape[3], groups, packed[at:], out, n, out_shape)
            at += planes[k, 6] * planes[k, 7] * columns


@jit
def plane(a, a_start, numbers, top, left, wide, channels, groups, packed, out, sample, shape):
    """Write one plane of one image."""
    start_y, start_x, move_y, move_x, space_y, space_x, taps_y, taps_x = numbers[:8]
    out_y, out_x, out_step_y, out_step_x, lines, pixels = numbers[12:18]
    outputs = shape[3] // groups
    inputs = channels // groups
    half = VECTOR_BYTES // out.itemsize // 2
    merged = space_x == 1 and groups == 1  # neighbours in the window are neighbours in memory
    steps = (space_y * wide * channels, space_x * channels, 1)
    counts = (taps_y, 1 if merged else taps_x, taps_x * inputs if merged else inputs)
    window = taps_y * taps_x * inputs
    rest = np.empty(TALL * 2 * half, out.dtype)
    for g in range(groups):
        v = 0
        while v < outputs:
            b_at = window * (g * padded(outputs, out.itemsize) + v)
            halves = halves_of(outputs - v, half)
            width = halves * half
            filled = min(width, outputs - v)
            full = filled == width
            for i in range(lines):
                y = start_y + top + i * move_y
                a_line = a_start + (y * wide + start_x + left) * channels + g * inputs
                o_line = ((sample * shape[1] + out_y + i * out_step_y) * shape[2] + out_x) * shape[3] + g * outputs + v
                o_step = out_step_x * shape[3]
                p = 0
                while p < pixels:
                    tall = height_of(pixels - p, halves)
                    while tall > pixels:
                        tall = 4 if tall > 4 else 1
                    p = min(p, pixels - tall)  # the last tile may overlap the one before
                    a_at = a_line + p * move_x * channels
                    o, o_at, o_pixel = (out, o_line + p * o_step, o_step) if full else (rest, 0, width)
                    tile(tall, halves, a, a_at, move_x * channels, steps, counts, packed, b_at, width,
                         o, o_at, o_pixel, False)  # fmt: skip
                    if not full:
                        for q in range(tall):
                            at, to = q * width, o_line + (p + q) * o_step
                            copy(rest[at : at + filled], out[to : to + filled])
                    p += tall
            v += width


@jit
def padded(columns, itemsize):
    """Return the columns with as many zeros behind them as the tiles over them take."""
    half = VECTOR_BYTES // itemsize // 2
    return -(-columns // half) * half


@jit
def halves_of(left, half):
    """Return how many half vectors the next tile takes for the columns that are left."""
    return 4 if left > 3 * half else (2 if left > half else 1)


@jit
def height_of(left, halves):
    """Return how many of the pixels that are left the next tile takes, or should take together with pixels before them."""
    if left >= TALL and halves < 4:
        return TALL
    if TALL == 16 and halves == 4 and left % 7 == 0 and left % 8 != 0:
        return 7  # lines of 7, 14, 28 pixels
    if left > 4 and (halves < 4 or TALL == 16):
        return 8
    return 4 if left > 1 else 1


@jit
def tile(tall, halves, a, a_at, pixel, steps, counts, b, b_at, b_step, o, o_at, o_pixel, add):
    """Take the tile of a size that is only known now."""
    if halves == 4:
        if tall == 8:
            tile_8x4(a, a_at, pixel, steps, counts, b, b_at, b_step, o, o_at, o_pixel, add)
        elif tall == 7:
            tile_7x4(a, a_at, pixel, steps, counts, b, b_at, b_step, o, o_at, o_pixel, add)
        elif tall == 4:
            tile_4x4(a, a_at, pixel, steps, counts, b, b_at, b_step, o, o_at, o_pixel, add)
        else:
            tile_1x4(a, a_at, pixel, steps, counts, b, b_at, b_step, o, o_at, o_pixel, add)
    elif halves == 2:
        if tall == 16:
            tile_16x2(a, a_at, pixel, steps, counts, b, b_at, b_step, o, o_at, o_pixel, add)
        elif tall == 8:
            tile_8x2(a, a_at, pixel, steps, counts, b, b_at, b_step, o, o_at, o_pixel, add)
        elif tall == 4:
            tile_4x2(a, a_at, pixel, steps, counts, b, b_at, b_step, o, o_at, o_pixel, add)
        else:
            tile_1x2(a, a_at, pixel, steps, counts, b, b_at, b_step, o, o_at, o_pixel, add)
    elif tall == 16:
        tile_16x1(a, a_at, pixel, steps, counts, b, b_at, b_step, o, o_at, o_pixel, add)
    elif tall == 8:
        tile_8x1(a, a_at, pixel, steps, counts, b, b_at, b_step, o, o_at, o_pixel, add)
    elif tall == 4:
        tile_4x1(a, a_at, pixel, steps, counts, b, b_at, b_step, o, o_at, o_pixel, add)
    else:
        tile_1x1(a, a_at, pixel, steps, counts, b, b_at, b_step, o, o_at, o_pixel, add)


@jit
def gradient(x, shape, frame_numbers, frame, planes, r, r_shape, residual, sums, groups, lines, out):
    """Write the sum over samples and positions of window times residual into `out`, a weight as a matrix."""
    top, left, high, wide = frame_numbers
    numbers = planes[0]
    line = shape[2] * shape[3]
    size, r_size = shape[1] * line, r_shape[1] * r_shape[2] * r_shape[3]
    outputs = r_shape[3] // groups
    wide_r = padded(outputs, r.itemsize)
    framed, copied = frame.shape[0] > 0, wide_r != outputs
    for k in range(sums.shape[0]):
        sums[k] = 0
    for n in range(shape[0]):
        if framed:
            frame_image(x, n * size, shape[1], line, left * shape[3], frame_numbers, shape[3], frame)
        if copied:
            widen(r, n * r_size, r_shape[1] * r_shape[2] * groups, outputs, wide_r, residual)
        for first in range(0, r_shape[1], lines):
            count = min(lines, r_shape[1] - first)
            a, a_start = (frame, 0) if framed else (x, n * size)
            b, b_start = (residual, 0) if copied else (r, n * r_size)
            tiles_of_gradient(a, a_start, numbers, top, left, wide, shape[3], groups, b, b_start, wide_r, first, count,
                              r_shape[2], sums)  # fmt: skip
    for g in range(groups):
        for k in range(out.shape[0]):
            for v in range(outputs):
                out[k, g * outputs + v] = sums[(g * out.shape[0] + k) * wide_r + v]


@jit
def widen(r, start, count, outputs, width, out):
    """Copy `count` times `outputs` numbers of flat `r` from `start` into `out`, with zeros behind each up to `width`."""
    for i in range(count):
        copy(r[start + i * outputs : start + (i + 1) * outputs], out[i * width : i * width + outputs])
        fill_zero(out[i * width + outputs : (i + 1) * width])


@jit
def tiles_of_gradient(a, a_start, numbers, top, left, wide, channels, groups, b, b_start, wide_r, first, lines, pixels, sums):
    """Add some lines of one image to the sums (groups, window, padded outputs `wide_r`)."""
    start_y, start_x, move_y, move_x, space_y, space_x, taps_y, taps_x = numbers[:8]
    inputs = channels // groups
    half = VECTOR_BYTES // sums.itemsize // 2
    merged = space_x == 1 and groups == 1
    runs, run = (1, taps_x * inputs) if merged else (taps_x, inputs)
    steps = (0, move_y * wide * channels, move_x * channels)
    counts = (1, lines, pixels)
    for g in range(groups):
        v = 0
        while v < wide_r:
            halves = min(halves_of(wide_r - v, half), (wide_r - v) // half)
            for s in range(taps_y):
                y = start_y + top + s * space_y + first * move_y
                for t in range(runs):
                    row = (g * taps_y * taps_x + s * taps_x + t) * inputs
                    a_at = a_start + (y * wide + start_x + left + t * space_x) * channels + g * inputs
                    b_at = b_start + first * pixels * groups * wide_r + g * wide_r + v
                    q = 0
                    while q < run:
                        tall = height_of(run - q, halves)
                        if tall > run - q:
                            tall = 4 if run - q >= 4 else 1
                        tile(tall, halves, a, a_at + q, 1, steps, counts, b, b_at, groups * wide_r,
                             sums, (row + q) * wide_r + v, wide_r, True)  # fmt: skip
                        q += tall
            v += halves * half
