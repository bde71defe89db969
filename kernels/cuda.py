"""CUDA text becomes kernels here: compiled at first use, kept, and launched on CuPy's current stream.

CuPy is imported when the first CuPy array arrives. Nothing in this file copies to the host or waits for the device.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from paralift.kernels.arrays import Array

THREADS = 256
"""Threads of a block."""

BLOCKS = 4096
"""About as many blocks are started where work can be cut freely: some for each multiprocessor of a large device."""

PRELUDE = (
    f"enum : int {{ THREADS = {THREADS} }};\n"
    + r"""
template <typename T, int V> struct alignas(V * sizeof(T)) Pack { T v[V]; };

// Reads or writes n <= V neighbours, all V of them in one access of 16 bytes.
template <typename T, int V> __device__ inline Pack<T, V> load(const T* from, int n) {
  if (n == V) return *reinterpret_cast<const Pack<T, V>*>(from);
  Pack<T, V> p = {};
  for (int k = 0; k < n; k++) p.v[k] = from[k];
  return p;
}

template <typename T, int V> __device__ inline void store(T* to, const Pack<T, V>& p, int n) {
  if (n == V) { *reinterpret_cast<Pack<T, V>*>(to) = p; return; }
  for (int k = 0; k < n; k++) to[k] = p.v[k];
}

template <int V> __device__ inline int neighbours(long long j, long long width) {
  return width - j < V ? int(width - j) : V;
}

// Returns, to all threads with the same threadIdx.y, the sum of their values, always added in the same order.
template <typename T> __device__ inline T row_sum(T value) {
  __shared__ T sums[THREADS];
  T* mine = sums + threadIdx.y * blockDim.x;
  __syncthreads();
  mine[threadIdx.x] = value;
  __syncthreads();
  for (unsigned n = blockDim.x / 2; n > 0; n /= 2) {
    if (threadIdx.x < n) mine[threadIdx.x] += mine[threadIdx.x + n];
    __syncthreads();
  }
  return mine[0];
}
"""
)


class Tiles(NamedTuple):
    """How a matrix is cut into blocks of threads."""

    grid: tuple[int, int]
    block: tuple[int, int]
    chunk: int
    """Rows for each block."""


def vector(width: int, *matrices: Array) -> int:
    """Return how many neighbours an access takes: 16 bytes of them where every row starts at a multiple of 16."""
    count = 16 // matrices[0].dtype.itemsize
    aligned = all(address(x) % 16 == 0 for x in matrices)
    return count if aligned and width % count == 0 else 1


def address(x: Array) -> int:
    """Return the device address of a CuPy array."""
    return x.data.ptr


def tiles(rows: int, width: int, vector: int) -> Tiles:
    """Cut a matrix into tiles: a block takes `chunk` rows of some columns, a thread always the same columns."""
    packs = -(-width // vector)
    across = min(THREADS, 1 << (packs - 1).bit_length())
    beside = -(-packs // across)
    wanted = max(1, min(-(-rows * across // THREADS), BLOCKS // beside))
    chunk = max(1, -(-rows // wanted))
    return Tiles((beside, max(1, -(-rows // chunk))), (across, THREADS // across), chunk)


def row_tiles(rows: int, width: int, vector: int) -> Tiles:
    """Cut a matrix by rows only, for sums over the entries of a row."""
    across = min(THREADS, 1 << (-(-width // vector) - 1).bit_length())
    chunk = THREADS // across
    return Tiles((-(-rows // chunk), 1), (across, chunk), chunk)


def suits(*matrices: Array) -> bool:
    """Return whether kernels can work on these CuPy arrays: nonempty, contiguous, of one type that kernels know."""
    first = matrices[0]
    return first.size > 0 and all(
        x.flags.c_contiguous and x.dtype == first.dtype and x.dtype.name in CTYPES for x in matrices
    )


CTYPES = {"float32": "float", "float64": "double"}


def launch(source: str, name: str, shape: Tiles, *arguments: Any) -> None:
    """Start the kernel `name`, an instance of a template in `source`; None is passed as a null pointer."""
    passed = tuple(_argument(value) for value in arguments)
    function(source, name)(shape.grid, shape.block, passed)


def _argument(value: Any) -> Any:
    if value is None:
        return np.uintp(0)
    if isinstance(value, int):
        return np.int64(value)
    return np.float64(value) if isinstance(value, float) else value


@cache
def function(source: str, name: str) -> Any:
    """Return the compiled kernel `name` of `source`."""
    import cupy

    module = cupy.RawModule(code=source, options=("--std=c++17",), name_expressions=(name,))
    return module.get_function(name)
