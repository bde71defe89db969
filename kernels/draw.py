"""Random numbers by counting: every number is a hash of (seed, epoch, sample, stream, entry), so that whoever needs one has it.

No generator has a state: masks and augmentations are the same whatever rank owns the sample or the block, in the pass forward
and in the pass back, and in a resumed run.

| number | formula |
|---|---|
| key of a sample | mix(mix(mix(seed) + epoch G) + (sample + 1) G) |
| start of a stream | mix(key + (stream + 1) H) |
| entry j of it | mix(start + (j + 1) G), the generator SplitMix64 |

References
----------
Steele, Lea & Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014 (with the constants of Stafford's variant 13).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.extending import register_jitable

from paralift.kernels.arrays import Array, family, from_host, namespace
from paralift.kernels.elementary import log1p
from paralift.kernels.jit import jit

G, H = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03
A, B = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MASK = (1 << 64) - 1
_G, _H, _A, _B = np.uint64(G), np.uint64(H), np.uint64(A), np.uint64(B)
_11, _27, _30, _31 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31)
UNIT = 2.0**-53


def mix(x: int) -> int:
    """Return the hash of a whole number below 2^64."""
    x = ((x ^ (x >> 30)) * A) & MASK
    x = ((x ^ (x >> 27)) * B) & MASK
    return x ^ (x >> 31)


@register_jitable
def mix64(x):
    """Do what `mix` does, on uint64 numbers or arrays."""
    x = (x ^ (x >> _30)) * _A
    x = (x ^ (x >> _27)) * _B
    return x ^ (x >> _31)


def offset(stream: int) -> np.uint64:
    """Return what a stream's number adds to a key.

    Blocks' masks take the streams of their numbers, from 1; what is drawn for the input takes -1, -2, ...
    """
    return np.uint64(((stream + 1) * H) & MASK)


def sample_keys(seed: int, epoch: int, samples: np.ndarray) -> np.ndarray:
    """Return the keys of samples, by which all that is random about them is drawn.

    Parameters
    ----------
    seed, epoch : int
    samples : integer array of shape (n,)
        Numbers of the samples in the data set.

    Returns
    -------
    uint64 array of shape (n,)
    """
    keys = np.empty(len(samples), np.uint64)
    fill_keys(seed, epoch, 0, np.asarray(samples, np.int64), keys)
    return keys


def fill_keys(seed: int, epoch: int, first: int, indices: np.ndarray, keys: Array) -> None:
    """Write the keys of the samples first + indices into `keys`, uint64 of shape (n,)."""
    base = np.uint64(mix((mix(seed & MASK) + epoch * G) & MASK))
    if family(keys) == "numpy":
        _keys_numba(base, first, indices, keys)
    else:
        host = np.empty(len(indices), np.uint64)
        _keys_numba(base, first, indices, host)
        keys[...] = from_host(host, keys)


@jit
def _keys_numba(base, first, indices, keys):
    for i in range(keys.shape[0]):
        keys[i] = mix64(base + np.uint64(first + indices[i] + 1) * _G)


@jit
def _drop_numba(x, keys, offset, threshold, scale, out):
    zero = x.dtype.type(0)
    for i in range(x.shape[0]):
        start = mix64(keys[i] + offset)
        for j in range(x.shape[1]):
            bits = mix64(start + np.uint64(j + 1) * _G)
            out[i, j] = scale * x[i, j] if bits >= threshold else zero


def bits_formula(keys: Array, stream: int, width: int) -> Array:
    """Return the first `width` numbers of a stream for each key, uint64 of shape (n, width), in any array library."""
    xp = namespace(keys)

    def number(n: int) -> Array:
        return from_host(np.array([n & MASK], np.uint64), keys)

    def mixed(x: Array) -> Array:
        x = (x ^ (x >> number(30))) * number(A)
        x = (x ^ (x >> number(27))) * number(B)
        return x ^ (x >> number(31))

    start = mixed(keys + number((stream + 1) * H))
    counts = from_host(np.arange(1, width + 1, dtype=np.uint64), keys)
    return mixed(xp.reshape(start, (-1, 1)) + xp.reshape(counts * number(G), (1, -1)))


def threshold(rate: float) -> int:
    """Return the number below which one of 64 random bits lies with chance `rate`, 0 <= rate < 1."""
    return int(rate * 2**53) << 11


def drop(x: Array, keys: Array, stream: int, rate: float, out: Array) -> None:
    """Write x / (1 - rate) into `out`, with zeros where the stream says so, each with chance `rate`.

    Parameters
    ----------
    x, out : array of shape (rows, width)
        May be the same.
    keys : uint64 array of shape (rows,)
    stream : int
    rate : float
        In [0, 1).
    """
    scale = 1.0 / (1.0 - rate)
    if family(x) == "numpy":
        _drop_numba(x, keys, offset(stream), np.uint64(threshold(rate)), x.dtype.type(scale), out)
        return
    xp = namespace(x)
    kept = bits_formula(keys, stream, x.shape[1]) >= from_host(np.array([threshold(rate)], np.uint64), keys)
    out[...] = xp.where(kept, scale * x, xp.zeros_like(x))


@jit
def _shift_numba(x, keys, offset, most, edge):
    """Move every image (height, width, channels) by up to `most` pixels; outside it is zero, or `edge` goes on."""
    n, height, width, channels = x.shape
    sides = np.uint64(2 * most + 1)
    for i in range(n):
        start = mix64(keys[i] + offset)
        down = np.int64(mix64(start + _G) % sides) - most
        right = np.int64(mix64(start + _G + _G) % sides) - most
        for p in range(height):  # towards where it moves: what is read has not been written yet
            a = height - 1 - p if down > 0 else p
            from_a = a - down
            for q in range(width):
                b = width - 1 - q if right > 0 else q
                from_b = b - right
                if edge:
                    source_a, source_b = min(max(from_a, 0), height - 1), min(max(from_b, 0), width - 1)
                    for c in range(channels):
                        x[i, a, b, c] = x[i, source_a, source_b, c]
                elif 0 <= from_a < height and 0 <= from_b < width:
                    for c in range(channels):
                        x[i, a, b, c] = x[i, from_a, from_b, c]
                else:
                    for c in range(channels):
                        x[i, a, b, c] = 0


@jit
def _flip_numba(x, keys, offset, threshold):
    n, height, width, channels = x.shape
    for i in range(n):
        if mix64(mix64(keys[i] + offset) + _G) < threshold:
            for a in range(height):
                for b in range(width // 2):
                    for c in range(channels):
                        left = x[i, a, b, c]
                        x[i, a, b, c] = x[i, a, width - 1 - b, c]
                        x[i, a, width - 1 - b, c] = left


SINE = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(8, -1, -1))
COSINE = tuple((-1) ** n / math.factorial(2 * n) for n in range(8, -1, -1))


@register_jitable
def circle(turn):
    """Return cosine and sine of an angle of 0 to 1 full turns, by series within an eighth of a turn, in vector registers."""
    quarter = np.int64(4.0 * turn + 0.5)
    angle = 2.0 * np.pi * (turn - 0.25 * quarter)
    square = angle * angle
    s, c = SINE[0], COSINE[0]
    for k in range(1, 9):
        s = s * square + SINE[k]
        c = c * square + COSINE[k]
    s *= angle
    swapped = (quarter & 1) == 1
    cosine, sine = (s if swapped else c), (c if swapped else s)
    return (-cosine if ((quarter + 1) & 2) != 0 else cosine), (-sine if (quarter & 2) != 0 else sine)


@register_jitable
def normal_radius(bits):
    """Return sqrt(-2 ln u) of u in (0, 1], made of 64 bits: the length of two normal numbers (Box & Muller, 1958)."""
    u = np.float64((bits >> _11) + np.uint64(1)) * UNIT
    return np.sqrt(2.0 * log1p(1.0 / u - 1.0))


@jit
def _noise_numba(x, keys, offset, std):
    width = x.shape[1]
    half = (width + 1) // 2
    radius = np.empty(half)  # in loops of their own, logarithms and angles are vectorised
    for i in range(x.shape[0]):
        start = mix64(keys[i] + offset)
        left, right = x[i, :half], x[i, half:]
        for j in range(half):
            radius[j] = std * normal_radius(mix64(start + np.uint64(j + 1) * _G))
        for j in range(width - half):
            cosine, sine = circle(np.float64(mix64(start + np.uint64(half + j + 1) * _G) >> _11) * UNIT)
            left[j] += radius[j] * cosine
            right[j] += radius[j] * sine
        if width % 2:
            cosine, _ = circle(np.float64(mix64(start + np.uint64(2 * half) * _G) >> _11) * UNIT)
            left[half - 1] += radius[half - 1] * cosine


def shift(x: Array, keys: Array, stream: int, most: int, edge: bool) -> None:
    """Move every image of `x` (n, height, width, channels) in place, by up to `most` pixels each way, all as likely.

    What comes in from outside is zero, or with `edge` what is nearest to it inside.
    """
    if family(x) == "numpy":
        _shift_numba(x, keys, offset(stream), most, edge)
        return
    xp = namespace(x)
    n, height, width, channels = x.shape
    by = _small(bits_formula(keys, stream, 2), 2 * most + 1) - most
    rows = _counts(height, by)[None, :] - by[:, 0:1]
    columns = _counts(width, by)[None, :] - by[:, 1:2]
    flat = xp.clip(rows, 0, height - 1)[:, :, None] * width + xp.clip(columns, 0, width - 1)[:, None, :]
    flat = flat + _counts(n, by)[:, None, None] * (height * width)
    moved = xp.reshape(xp.take(xp.reshape(x, (-1, channels)), xp.reshape(flat, (-1,)), axis=0), x.shape)
    if not edge:
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
        moved = xp.where(inside[:, :, :, None], moved, xp.zeros_like(moved))
    x[...] = moved


def flip(x: Array, keys: Array, stream: int, chance: float) -> None:
    """Mirror each image of `x` (n, height, width, channels) left to right in place, with a chance < 1."""
    if family(x) == "numpy":
        _flip_numba(x, keys, offset(stream), np.uint64(threshold(chance)))
        return
    xp = namespace(x)
    turned = bits_formula(keys, stream, 1) < from_host(np.array([threshold(chance)], np.uint64), keys)
    x[...] = xp.where(turned[:, :, None, None], xp.flip(x, axis=2), x)


def noise(x: Array, keys: Array, stream: int, std: float) -> None:
    """Add normal numbers of standard deviation `std` to `x` (n, width) in place."""
    if family(x) == "numpy":
        _noise_numba(x, keys, offset(stream), std)
        return
    xp = namespace(x)
    width = x.shape[1] + x.shape[1] % 2
    bits = bits_formula(keys, stream, width)
    unit = _cast(bits >> from_host(np.array([11], np.uint64), keys), xp.float64) * UNIT
    radius = std * xp.sqrt(-2.0 * xp.log(unit[:, : width // 2] + UNIT))
    angle = 2.0 * math.pi * unit[:, width // 2 :]
    join = getattr(xp, "concat", None) or xp.concatenate
    pairs = join([radius * xp.cos(angle), radius * xp.sin(angle)], axis=1)
    x[...] = x + _cast(pairs[:, : x.shape[1]], x.dtype)


def _small(bits: Array, below: int) -> Array:
    """Return the remainders of uint64 numbers, as int64."""
    xp = namespace(bits)
    return _cast(bits % from_host(np.array([below], np.uint64), bits), xp.int64)


def _cast(x: Array, dtype: Any) -> Array:
    return x.astype(dtype) if hasattr(x, "astype") else namespace(x).astype(x, dtype)


def _counts(n: int, like: Array) -> Array:
    return from_host(np.arange(n), like)
