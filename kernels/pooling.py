"""Kernels of poolings: averages over boxes of pixels, and the largest number of each window.

Images are (n, height, width, channels). A box is a range of lines and one of columns, with a weight for each: averages,
adaptive averages and, transposed, enlargements by copying differ only in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from paralift.kernels.arrays import Array, Work, namespace
from paralift.kernels.jit import jit
from paralift.kernels.windows import Windows


@dataclass(frozen=True)
class Boxes:
    """Boxes of pixels: an array of integers (positions, 2) for each axis, start and stop, and one of weights (positions,)."""

    lines: np.ndarray
    columns: np.ndarray
    line_weights: np.ndarray
    column_weights: np.ndarray


def bound_sum(x: Array, out: Array, boxes: Boxes) -> Work:
    """Return as work: `out` (n, boxes down, boxes across, channels) is the weighted sum of `x` over each box."""
    return _bound(sum_boxes, _sum_formula, x, out, boxes)


def bound_spread(r: Array, out: Array, boxes: Boxes) -> Work:
    """Return as work the transpose of `bound_sum`: every box adds its weighted number to its pixels of `out`."""
    return _bound(spread_boxes, _spread_formula, r, out, boxes)


def _bound(kernel, formula, a: Array, out: Array, boxes: Boxes) -> Work:
    if not isinstance(a, np.ndarray):
        return partial(formula, a, out, boxes)
    weights = (boxes.line_weights.astype(a.dtype), boxes.column_weights.astype(a.dtype))
    return partial(kernel, a, boxes.lines, boxes.columns, *weights, out)


def bound_max(x: Array, out: Array, windows: Windows) -> Work:
    """Return as work: `out` (n, *windows.output, channels) is the largest number of `x` in each window and channel."""
    if isinstance(x, np.ndarray):
        if _quarters(windows):
            return partial(largest_of_four, x, out)
        return partial(largest, x, _numbers(windows), out)
    return partial(_largest_formula, x, out, windows)


def bound_max_transpose(x: Array, r: Array, out: Array, windows: Windows) -> Work:
    """Return as work: each number of `r` is added to `out` where its window's largest number of `x` lies (the first one)."""
    if isinstance(x, np.ndarray):
        if _quarters(windows):
            return partial(spread_largest_of_four, x, r, out)
        return partial(spread_largest, x, r, _numbers(windows), out)
    return partial(_spread_largest_formula, x, r, out, windows)


