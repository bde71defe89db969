"""Numbers in 2, 4 or 8 bits: a sign and one of a few levels, at random so that what is decoded is on average what was given.

A bucket of consecutive numbers v_j shares a scale, its length |v|_2 or its largest magnitude |v|_inf. With a_j = |v_j| / scale,
levels 0 = l_0 < ... < l_s = 1 and l_k <= a_j < l_{k+1},

    p_j = (a_j - l_k) / (l_{k+1} - l_k),   code_j = k + [u_j < p_j],   u_j uniform in [0, 1), or 1/2 for the nearest level,
    E decoded = v,   E |decoded - v|^2 = scale^2 sum_j (l_{k+1} - a_j)(a_j - l_k).

The levels alone tell the published quantisers from each other; the kernels are the same.

| number | where |
|---|---|
| scale, float32 | the length or magnitude in float64, rounded up, so that a_j <= 1; the smallest normal number at least |
| u_j | the first 53 bits of entry j of a stream of `kernels/draw.py`, j the place in the whole array |
| code of b bits | level k below, the sign above it; 8 / b codes a byte, the first in the lowest bits |

All is computed in float64: float32 and float64 arrays of the same numbers have the same codes. A NaN or an infinity makes the
scale of its bucket not finite, and nothing else.

References
----------
Alistarh, Grubic, Li, Tomioka & Vojnovic, NeurIPS 2017 (stochastic rounding of a normalised vector to levels).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from paralift.kernels import cuda
from paralift.kernels.arrays import Array, family, from_host, namespace
from paralift.kernels.draw import MASK, UNIT, G, H, bits_formula, mix, mix64
from paralift.kernels.draw import _cast as cast
from paralift.kernels.jit import jit

NORMS = ("l2", "max")
BITS = (2, 4, 8)
TINY, UP = 2.0**-126, 1.0 + 2.0**-23
_G, _11 = np.uint64(G), np.uint64(11)
STREAM = 1 << 32
"""Of random numbers: far from those of blocks and of the input."""
CHUNK = 512
"""Numbers that a Numba kernel takes at once, so that they stay in the cache."""


class Grid(NamedTuple):
    """How numbers are coded.

    Attributes
    ----------
    levels : tuple of float
        From 0 to 1, increasing, at most 2^(bits - 1).
    bits : int
        Of a code: 2, 4 or 8.
    bucket : int
        Numbers that share a scale, a multiple of 8 / bits.
    norm : {"l2", "max"}
    """

    levels: tuple[float, ...]
    bits: int
    bucket: int
    norm: str

    def n_buckets(self, size: int) -> int:
        """Return how many scales an array of `size` numbers has."""
        return -(-size // self.bucket)

    def n_bytes(self, size: int) -> int:
        """Return how many bytes its codes take."""
        return -(-size * self.bits // 8)


def encode(v: Array, grid: Grid, key: int, scales: Array, codes: Array, nearest: bool = False) -> None:
    """Write the scales and the packed codes of `v`.

    Parameters
    ----------
    v : (n,) float32 or float64, contiguous
    grid : Grid
    key : int
        From which the random numbers are drawn, below 2^64: one of `draw.sample_keys`.
    scales : (n_buckets(n),) float32
    codes : (n_bytes(n),) uint8
    nearest : bool
        Take the nearest level, not a random one.
    """
    if family(v) == "numpy":
        _scales_numba(v, grid.bucket, grid.norm == "l2", scales)
        kernel("codes", grid.bits)(v, scales, _table(grid), grid.bucket, np.uint64(_start(key)), nearest, codes)
    elif family(v) == "cupy" and cuda.suits(v):
        cuda_encode(v, grid, key, scales, codes, nearest)
    else:
        scales[...] = scales_formula(v, grid)
        codes[...] = codes_formula(v, grid, key, scales, nearest)


def decode(scales: Array, codes: Array, grid: Grid, out: Array, add: bool = False) -> None:
    """Write the numbers that `codes` stand for into `out` (n,), or add them to it."""
    if family(out) == "numpy":
        kernel("numbers", grid.bits)(scales, codes, _table(grid), grid.bucket, add, out)
    elif family(out) == "cupy" and cuda.suits(out):
        cuda_decode(scales, codes, grid, out, add)
    else:
        values = decode_formula(scales, codes, grid, out)
        out[...] = out + values if add else values


def variance(v: Array, grid: Grid, scales: Array) -> float:
    """Return E |decoded - v|^2 over the random numbers, exactly."""
    xp, table = namespace(v), _table_like(grid, v)
    a, k, _ = places(v, grid, scales)
    upper = xp.take(table, k + 1)
    spread = (xp.where(upper > 1.0, a, upper) - a) * (a - xp.take(table, k))  # what is above 1 is no level
    return float(xp.sum(spread * _spread(scales, grid, v.shape[0]) ** 2))


# Formulas, for any array library.


def scales_formula(v: Array, grid: Grid) -> Array:
    """Return the scales of `v`, float32 of shape (buckets,)."""
    xp = namespace(v)
    buckets = grid.n_buckets(v.shape[0])
    x = xp.abs(_padded(cast(v, xp.float64), buckets * grid.bucket))
    x = xp.reshape(x, (buckets, grid.bucket))
    top = xp.max(x, axis=1)
    if grid.norm == "l2":
        top = xp.maximum(xp.sqrt(xp.sum(x * x, axis=1)), top)
    scale = cast(top, xp.float32)
    scale = xp.where(cast(scale, xp.float64) < top, cast(top * UP, xp.float32), scale)
    return xp.where((top > 0.0) & (top < TINY), xp.full_like(scale, TINY), scale)


def places(v: Array, grid: Grid, scales: Array) -> tuple[Array, Array, Array]:
    """Return a, the level k below each a, and the chance of the level above, shape (n,)."""
    xp, table = namespace(v), _table_like(grid, v)
    scale = _spread(scales, grid, v.shape[0])
    one, zero = xp.ones_like(scale), xp.zeros_like(scale)
    held = scale > 0.0
    a = xp.where(held, xp.minimum(xp.abs(cast(v, xp.float64)) / xp.where(held, scale, one), one), zero)
    k = xp.zeros(a.shape, dtype=xp.int64, **_where(v))
    for level in grid.levels[1:]:
        k = k + cast(a >= level, xp.int64)
    lower = xp.take(table, k)
    return a, k, (a - lower) / (xp.take(table, k + 1) - lower)


def codes_formula(v: Array, grid: Grid, key: int, scales: Array, nearest: bool) -> Array:
    """Return the packed codes of `v`."""
    xp = namespace(v)
    _, k, chance = places(v, grid, scales)
    u = 0.5 if nearest else _uniform(v, key)
    code = k + cast(u < chance, xp.int64) + cast(v < 0.0, xp.int64) * (1 << (grid.bits - 1))
    per, count = 8 // grid.bits, grid.n_bytes(v.shape[0])
    code = xp.reshape(_padded(code, count * per), (count, per))
    weights = from_host(np.array([1 << (grid.bits * i) for i in range(per)], np.int64), v)
    return cast(xp.sum(code * xp.reshape(weights, (1, per)), axis=1), xp.uint8)


def decode_formula(scales: Array, codes: Array, grid: Grid, like: Array) -> Array:
    """Return the numbers that `codes` stand for, of the shape and dtype of `like`."""
    xp, n, table = namespace(like), like.shape[0], _table_like(grid, like)
    bits, half = grid.bits, 1 << (grid.bits - 1)
    wide = cast(codes, xp.int64)
    code = xp.reshape(xp.stack([(wide // (1 << (bits * i))) % (1 << bits) for i in range(8 // bits)], axis=1), (-1,))[:n]
    value = xp.take(table, code % half) * _spread(scales, grid, n)
    return cast(xp.where(code >= half, -value, value), like.dtype)


def _uniform(v: Array, key: int) -> Array:
    """Return u, shape (n,)."""
    bits = bits_formula(from_host(np.array([key], np.uint64), v), STREAM, v.shape[0])[0, :]
    return cast(bits >> from_host(np.array([11], np.uint64), v), namespace(v).float64) * UNIT


def _start(key: int) -> int:
    """Return where the stream starts."""
    return mix((key + (STREAM + 1) * H) & MASK)


def _padded(x: Array, size: int) -> Array:
    xp = namespace(x)
    join = getattr(xp, "concat", None) or xp.concatenate
    return join([x, xp.zeros((size - x.shape[0],), dtype=x.dtype, **_where(x))])


def _spread(scales: Array, grid: Grid, n: int) -> Array:
    """Return the scale of every number, float64 of shape (n,)."""
    xp = namespace(scales)
    which = from_host(np.arange(n) // grid.bucket, scales)
    return xp.take(cast(scales, xp.float64), which)


def _where(like: Array) -> dict[str, object]:
    return {"device": like.device} if family(like) == "other" else {}


@cache
def _table(grid: Grid) -> np.ndarray:
    """Return the levels, and infinity at all places up to 2^(bits - 1): no search leaves the table."""
    table = np.full((1 << (grid.bits - 1)) + 1, np.inf)
    table[: len(grid.levels)] = grid.levels
    return table


def _table_like(grid: Grid, like: Array) -> Array:
    return _on_device(grid, like.device.id) if family(like) == "cupy" else from_host(_table(grid), like)


@cache
def _on_device(grid: Grid, device: int) -> Array:
    import cupy

    with cupy.cuda.Device(device):
        return cupy.asarray(_table(grid))


# Numba. Divisions and comparisons are not reordered: the same scales give the same codes on every path.


@register_jitable(fastmath=False, forceinline=True)
def _rounded_up(top):
    scale = np.float32(top)
    if np.float64(scale) < top:
        scale = np.float32(top * UP)
    return np.float32(TINY) if 0.0 < top < TINY else scale


@register_jitable(fastmath=False, forceinline=True)
def _magnitude(x, scale):
    return min(abs(np.float64(x)) / scale, 1.0) if scale > 0.0 else 0.0


@register_jitable(fastmath=False, forceinline=True)
def _above(a, lower, upper, u):
    return 1 if u < (a - lower) / (upper - lower) else 0


@jit
def _scales_numba(v, bucket, square, scales):
    for i in range(scales.shape[0]):
        total, top = 0.0, 0.0
        for j in range(i * bucket, min((i + 1) * bucket, v.shape[0])):
            x = abs(np.float64(v[j]))
            total += x * x
            top = x if x > top else top
        if total != total:
            scales[i] = np.float32(total)  # a NaN that no comparison has seen
        else:
            scales[i] = _rounded_up(max(np.sqrt(total), top) if square else top)


def _build_codes(bits):
    per, half = 8 // bits, 1 << (bits - 1)

    def codes(v, scales, table, bucket, start, nearest, out):
        a, u, code = np.empty(CHUNK), np.full(CHUNK, 0.5), np.zeros(CHUNK, np.uint8)  # in loops of their own all is vectorised
        for i in range(scales.shape[0]):
            scale, last = np.float64(scales[i]), min((i + 1) * bucket, v.shape[0])
            for first in range(i * bucket, last, CHUNK):
                n = min(CHUNK, last - first)
                if not nearest:
                    for j in range(n):
                        u[j] = np.float64(np.int64(mix64(start + np.uint64(first + j + 1) * _G) >> _11)) * UNIT
                for j in range(n):
                    a[j] = _magnitude(v[first + j], scale)
                for j in range(n):
                    k, step = 0, half // 2
                    for _ in range(bits - 1):
                        k += step if a[j] >= table[k + step] else 0
                        step >>= 1
                    code[j] = k + _above(a[j], table[k], table[k + 1], u[j]) + (half if v[first + j] < 0 else 0)
                code[n : n + per] = 0  # what follows the last number in its byte
                for at in range((n + per - 1) // per):
                    byte = 0
                    for p in range(per):
                        byte |= code[at * per + p] << (bits * p)
                    out[first // per + at] = byte

    return codes


def _build_numbers(bits):
    per, half = 8 // bits, 1 << (bits - 1)

    def numbers(scales, codes, table, bucket, add, out):
        for i in range(scales.shape[0]):
            scale = np.float64(scales[i])
            for j in range(i * bucket, min((i + 1) * bucket, out.shape[0])):
                code = (np.int64(codes[j // per]) >> (bits * (j % per))) & (2 * half - 1)
                value = table[code & (half - 1)] * scale
                value = out.dtype.type(-value if code >= half else value)
                out[j] = out[j] + value if add else value

    return numbers


@cache
def kernel(name: str, bits: int) -> Callable[..., None]:
    """Return the Numba kernel "codes" or "numbers" for so many bits."""
    return jit({"codes": _build_codes, "numbers": _build_numbers}[name](bits), str(bits))


CUDA = r"""
// One block a bucket.
template <typename T>
__global__ void scale_buckets(const T* v, long long n, long long bucket, long long square, float* scales) {
  __shared__ double tops[THREADS];
  const long long first = blockIdx.x * bucket, last = first + bucket < n ? first + bucket : n;
  double total = 0, top = 0;
  for (long long j = first + threadIdx.x; j < last; j += THREADS) {
    const double x = fabs(double(v[j]));
    total += x * x;
    top = x <= top || top != top ? top : x;  // a NaN comes in, and stays
  }
  total = row_sum(total);
  tops[threadIdx.x] = top;
  __syncthreads();
  for (int m = THREADS / 2; m > 0; m /= 2) {
    if (threadIdx.x < m) {
      const double a = tops[threadIdx.x], b = tops[threadIdx.x + m];
      tops[threadIdx.x] = b <= a || a != a ? a : b;
    }
    __syncthreads();
  }
  if (threadIdx.x) return;
  top = tops[0];
  if (square && !(sqrt(total) <= top)) top = sqrt(total);
  float scale = float(top);
  if (double(scale) < top) scale = float(top * UP);
  scales[blockIdx.x] = top > 0 && top < TINY ? float(TINY) : scale;
}

