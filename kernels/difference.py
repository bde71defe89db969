"""The residual of the sweep: g <- r, a difference of activations (or sigma'(z) g), and the sum of r over the rows.

One pass over memory; the relative version reads each row twice, the second time from a cache.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np

from paralift.kernels import cuda
from paralift.kernels.arrays import Array, Work, empty, family, namespace
from paralift.kernels.jit import jit
from paralift.kernels.scalars import Elementwise, Function, Scalar

FLOOR, TINY = 1e-24, 1e-37
"""Least mean square of a pull, as a share of that of z and absolutely: a smaller one moves nothing and would overflow."""

BLOCK, MOST_ROWS = 1 << 14, 256
"""Numbers and rows whose scales are found together, at most: few enough to be in the cache when they are read again."""


def difference(
    act: Elementwise,
    z: Array,
    g: Array,
    up: float = 0.5,
    down: float = 0.5,
    relative: float = 0.0,
    column_sum: Array | None = None,
    accumulate: bool = False,
) -> None:
    """Overwrite the pull `g` by the residual r = (sigma(z + s up g) - sigma(z - s down g)) / s.

    s = 1, or with ``relative`` = eps > 0, for each row, s = eps rms(z) / rms(g) (rms(z) = 1 where z = 0; see
    `FLOOR` for a vanishing g). `column_sum` (width,), if given, receives the sum of r over the rows, or has it
    added if `accumulate`.
    """
    bound_difference(act, z, g, up, down, relative, column_sum, accumulate)()


def bound_difference(
    act: Elementwise,
    z: Array,
    g: Array,
    up: float,
    down: float,
    relative: float,
    column_sum: Array | None,
    accumulate: bool,
) -> Work:
    """Return `difference` as work on these arrays."""
    if not isinstance(z, np.ndarray):
        if family(z) == "cupy" and act.scalar.cuda and cuda.suits(z, g):
            return partial(cuda_difference, act, z, g, up, down, relative, column_sum, accumulate)
        return partial(formula, act.sigma, z, g, up, down, relative, column_sum, accumulate)
    if relative > 0.0:
        return partial(numba_relative(act.scalar), z, g, up, down, relative, column_sum, accumulate, act.a, act.b)
    return partial(numba_difference(act.scalar), z, g, up, down, column_sum, accumulate, act.a, act.b)


def pull_back(
    act: Elementwise, z: Array, g: Array, column_sum: Array | None = None, accumulate: bool = False
) -> None:
    """Overwrite the pull `g` by sigma'(z) g, the residual of backpropagation; sums as in `difference`."""
    if isinstance(z, np.ndarray):
        numba_pull_back(act.scalar)(z, g, column_sum, accumulate, act.a, act.b)
    elif family(z) == "cupy" and act.scalar.cuda and cuda.suits(z, g):
        cuda_residual("SLOPE", act, z, g, None, 0.0, 0.0, column_sum, accumulate)
    else:
        g[...] = act.derivative(z, g)
        sum_columns_formula(g, column_sum, accumulate)


def sum_columns(r: Array, column_sum: Array | None, accumulate: bool = False) -> None:
    """Write or add the sum of `r` (rows, width) over its rows into `column_sum` (width,), unless that is None."""
    if column_sum is None:
        return
    if isinstance(r, np.ndarray):
        _numba_sum(r, column_sum, accumulate)
    else:
        sum_columns_formula(r, column_sum, accumulate)


def formula(
    sigma: Function,
    z: Array,
    g: Array,
    up: float,
    down: float,
    relative: float,
    column_sum: Array | None,
    accumulate: bool,
) -> None:
    """Do the same as `difference` with whole-array operations, for any array library."""
    if relative > 0.0:
        s = relative_scale(z, g, relative)
        g[...] = (sigma(z + (up * s) * g) - sigma(z - (down * s) * g)) / s
    else:
        g[...] = sigma(z + up * g) - sigma(z - down * g)
    sum_columns_formula(g, column_sum, accumulate)


def relative_scale(z: Array, g: Array, relative: float) -> Array:
    """Return s = relative rms(z) / rms(g) of each row, shape (rows, 1); see `FLOOR`."""
    xp = namespace(z)
    z2 = xp.mean(z * z, axis=1)[:, None]
    g2 = xp.mean(g * g, axis=1)[:, None]
    z2 = xp.where(z2 > 0, z2, xp.ones_like(z2))
    least = FLOOR * z2 + TINY
    return relative * xp.sqrt(z2 / xp.where(g2 > least, g2, least))


def sum_columns_formula(r: Array, column_sum: Array | None, accumulate: bool) -> None:
    """Do the same as `sum_columns` for any array library."""
    if column_sum is None:
        return
    total = namespace(r).sum(r, axis=0)
    column_sum[...] = column_sum + total if accumulate else total


