"""Proximal maps of regularisers: the separable ones, which fused kernels apply entry by entry, and groups.

A separable map stands here as a formula, as a plain function that Numba kernels inline, and as CUDA text;
`KINDS` gives their order everywhere.

Sources: Parikh & Boyd, Proximal Algorithms, 2014, section 6; Yuan & Lin, JRSS B 68, 2006, for groups.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from paralift.kernels import cuda
from paralift.kernels.arrays import Array, family, namespace
from paralift.kernels.jit import jit


class Prox(NamedTuple):
    """A separable proximal map, its step inside: `kind` of KINDS and two numbers (see l1, box, ridge)."""

    kind: str
    a: float
    b: float


KINDS = ("none", "l1", "box", "ridge")
NO_PROX = Prox("none", 0.0, 0.0)


def l1(threshold: float) -> Prox:
    """Return the proximal map of threshold * |x|_1: soft thresholding."""
    return Prox("l1", float(threshold), 0.0)


def box(low: float, high: float) -> Prox:
    """Return the projection onto low <= x <= high; a bound may be infinite."""
    return Prox("box", float(low), float(high))


def ridge(weight: float) -> Prox:
    """Return the proximal map of weight/2 |x|^2: division by 1 + weight."""
    return Prox("ridge", 1.0 / (1.0 + float(weight)), 0.0)


def prox_formula(x: Array, prox: Prox) -> Array:
    """Return the proximal map of `x`, any shape."""
    kind, a, b = prox
    if kind == "l1":
        return x - namespace(x).clip(x, -a, a)
    if kind == "box":
        return namespace(x).clip(x, a, b)
    return x * a if kind == "ridge" else x


@register_jitable
def _none(x, a, b):
    return x


@register_jitable
def _soft(x, a, b):
    return x - (-a if x < -a else (a if x > a else x))  # a NaN fails both comparisons and stays


@register_jitable
def _clip(x, a, b):
    return a if x < a else (b if x > b else x)


@register_jitable
def _shrink(x, a, b):
    return x * a


MAPS = dict(zip(KINDS, (_none, _soft, _clip, _shrink), strict=True))
"""Plain functions (x, a, b): a captured dispatcher would change a kernel's key on disk in every process."""

CUDA = r"""
template <typename T, int KIND> __device__ inline T prox(T x, T a, T b) {
  if (KIND == 1) return x - (x < -a ? -a : x > a ? a : x);  // a NaN fails the comparisons and stays
  if (KIND == 2) return x < a ? a : x > b ? b : x;
  if (KIND == 3) return x * a;
  return x;
}
"""


@cache
def stamp() -> str:
    """Return a checksum of this file, for kernels elsewhere: Numba's cache only looks at their own file."""
    return f"{zlib.crc32(Path(__file__).read_bytes()):08x}"


def group_soft(matrix: Array, threshold: float, axis: int) -> None:
    """Overwrite `matrix` (rows, columns) by its group soft thresholding.

    Parameters
    ----------
    matrix : (rows, columns) float32 or float64
    threshold : float
        t >= 0.
    axis : int
        The axis along which a group lies: 1 for rows as groups, 0 for columns.
    """
    if isinstance(matrix, np.ndarray):
        kernel(axis)(matrix, float(threshold))
    elif family(matrix) == "cupy" and cuda.suits(matrix):
        cuda_group_soft(matrix, float(threshold), axis)
    else:
        group_soft_formula(matrix, float(threshold), axis)


def group_soft_formula(matrix: Array, threshold: float, axis: int) -> None:
    """Do the same with whole-array operations, for any array library."""
    xp = namespace(matrix)
    norm = xp.sqrt(xp.sum(matrix * matrix, axis=axis, keepdims=True))
    small = norm <= threshold
    factor = 1.0 - threshold / xp.where(small, xp.ones_like(norm), norm)
    matrix[...] = matrix * xp.where(small, xp.zeros_like(norm), factor)