__device__ inline double uniform(unsigned long long x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return double((x ^ (x >> 31)) >> 11) * 0x1p-53;
}

// A thread writes whole bytes.
template <typename T, int B>
__global__ void encode(const T* v, long long n, const double* table, long long bucket, long long start, long long nearest,
                       const float* scales, unsigned char* codes) {
  const int PER = 8 / B, HALF = 1 << (B - 1);
  const long long stride = gridDim.x * (long long)blockDim.x;
  for (long long at = blockIdx.x * (long long)blockDim.x + threadIdx.x; at * PER < n; at += stride) {
    const double scale = scales[at * PER / bucket];
    unsigned byte = 0;
    for (int i = 0; i < PER && at * PER + i < n; i++) {
      const long long j = at * PER + i;
      const double x = v[j], u = nearest ? 0.5 : uniform(start + (j + 1) * 0x9E3779B97F4A7C15ull);
      double a = scale > 0 ? fabs(x) / scale : 0;
      if (a > 1) a = 1;
      int k = 0;
      for (int step = HALF / 2; step; step /= 2)
        if (a >= table[k + step]) k += step;
      const double lower = table[k];
      if (u < (a - lower) / (table[k + 1] - lower)) k++;
      byte |= unsigned(k + (x < 0 ? HALF : 0)) << (B * i);
    }
    codes[at] = byte;
  }
}

