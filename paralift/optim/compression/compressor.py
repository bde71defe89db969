"""What a compressor is: a frozen description that turns vectors into messages of a fixed size, and back.

Either it is unbiased, E C(v) = v and E |C(v) - v|^2 <= omega |v|^2, or contractive, E |C(v) - v|^2 <= (1 - alpha) |v|^2;
algorithms ask which. All that is random is drawn by counting, from (seed, step, place): the same call gives the same message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from paralift.kernels import arrays
from paralift.kernels.arrays import Array, namespace
from paralift.kernels.draw import sample_keys

WORD = 8
"""Messages are whole multiples of so many bytes, so that those that are gathered one behind another can be read in place."""


@dataclass(frozen=True)
class Compressor:
    """Base of all compressors; one of your own gives `bytes`, `write`, `add`, and `contraction` or `relative_variance`.

    Vectors are arrays of any shape, contiguous, of float32 or float64; whoever reads a message knows their size and dtype.
    """

    def bytes(self, size: int, dtype: Any) -> int:
        """Return the length of a message for `size` numbers of `dtype`."""
        raise NotImplementedError(f"{type(self).__name__} has no messages")

    def write(self, v: Array, message: Array, step: int = 0, seed: int = 0) -> None:
        """Write what stands for `v` into `message`, uint8 of shape (bytes,); what is no number stays none.

        Ranks that must not draw alike have seeds of their own.
        """
        raise NotImplementedError(f"{type(self).__name__} has no messages")

    def add(self, message: Array, out: Array) -> None:
        """Add what a message stands for to `out`."""
        raise NotImplementedError(f"{type(self).__name__} has no messages")

    def contraction(self, size: int) -> float | None:
        """Return alpha in (0, 1], or None for an unbiased compressor."""
        return None

    def relative_variance(self, size: int) -> float | None:
        """Return omega, or None for a contractive compressor."""
        return None

    def message(self, like: Array) -> Array:
        """Return an empty message for arrays like this one."""
        return arrays.zeros((self.bytes(like.size, like.dtype),), like, np.uint8)

    def encode(self, v: Array, step: int = 0, seed: int = 0) -> Array:
        """Return the message for `v`, uint8 of shape (bytes,).

        Raises
        ------
        ValueError
            If a number of `v` is NaN or infinite.
        TypeError
            If `v` is not contiguous, or neither float32 nor float64.
        """
        if not bool(namespace(v).isfinite(v).all()):
            raise ValueError(
                f"{type(self).__name__}: a vector with a NaN or an infinite number was given, expected finite numbers"
            )
        message = self.message(v)
        self.write(v, message, step, seed)
        return message

    def decode(self, message: Array, out: Array) -> Array:
        """Overwrite `out` by what a message stands for, and return it.

        Raises
        ------
        ValueError
            If the message has another length than one for arrays like `out`.
        """
        out[...] = 0
        self.add(message, out)
        return out


def flat(v: Array, owner: Compressor) -> Array:
    """Return `v` as one row of numbers, its own memory."""
    if v.dtype.name not in ("float32", "float64") or not v.flags.c_contiguous:
        name = type(owner).__name__
        raise TypeError(
            f"{name}: an array of dtype {v.dtype} and shape {v.shape} was given, expected contiguous float32 or float64"
        )
    return v.reshape(-1)


def checked(message: Array, expected: int, owner: Compressor) -> Array:
    """Return the message, if it has the length that is expected."""
    if message.shape != (expected,) or message.dtype != np.uint8:
        given = f"{message.dtype} of shape {message.shape}"
        raise ValueError(f"{type(owner).__name__}: a message {given} was given, expected uint8 of shape ({expected},)")
    return message


def whole(count: int) -> int:
    """Return a number of bytes, rounded up to whole words."""
    return -(-count // WORD) * WORD


def key(seed: int, step: int, sender: int = 0) -> int:
    """Return where the random numbers of a message start, below 2^64."""
    return int(sample_keys(seed, step, np.array([sender]))[0])
