"""Some numbers of a vector with their places: the largest, or random ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from paralift.kernels.arrays import Array, from_host, namespace
from paralift.kernels.draw import bits_formula
from paralift.optim.checks import set_count, set_number
from paralift.optim.compression.compressor import WORD, Compressor, checked, flat, key, whole

STREAM = (1 << 32) + 1
"""Of random places: another one than that of quantisers."""


@dataclass(frozen=True)
class _Some(Compressor):
    """Base: k numbers of d, all of them if there are no more.

    Parameters
    ----------
    k : int, optional
    fraction : float, optional
        In (0, 1]; k = fraction d, rounded up.

    Raises
    ------
    ValueError
        If both are given or neither is, or one is out of range.
    """

    k: int | None = None
    fraction: float | None = None

    def __post_init__(self) -> None:
        if (self.k is None) == (self.fraction is None):
            name = type(self).__name__
            raise ValueError(f"{name}: k = {self.k} and fraction = {self.fraction} were given, expected one of them")
        if self.k is not None:
            set_count(self, "k", 1)
        else:
            set_number(self, "fraction", 0.0)
            if not 0 < self.fraction <= 1:  # type: ignore[operator]
                name = type(self).__name__
                raise ValueError(
                    f"{name}: fraction = {self.fraction} was given, expected a number greater than 0 and at most 1"
                )

    def count(self, size: int) -> int:
        """Return k for vectors of `size` numbers."""
        wanted = self.k if self.k is not None else int(np.ceil(self.fraction * size))  # type: ignore[operator]
        return max(1, min(wanted, size))


@dataclass(frozen=True)
class TopK(_Some):
    """The k numbers of the largest magnitude, as they are: contractive with alpha = k / d."""

    def bytes(self, size: int, dtype: Any) -> int:
        """Return the length of a message: k numbers, and k places in as few bytes as the last place needs."""
        return whole(self.count(size) * (np.dtype(dtype).itemsize + _places(size).itemsize))

    def write(self, v: Array, message: Array, step: int = 0, seed: int = 0) -> None:
        """Write numbers and places, in the order of places; a NaN counts as largest."""
        v = flat(v, self)
        values, places = self._parts(message, v)
        k, xp = len(values), namespace(v)
        if k < v.size:
            places[...] = xp.argpartition(xp.abs(v), v.size - k)[v.size - k :]
            places.sort()
        else:
            places[...] = xp.arange(v.size)
        values[...] = v[places]

    def add(self, message: Array, out: Array) -> None:
        """Add the numbers of a message at their places."""
        out = flat(out, self)
        values, places = self._parts(message, out)
        out[places] += values

    def contraction(self, size: int) -> float:
        """Return k / d."""
        return self.count(size) / size

    def _parts(self, message: Array, like: Array) -> tuple[Array, Array]:
        checked(message, self.bytes(like.size, like.dtype), self)
        k, kind = self.count(like.size), _places(like.size)
        end = k * like.dtype.itemsize
        return message[:end].view(like.dtype), message[end : end + k * kind.itemsize].view(kind)


@dataclass(frozen=True)
class RandomK(_Some):
    """The numbers at k random places; the places are not sent, but drawn again from a word that is.

    As they are, they are contractive on average with alpha = k / d; times d / k, they are unbiased with omega = d / k - 1.

    Parameters
    ----------
    k : int, optional
    fraction : float, optional
    unbiased : bool
        Times d / k.
    """

    unbiased: bool = False

    def bytes(self, size: int, dtype: Any) -> int:
        """Return the length of a message: a word, and k numbers."""
        return WORD + whole(self.count(size) * np.dtype(dtype).itemsize)

    def write(self, v: Array, message: Array, step: int = 0, seed: int = 0) -> None:
        """Write the word and the numbers; a NaN or an infinity is sent when its place is drawn."""
        v = flat(v, self)
        word, values = self._parts(message, v)
        word[...] = from_host(np.array([key(seed, step)], np.uint64), v)
        values[...] = v[self.places(word, v.size)]
        if self.unbiased:
            values *= v.size / len(values)

    def add(self, message: Array, out: Array) -> None:
        """Add the numbers of a message at their places."""
        out = flat(out, self)
        word, values = self._parts(message, out)
        out[self.places(word, out.size)] += values

    def places(self, word: Array, size: int) -> Array:
        """Return k places of `size`, all choices as likely: those of the least of as many random numbers."""
        k, bits = self.count(size), bits_formula(word, STREAM, size)[0]
        return namespace(bits).argpartition(bits, k - 1)[:k]

    def variance(self, v: Array) -> float:
        """Return E |C(v) - v|^2, exactly: (1 - k/d) |v|^2, or (d/k - 1) |v|^2 if unbiased."""
        ratio = self.count(v.size) / v.size
        return float((v.reshape(-1) ** 2).sum()) * ((1.0 / ratio - 1.0) if self.unbiased else 1.0 - ratio)

    def contraction(self, size: int) -> float | None:
        """Return k / d, or None if unbiased."""
        return None if self.unbiased else self.count(size) / size

    def relative_variance(self, size: int) -> float | None:
        """Return d / k - 1, or None unless unbiased."""
        return size / self.count(size) - 1.0 if self.unbiased else None

    def _parts(self, message: Array, like: Array) -> tuple[Array, Array]:
        checked(message, self.bytes(like.size, like.dtype), self)
        end = WORD + self.count(like.size) * like.dtype.itemsize
        return message[:WORD].view(np.uint64), message[WORD:end].view(like.dtype)


def _places(size: int) -> np.dtype:
    """Return the smallest type of places."""
    return np.dtype(np.min_scalar_type(max(size - 1, 0)))