template <typename T, int B>
__global__ void decode(const float* scales, const unsigned char* codes, const double* table, long long bucket, long long add,
                       T* out, long long n) {
  const int PER = 8 / B, HALF = 1 << (B - 1);
  const long long stride = gridDim.x * (long long)blockDim.x;
  for (long long j = blockIdx.x * (long long)blockDim.x + threadIdx.x; j < n; j += stride) {
    const int code = codes[j / PER] >> (B * int(j % PER)) & (2 * HALF - 1);
    const double value = table[code % HALF] * scales[j / bucket];
    out[j] = (add ? out[j] : T(0)) + T(code >= HALF ? -value : value);
  }
}
"""

SOURCE = f"{cuda.PRELUDE}\n#define TINY {TINY.hex()}\n#define UP {UP.hex()}\n{CUDA}"


def cuda_encode(v: Array, grid: Grid, key: int, scales: Array, codes: Array, nearest: bool) -> None:
    """Start the CUDA kernels of `encode` on CuPy arrays."""
    T, n, square = cuda.CTYPES[v.dtype.name], v.shape[0], int(grid.norm == "l2")
    cuda.launch(SOURCE, f"scale_buckets<{T}>", _blocks(scales.shape[0]), v, n, grid.bucket, square, scales)
    cuda_encode_codes(v, grid, key, scales, codes, nearest)


def cuda_encode_codes(v: Array, grid: Grid, key: int, scales: Array, codes: Array, nearest: bool) -> None:
    """Start the CUDA kernel of the codes alone."""
    T, n = cuda.CTYPES[v.dtype.name], v.shape[0]
    shape = _blocks(min(-(-codes.shape[0] // cuda.THREADS), cuda.BLOCKS))
    signed = int(np.uint64(_start(key)).view(np.int64))
    table = _table_like(grid, v)
    cuda.launch(SOURCE, f"encode<{T}, {grid.bits}>", shape, v, n, table, grid.bucket, signed, int(nearest), scales, codes)


def cuda_decode(scales: Array, codes: Array, grid: Grid, out: Array, add: bool) -> None:
    """Start the CUDA kernel of `decode` on CuPy arrays."""
    shape = _blocks(min(-(-out.shape[0] // cuda.THREADS), cuda.BLOCKS))
    instance = f"decode<{cuda.CTYPES[out.dtype.name]}, {grid.bits}>"
    cuda.launch(SOURCE, instance, shape, scales, codes, _table_like(grid, out), grid.bucket, int(add), out, out.shape[0])


def _blocks(count: int) -> cuda.Tiles:
    return cuda.Tiles((count, 1), (cuda.THREADS, 1), 1)
