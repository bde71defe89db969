"""z <- z + offset and x <- sigma(z), in one pass over memory."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np

from paralift.kernels import cuda
from paralift.kernels.arrays import Array, Work, family
from paralift.kernels.jit import jit
from paralift.kernels.scalars import Elementwise, Function, Scalar


def bias_activation(act: Elementwise, z: Array, offset: Array | None, x: Array) -> None:
    """Add `offset` (width,) to `z` (rows, width) in place and write sigma(z) into `x`, which may be `z`."""
    bound(act, z, offset, x)()


def bound(act: Elementwise, z: Array, offset: Array | None, x: Array) -> Work:
    """Return `bias_activation` as work on these arrays."""
    if isinstance(z, np.ndarray):
        return partial(numba_kernel(act.scalar), z, offset, None if x is z else x, act.a, act.b)
    if family(z) == "cupy" and act.scalar.cuda and cuda.suits(z, x):
        return partial(cuda_launch, act, z, offset, x)
    return partial(formula, act.sigma, z, offset, x)


def formula(sigma: Function, z: Array, offset: Array | None, x: Array) -> None:
    """Do the same with whole-array operations, for any array library."""
    if offset is not None:
        z += offset
    x[...] = sigma(z)


@cache
def numba_kernel(scalar: Scalar) -> Any:
    """Return the compiled ``(z, offset or None, x or None for in place, a, b)``."""
    sigma = scalar.sigma

    def kernel(z, offset, x, a, b):
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                zj = z[i, j]
                if offset is not None:
                    zj += offset[j]
                if x is None:
                    z[i, j] = sigma(zj, a, b)
                else:
                    if offset is not None:
                        z[i, j] = zj
                    x[i, j] = sigma(zj, a, b)

    return jit(kernel, scalar.name, scalar.stamp)


CUDA = r"""
template <typename T, int V, typename A>
__global__ void bias_activation(T* z, const T* offset, T* x, long long rows, long long width, long long chunk,
                                double a, double b) {
  const long long j = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * V;
  if (j >= width) return;
  const A act = {T(a), T(b)};
  const int n = neighbours<V>(j, width);
  Pack<T, V> shift = {};
  if (offset) shift = load<T, V>(offset + j, n);
  const long long end = min(rows, (blockIdx.y + 1) * chunk);
  for (long long i = blockIdx.y * chunk + threadIdx.y; i < end; i += blockDim.y) {
    Pack<T, V> p = load<T, V>(z + i * width + j, n);
    if (offset) {
      for (int k = 0; k < V; k++) p.v[k] += shift.v[k];
      if (x != z) store<T, V>(z + i * width + j, p, n);
    }
    for (int k = 0; k < V; k++) p.v[k] = act.sigma(p.v[k]);
    store<T, V>(x + i * width + j, p, n);
  }
}
"""


def cuda_launch(act: Elementwise, z: Array, offset: Array | None, x: Array) -> None:
    """Start the CUDA kernel; without an offset the matrix is one long row, whose end may be ragged."""
    rows, width = z.shape if offset is not None else (1, z.size)
    arrays = (z, x) if offset is None else (z, x, offset)
    count = 16 // z.dtype.itemsize if offset is None else width
    v = cuda.vector(count, *arrays)
    shape = cuda.tiles(rows, width, v)
    name = f"bias_activation<{cuda.CTYPES[z.dtype.name]}, {v}, Act<{cuda.CTYPES[z.dtype.name]}>>"
    cuda.launch(cuda_source(act.scalar), name, shape, z, offset, x, rows, width, shape.chunk, act.a, act.b)


@cache
def cuda_source(scalar: Scalar) -> str:
    """Return the text of the CUDA kernel for an activation."""
    return cuda.PRELUDE + scalar.cuda + CUDA