def _quarters(windows: Windows) -> bool:
    """Return whether the windows are the usual ones, 2 x 2 pixels side by side, which have kernels of their own."""
    inside = windows.before == (0, 0) and windows.output == (windows.size[0] // 2, windows.size[1] // 2)
    return inside and windows.kernel == (2, 2) == windows.stride and windows.dilation == (1, 1)


def _numbers(windows: Windows) -> np.ndarray:
    pairs = (windows.kernel, windows.stride, windows.dilation, windows.before)
    return np.array([n for pair in pairs for n in pair])


@jit
def sum_boxes(x, lines, columns, line_weights, column_weights, out):
    """Write the weighted sums over boxes into `out`."""
    for n in range(x.shape[0]):
        for i in range(lines.shape[0]):
            for j in range(columns.shape[0]):
                weight = line_weights[i] * column_weights[j]
                for c in range(x.shape[3]):
                    out[n, i, j, c] = 0
                for y in range(lines[i, 0], lines[i, 1]):
                    for z in range(columns[j, 0], columns[j, 1]):
                        for c in range(x.shape[3]):
                            out[n, i, j, c] += weight * x[n, y, z, c]


@jit
def spread_boxes(r, lines, columns, line_weights, column_weights, out):
    """Write the transpose of `sum_boxes` into `out`."""
    for n in range(r.shape[0]):
        for y in range(out.shape[1]):
            for z in range(out.shape[2]):
                for c in range(out.shape[3]):
                    out[n, y, z, c] = 0
        for i in range(lines.shape[0]):
            for j in range(columns.shape[0]):
                weight = line_weights[i] * column_weights[j]
                for y in range(lines[i, 0], lines[i, 1]):
                    for z in range(columns[j, 0], columns[j, 1]):
                        for c in range(r.shape[3]):
                            out[n, y, z, c] += weight * r[n, i, j, c]


@jit
def largest(x, numbers, out):
    """Write the largest number of each window into `out`; NaN where there is one."""
    kh, kw, sy, sx, dy, dx, top, left = numbers[:8]
    for n in range(x.shape[0]):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                started = False
                for s in range(kh):
                    y = i * sy - top + s * dy
                    if y < 0 or y >= x.shape[1]:
                        continue
                    for t in range(kw):
                        z = j * sx - left + t * dx
                        if z < 0 or z >= x.shape[2]:
                            continue
                        if started:
                            for c in range(x.shape[3]):
                                v, m = x[n, y, z, c], out[n, i, j, c]
                                out[n, i, j, c] = m if m >= v or m != m else v
                        else:
                            for c in range(x.shape[3]):
                                out[n, i, j, c] = x[n, y, z, c]
                            started = True


@jit
def largest_of_four(x, out):
    """Do the same for windows of 2 x 2 pixels side by side."""
    for n in range(x.shape[0]):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                p, q = x[n, 2 * i, 2 * j], x[n, 2 * i, 2 * j + 1]
                s, t = x[n, 2 * i + 1, 2 * j], x[n, 2 * i + 1, 2 * j + 1]
                to = out[n, i, j]
                for c in range(x.shape[3]):
                    a, b = not_less(p[c], q[c]), not_less(s[c], t[c])
                    to[c] = not_less(a, b)


@jit
def not_less(a, b):
    """Return the larger of two numbers, NaN if one is."""
    return a if a >= b or a != a else b


@jit
def spread_largest_of_four(x, r, out):
    """Do the same as `spread_largest` for windows of 2 x 2 pixels side by side."""
    zero = x.dtype.type(0)
    for n in range(x.shape[0]):
        for y in range(out.shape[1]):
            if y >= 2 * r.shape[1]:
                out[n, y, :, :] = 0  # a line left over
        for i in range(r.shape[1]):
            for j in range(r.shape[2]):
                p, q = x[n, 2 * i, 2 * j], x[n, 2 * i, 2 * j + 1]
                s, t = x[n, 2 * i + 1, 2 * j], x[n, 2 * i + 1, 2 * j + 1]
                to_p, to_q = out[n, 2 * i, 2 * j], out[n, 2 * i, 2 * j + 1]
                to_s, to_t = out[n, 2 * i + 1, 2 * j], out[n, 2 * i + 1, 2 * j + 1]
                pull = r[n, i, j]
                for c in range(x.shape[3]):
                    left, below_left = p[c] >= q[c] or p[c] != p[c], s[c] >= t[c] or s[c] != s[c]
                    a, b, g = p[c] if left else q[c], s[c] if below_left else t[c], pull[c]
                    above = a >= b or a != a
                    up, down = (g, zero) if above else (zero, g)
                    to_p[c], to_q[c] = (up, zero) if left else (zero, up)
                    to_s[c], to_t[c] = (down, zero) if below_left else (zero, down)
            for z in range(2 * r.shape[2], out.shape[2]):
                out[n, 2 * i, z, :] = 0
                out[n, 2 * i + 1, z, :] = 0


@jit
def spread_largest(x, r, numbers, out):
    """Add each number of `r` to `out` where the window's largest number of `x` lies, the first of equals."""
    kh, kw, sy, sx, dy, dx, top, left = numbers[:8]
    channels = x.shape[3]
    best = np.empty(channels, x.dtype)
    given = np.empty(channels, np.bool_)
    for n in range(x.shape[0]):
        for y in range(out.shape[1]):
            for z in range(out.shape[2]):
                for c in range(channels):
                    out[n, y, z, c] = 0
        for i in range(r.shape[1]):
            for j in range(r.shape[2]):
                for c in range(channels):
                    best[c] = -np.inf
                    given[c] = False
                for s in range(kh):
                    y = i * sy - top + s * dy
                    if 0 <= y < x.shape[1]:
                        for t in range(kw):
                            z = j * sx - left + t * dx
                            if 0 <= z < x.shape[2]:
                                for c in range(channels):
                                    v, m = x[n, y, z, c], best[c]
                                    best[c] = m if m >= v or m != m else v
                for s in range(kh):
                    y = i * sy - top + s * dy
                    if 0 <= y < x.shape[1]:
                        for t in range(kw):
                            z = j * sx - left + t * dx
                            if 0 <= z < x.shape[2]:
                                for c in range(channels):
                                    v, m = x[n, y, z, c], best[c]
                                    here = (v == m or v != v) and not given[c]
                                    out[n, y, z, c] += r[n, i, j, c] if here else 0
                                    given[c] = given[c] or here


def _sum_formula(x: Array, out: Array, boxes: Boxes) -> None:
    for i, (top, bottom) in enumerate(boxes.lines.tolist()):
        for j, (left, right) in enumerate(boxes.columns.tolist()):
            weight = float(boxes.line_weights[i] * boxes.column_weights[j])
            out[:, i, j, :] = weight * namespace(x).sum(x[:, top:bottom, left:right, :], axis=(1, 2))


def _spread_formula(r: Array, out: Array, boxes: Boxes) -> None:
    out[...] = namespace(out).zeros_like(out)
    for i, (top, bottom) in enumerate(boxes.lines.tolist()):
        for j, (left, right) in enumerate(boxes.columns.tolist()):
            weight = float(boxes.line_weights[i] * boxes.column_weights[j])
            out[:, top:bottom, left:right, :] += weight * r[:, i : i + 1, j : j + 1, :]


def _largest_formula(x: Array, out: Array, windows: Windows) -> None:
    xp = namespace(x)
    out[...] = xp.full_like(out, -float("inf"))
    for _, (i, j), (y, z) in windows.overlaps():
        v, m = x[:, y, z, :], out[:, i, j, :]
        out[:, i, j, :] = xp.where((m >= v) | (m != m), m, v)


def _spread_largest_formula(x: Array, r: Array, out: Array, windows: Windows) -> None:
    xp = namespace(x)
    best = xp.zeros_like(r)
    _largest_formula(x, best, windows)
    left = xp.astype(best == best, best.dtype) if hasattr(xp, "astype") else (best == best).astype(best.dtype)
    left[...] = xp.ones_like(left)
    out[...] = xp.zeros_like(out)
    for _, (i, j), (y, z) in windows.overlaps():
        v, m, free = x[:, y, z, :], best[:, i, j, :], left[:, i, j, :]
        here = xp.where((v == m) | (v != v), free, xp.zeros_like(free))
        out[:, y, z, :] += here * r[:, i, j, :]
        left[:, i, j, :] = free - here