@cache
def kernel(axis: int) -> Callable[..., None]:
    """Return the Numba kernel ``(matrix, threshold)`` for groups along `axis`."""
    return jit(_rows if axis == 1 else _columns)


def _rows(matrix, threshold):
    zero, one, t = matrix.dtype.type(0), matrix.dtype.type(1), matrix.dtype.type(threshold)
    for i in range(matrix.shape[0]):
        square = zero
        for j in range(matrix.shape[1]):
            square += matrix[i, j] * matrix[i, j]
        norm = np.sqrt(square)
        factor = zero if norm <= t else one - t / norm  # a NaN fails the comparison and stays
        for j in range(matrix.shape[1]):
            matrix[i, j] *= factor


def _columns(matrix, threshold):
    zero, one, t = matrix.dtype.type(0), matrix.dtype.type(1), matrix.dtype.type(threshold)
    factor = np.zeros(matrix.shape[1], matrix.dtype)  # scratch of one row
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            factor[j] += matrix[i, j] * matrix[i, j]
    for j in range(matrix.shape[1]):
        norm = np.sqrt(factor[j])
        factor[j] = zero if norm <= t else one - t / norm
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            matrix[i, j] *= factor[j]


GROUP_CUDA = r"""
template <typename T> __device__ inline T group_factor(T square, T t) {
  const T norm = sqrt(square);
  return norm <= t ? T(0) : T(1) - t / norm;  // a NaN fails the comparison and stays
}

// The threads with one threadIdx.y take a row.
template <typename T, int V> __global__ void group_rows(T* x, long long rows, long long width, T t) {
  const long long i = blockIdx.x * (long long)blockDim.y + threadIdx.y;
  const long long end = i < rows ? width : 0;  // all threads of a block meet in row_sum
  T* row = x + i * width;
  T square = T(0);
  for (long long j = threadIdx.x * V; j < end; j += blockDim.x * V) {
    const Pack<T, V> p = load<T, V>(row + j, neighbours<V>(j, width));
    for (int k = 0; k < V; k++) square += p.v[k] * p.v[k];
  }
  const T factor = group_factor(row_sum(square), t);
  for (long long j = threadIdx.x * V; j < end; j += blockDim.x * V) {
    const int n = neighbours<V>(j, width);
    Pack<T, V> p = load<T, V>(row + j, n);
    for (int k = 0; k < V; k++) p.v[k] *= factor;
    store<T, V>(row + j, p, n);
  }
}

// The threads with one threadIdx.x take a column.
template <typename T> __global__ void group_columns(T* x, long long rows, long long width, T t) {
  __shared__ T squares[THREADS];
  const long long j = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  const long long end = j < width ? rows : 0;
  T square = T(0);
  for (long long i = threadIdx.y; i < end; i += blockDim.y) square += x[i * width + j] * x[i * width + j];
  squares[threadIdx.y * blockDim.x + threadIdx.x] = square;
  __syncthreads();
  square = T(0);
  for (unsigned k = 0; k < blockDim.y; k++) square += squares[k * blockDim.x + threadIdx.x];
  const T factor = group_factor(square, t);
  for (long long i = threadIdx.y; i < end; i += blockDim.y) x[i * width + j] *= factor;
}
"""

GROUP_SOURCE = cuda.PRELUDE + GROUP_CUDA


def cuda_group_soft(matrix: Array, threshold: float, axis: int) -> None:
    """Start the CUDA kernel of `group_soft`."""
    rows, width = matrix.shape
    name, t = cuda.CTYPES[matrix.dtype.name], matrix.dtype.type(threshold)
    if axis == 1:
        v = cuda.vector(width, matrix)
        shape = cuda.row_tiles(rows, width, v)
        cuda.launch(GROUP_SOURCE, f"group_rows<{name}, {v}>", shape, matrix, rows, width, t)
    else:
        shape = cuda.Tiles((-(-width // 32), 1), (32, cuda.THREADS // 32), rows)
        cuda.launch(GROUP_SOURCE, f"group_columns<{name}>", shape, matrix, rows, width, t)