@cache
def numba_difference(scalar: Scalar) -> Any:
    """Return the compiled ``(z, g, up, down, column_sum or None, accumulate, a, b)``."""
    sigma = scalar.sigma

    def kernel(z, g, up, down, column_sum, accumulate, a, b):
        up, down = z.dtype.type(up), z.dtype.type(down)
        if column_sum is not None and not accumulate:
            column_sum[:] = 0
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):  # along a row: sums of neighbouring columns share a vector register
                r = sigma(z[i, j] + up * g[i, j], a, b) - sigma(z[i, j] - down * g[i, j], a, b)
                g[i, j] = r
                if column_sum is not None:
                    column_sum[j] += r

    return jit(kernel, scalar.name, scalar.stamp)


@cache
def numba_relative(scalar: Scalar) -> Any:
    """Return the compiled ``(z, g, up, down, relative, column_sum or None, accumulate, a, b)``."""
    sigma = scalar.sigma

    def kernel(z, g, up, down, relative, column_sum, accumulate, a, b):
        T = z.dtype.type
        up, down, relative = T(up), T(down), T(relative)
        width = z.shape[1]
        if column_sum is not None and not accumulate:
            column_sum[:] = 0
        scale = np.empty(min(MOST_ROWS, max(1, BLOCK // max(1, width))), z.dtype)
        for first in range(0, z.shape[0], scale.shape[0]):
            zs, gs = z[first : first + scale.shape[0]], g[first : first + scale.shape[0]]
            for i in range(zs.shape[0]):
                z2 = T(0)
                g2 = T(0)
                for j in range(width):
                    z2 += zs[i, j] * zs[i, j]
                    g2 += gs[i, j] * gs[i, j]
                z2 = z2 if z2 > 0 else T(width)
                scale[i] = z2 / max(g2, T(FLOOR) * z2 + T(TINY))
            for i in range(zs.shape[0]):  # apart, so that roots do not hold up the sums of the next row
                scale[i] = relative * np.sqrt(scale[i])
            for i in range(zs.shape[0]):
                s = scale[i]
                inverse, up_s, down_s = T(1) / s, up * s, down * s
                for j in range(width):
                    r = sigma(zs[i, j] + up_s * gs[i, j], a, b) - sigma(zs[i, j] - down_s * gs[i, j], a, b)
                    r *= inverse
                    gs[i, j] = r
                    if column_sum is not None:
                        column_sum[j] += r

    return jit(kernel, scalar.name, scalar.stamp)


@cache
def numba_pull_back(scalar: Scalar) -> Any:
    """Return the compiled ``(z, g, column_sum or None, accumulate, a, b)``."""
    slope = scalar.slope

    def kernel(z, g, column_sum, accumulate, a, b):
        if column_sum is not None and not accumulate:
            column_sum[:] = 0
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                r = slope(z[i, j], a, b) * g[i, j]
                g[i, j] = r
                if column_sum is not None:
                    column_sum[j] += r

    return jit(kernel, scalar.name, scalar.stamp)


def _sum_kernel(r, column_sum, accumulate):
    rows, width = r.shape
    fours = rows - rows % 4
    if not accumulate:
        column_sum[:] = 0
    for i in range(0, fours, 4):  # four streams from memory: one alone does not fill it
        for j in range(width):
            column_sum[j] += (r[i, j] + r[i + 1, j]) + (r[i + 2, j] + r[i + 3, j])
    for i in range(fours, rows):
        for j in range(width):
            column_sum[j] += r[i, j]


_numba_sum = jit(_sum_kernel)


FLOORS = f"#define FLOOR {FLOOR!r}\n#define TINY {TINY!r}\n"
CUDA = r"""
enum Residual { DIFFERENCE, SLOPE };

// A thread keeps its columns and walks down the rows of its block; partial (blocks, width) takes the sums of r.
template <typename T, int V, int R, typename A>
__global__ void residual(const T* z, T* g, const T* scale, T* partial, long long rows, long long width,
                         long long chunk, double up, double down, double a, double b) {
  __shared__ T sums[THREADS * V];
  const long long j = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * V;
  const int n = neighbours<V>(j, width);
  const long long end = j < width ? min(rows, (blockIdx.y + 1) * chunk) : 0;
  const A act = {T(a), T(b)};
  Pack<T, V> total = {};
  for (long long i = blockIdx.y * chunk + threadIdx.y; i < end; i += blockDim.y) {
    const Pack<T, V> p = load<T, V>(z + i * width + j, n);
    Pack<T, V> r = load<T, V>(g + i * width + j, n);
    const T s = scale ? scale[i] : T(1);
    const T u = T(up) * s, d = T(down) * s;
    for (int k = 0; k < V; k++) {
      if constexpr (R == SLOPE) r.v[k] *= act.slope(p.v[k]);
      else r.v[k] = (act.sigma(p.v[k] + u * r.v[k]) - act.sigma(p.v[k] - d * r.v[k])) / s;
      total.v[k] += r.v[k];
    }
    store<T, V>(g + i * width + j, r, n);
  }
  if (!partial) return;
  const int across = blockDim.x * V;
  for (int k = 0; k < V; k++) sums[threadIdx.y * across + threadIdx.x * V + k] = total.v[k];
  __syncthreads();
  if (threadIdx.y || j >= width) return;
  for (unsigned t = 1; t < blockDim.y; t++)
    for (int k = 0; k < V; k++) total.v[k] += sums[t * across + threadIdx.x * V + k];
  store<T, V>(partial + blockIdx.y * width + j, total, n);
}

// column_sum <- (column_sum or 0) + the sum of the rows of partial
template <typename T>
__global__ void finish(const T* partial, T* column_sum, long long rows, long long width, long long accumulate) {
  __shared__ T sums[THREADS];
  const long long j = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  T total = T(0);
  if (j < width)
    for (long long i = threadIdx.y; i < rows; i += blockDim.y) total += partial[i * width + j];
  sums[threadIdx.y * blockDim.x + threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y || j >= width) return;
  for (unsigned t = 1; t < blockDim.y; t++) total += sums[t * blockDim.x + threadIdx.x];
  column_sum[j] = accumulate ? column_sum[j] + total : total;
}

// s = relative rms(z) / rms(g) of each row, with 1 for a vanishing rms of z and a floor under that of g
template <typename T, int V>
__global__ void row_scale(const T* z, const T* g, T* s, long long rows, long long width, double relative) {
  const long long i = blockIdx.x * (long long)blockDim.y + threadIdx.y;
  T z2 = T(0), g2 = T(0);
  if (i < rows)
    for (long long j = threadIdx.x * V; j < width; j += blockDim.x * V) {
      const Pack<T, V> p = load<T, V>(z + i * width + j, neighbours<V>(j, width));
      const Pack<T, V> q = load<T, V>(g + i * width + j, neighbours<V>(j, width));
      for (int k = 0; k < V; k++) { z2 += p.v[k] * p.v[k]; g2 += q.v[k] * q.v[k]; }
    }
  z2 = row_sum(z2);
  g2 = row_sum(g2);
  if (i >= rows || threadIdx.x) return;
  z2 = z2 > T(0) ? z2 : T(width);
  const T least = T(FLOOR) * z2 + T(TINY);
  s[i] = T(relative) * sqrt(z2 / (g2 > least ? g2 : least));
}
"""


def cuda_difference(
    act: Elementwise,
    z: Array,
    g: Array,
    up: float,
    down: float,
    relative: float,
    column_sum: Array | None,
    accumulate: bool,
) -> None:
    """Start the CUDA kernels of `difference`."""
    scale = None
    if relative > 0.0:
        rows, width = z.shape
        scale = empty((rows,), z)
        v = cuda.vector(width, z, g)
        shape = cuda.row_tiles(rows, width, v)
        name = f"row_scale<{cuda.CTYPES[z.dtype.name]}, {v}>"
        cuda.launch(cuda_source(act.scalar), name, shape, z, g, scale, rows, width, relative)
    cuda_residual("DIFFERENCE", act, z, g, scale, up, down, column_sum, accumulate)


def cuda_residual(
    kind: str,
    act: Elementwise,
    z: Array,
    g: Array,
    scale: Array | None,
    up: float,
    down: float,
    column_sum: Array | None,
    accumulate: bool,
) -> None:
    """Start the CUDA kernel of the residual, and that of the column sum."""
    rows, width = z.shape
    v, T = cuda.vector(width, z, g), cuda.CTYPES[z.dtype.name]
    shape = cuda.tiles(rows, width, v)
    partial = None if column_sum is None else empty((shape.grid[1], width), z)
    source, name = cuda_source(act.scalar), f"residual<{T}, {v}, {kind}, Act<{T}>>"
    sizes = (rows, width, shape.chunk)
    cuda.launch(source, name, shape, z, g, scale, partial, *sizes, up, down, act.a, act.b)
    if column_sum is not None:
        blocks = cuda.Tiles((-(-width // 32), 1), (32, cuda.THREADS // 32), shape.grid[1])
        cuda.launch(source, f"finish<{T}>", blocks, partial, column_sum, blocks.chunk, width, int(accumulate))


@cache
def cuda_source(scalar: Scalar) -> str:
    """Return the text of the CUDA kernels for an activation."""
    return cuda.PRELUDE + FLOORS + scalar.cuda + CUDA
