"""Tokens: an embedding reads rows of a table, a readout multiplies by them.

Token numbers are the network's input x_0, held as floating point like every sample; float32 holds them exactly to 2^24.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paralift.kernels import tokens as kernels
from paralift.kernels.arrays import Array, Work, bound_matmul, namespace, to_host
from paralift.lifted.maps.affine import rows
from paralift.lifted.maps.base import Map, Shape, ShapeError, Theta, expect_parents

MOST_TOKENS = 1 << 24
"""Whole numbers that float32 tells apart."""


@dataclass(frozen=True)
class Embedding(Map):
    """z = the rows of a table that the tokens name: one-hot rows times `weight`, samples (T,) -> (T, width).

    It reads the network's input, which never moves: tokens have no pull.

    Parameters
    ----------
    tokens, width : int
        `weight` has shape (tokens, width).
    """

    tokens: int
    width: int

    def __post_init__(self) -> None:
        _check_sizes(self)

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the parent's shape with one more axis of `width`."""
        expect_parents(self, shapes, 1)
        if not shapes[0]:
            raise ShapeError(f"{self!r} expects samples of one token or more, its parent gives shape ()")
        return (*shapes[0], self.width)

    def parameters(self) -> dict[str, Shape]:
        """Return the shape of `weight`."""
        return {"weight": (self.tokens, self.width)}

    def init(self, rng: np.random.Generator, gain: float) -> dict[str, np.ndarray]:
        """Return normal rows of mean square gain / width: with tied weights a readout then starts like a `Linear`."""
        return {"weight": rng.standard_normal((self.tokens, self.width)) * np.sqrt(gain / self.width)}

    def check_values(self, x: Array, first: int = 0) -> None:
        """Raise ValueError, naming the sample, unless all of `x` are whole numbers from 0 to tokens - 1."""
        host = to_host(x)
        wrong = ~((host >= 0) & (host < self.tokens) & (host == np.floor(host)))
        if wrong.any():
            sample, *place = (int(k) for k in np.argwhere(wrong)[0])
            where = f"sample {first + sample}, position {place[0] if len(place) == 1 else tuple(place)}"
            raise ValueError(
                f"{where}: the token is {host[(sample, *place)]:g}, expected a whole number from 0 to {self.tokens - 1} "
                f"for {self!r} (samples and positions count from 0)"
            )

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Write the tokens' rows into `out`."""
        kernels.gather(_flat(xs[0]), theta["weight"], rows(out))

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Raise TypeError: a token is a number of a row and cannot move."""
        raise TypeError(f"{self!r}: tokens have no pull; clamp the input, and leave it without a regulariser")

    def gradient(self, xs: Sequence[Array], r: Array, out: Theta) -> None:
        """Write the sum of the rows of r that belong to each token into ``out["weight"]``."""
        kernels.scatter(_flat(xs[0]), rows(r), out["weight"])

    def norm(self, theta: Theta, parent: int) -> float:
        """Return 0: nothing moves the tokens."""
        return 0.0

    def curvature(self, xs: Sequence[Array]) -> np.ndarray:
        """Return how often each token occurs, shape (tokens,): the Gram matrix is diagonal."""
        return kernels.counts(to_host(xs[0]), self.tokens)

    def cost(self, *shapes: Shape) -> float:
        """Return 0: a copy is counted with the bytes, not with the operations."""
        return 0.0


@dataclass(frozen=True)
class Readout(Map):
    """z = x W^T on the last axis of x: scores of all tokens, W of the shape of an `Embedding`'s, with which it may be tied.

    Parameters
    ----------
    tokens, width : int
        `weight` has shape (tokens, width).
    """

    tokens: int
    width: int

    def __post_init__(self) -> None:
        _check_sizes(self)

    def input_shape(self) -> Shape:
        """Return (width,)."""
        return (self.width,)

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the parent's shape with its last axis of `tokens`."""
        expect_parents(self, shapes, 1)
        if not shapes[0] or shapes[0][-1] != self.width:
            raise ShapeError(
                f"{self!r} expects samples of {self.width} features on the last axis, its parent gives shape {shapes[0]}"
            )
        return (*shapes[0][:-1], self.tokens)

    def parameters(self) -> dict[str, Shape]:
        """Return the shape of `weight`."""
        return {"weight": (self.tokens, self.width)}

    def init(self, rng: np.random.Generator, gain: float) -> dict[str, np.ndarray]:
        """Return normal weights of variance gain / width."""
        return {"weight": rng.standard_normal((self.tokens, self.width)) * np.sqrt(gain / self.width)}

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Write x W^T into `out`."""
        self.bound_apply(theta, xs, out)()

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Write r W into `out`."""
        self.bound_adjoint(theta, xs, r, parent, out)()

    def gradient(self, xs: Sequence[Array], r: Array, out: Theta) -> None:
        """Write r^T x into ``out["weight"]``."""
        self.bound_gradient(xs, r, out)()

    def bound_apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> Work:
        """Return the product x W^T, bound to its arrays."""
        return bound_matmul(rows(xs[0]), theta["weight"].T, rows(out))

    def bound_adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> Work:
        """Return the product r W, bound to its arrays."""
        return bound_matmul(rows(r), theta["weight"], rows(out))

    def bound_gradient(self, xs: Sequence[Array], r: Array, out: Theta) -> Work:
        """Return the product r^T x, bound to its arrays."""
        return bound_matmul(rows(r).T, rows(xs[0]), out["weight"])

    def curvature(self, xs: Sequence[Array]) -> np.ndarray:
        """Return the sum of |x|^2 over the rows, the trace of the Gram matrix; shape (1,)."""
        x = rows(xs[0])
        return np.array([float(namespace(x).sum(x * x))])

    def cost(self, *shapes: Shape) -> float:
        """Two operations for each entry of the weight and each position."""
        return 2.0 * self.width * float(math.prod(self.output_shape(*shapes)))


def _flat(x: Array) -> Array:
    return namespace(x).reshape(x, (-1,))


def _check_sizes(map_: Embedding | Readout) -> None:
    for name in ("tokens", "width"):
        value = getattr(map_, name)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{type(map_).__name__}: {name} is {value!r}, expected an integer of at least 1")
    if map_.tokens > MOST_TOKENS:
        raise ValueError(
            f"{type(map_).__name__}: tokens is {map_.tokens}, expected at most {MOST_TOKENS}: samples are floating point "
            "numbers, and float32 tells no more whole numbers apart"
        )
