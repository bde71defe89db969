"""The two products of attention, bilinear in their parents: scores of queries and keys, and values mixed by weights.

Parents of shape (T, width) hold their heads side by side, `width / heads` features each. A head's matrix is a strided view
of its parent, which BLAS takes as it is: nothing is transposed or copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from paralift.kernels.arrays import Array, Work, family, namespace
from paralift.lifted.maps.base import Map, Shape, ShapeError, Theta, expect_parents


@dataclass(frozen=True)
class Scores(Map):
    """z_h = Q_h K_h^T / sqrt(width / heads) for each head h; parents Q (T, width) and K (S, width) -> (heads, T, S).

    Parameters
    ----------
    heads : int
    """

    heads: int
    bilinear: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_heads(self)

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return (heads, T, S)."""
        expect_parents(self, shapes, 2)
        q, k = shapes
        if len(q) != 2 or len(k) != 2 or q[1] != k[1]:
            raise ShapeError(f"{self!r} expects queries (T, width) and keys (S, width), given {q} and {k}")
        _check_divides(self, q[1])
        return (self.heads, q[0], k[0])

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Write the scaled products of queries and keys into `out`."""
        self.bound_apply(theta, xs, out)()

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Write r K (parent 0) or r^T Q (parent 1), scaled, into `out`."""
        self.bound_adjoint(theta, xs, r, parent, out)()

    def bound_apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> Work:
        """Return the products, bound to their arrays."""
        q, k = (by_head(x, self.heads) for x in xs)
        return partial(_product, q, transposed(k), out, out, self._scale(xs[0]))

    def bound_adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> Work:
        """Return the products of the pull, bound to their arrays."""
        other = by_head(xs[1 - parent], self.heads)
        left = transposed(r) if parent else r
        return partial(_product, left, other, by_head(out, self.heads), out, self._scale(xs[0]))

    def _scale(self, q: Array) -> float:
        return float((q.shape[-1] // self.heads) ** -0.5)

    def cost(self, *shapes: Shape) -> float:
        """Two operations for each feature and each pair of positions."""
        (t, width), (s, _) = shapes
        return 2.0 * t * s * width


@dataclass(frozen=True)
class Mix(Map):
    """z_h = P_h V_h for each head h, side by side; parents P (heads, T, S) and V (S, width) -> (T, width).

    Parameters
    ----------
    heads : int
    """

    heads: int
    bilinear: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_heads(self)

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return (T, width)."""
        expect_parents(self, shapes, 2)
        p, v = shapes
        if len(p) != 3 or len(v) != 2 or p[0] != self.heads or p[2] != v[0]:
            raise ShapeError(f"{self!r} expects weights ({self.heads}, T, S) and values (S, width), given {p} and {v}")
        _check_divides(self, v[1])
        return (p[1], v[1])

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Write the weighted sums of values into `out`."""
        self.bound_apply(theta, xs, out)()

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Write r V^T (parent 0) or P^T r (parent 1) into `out`."""
        self.bound_adjoint(theta, xs, r, parent, out)()

    def bound_apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> Work:
        """Return the products, bound to their arrays."""
        return partial(_product, xs[0], by_head(xs[1], self.heads), by_head(out, self.heads), out)

    def bound_adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> Work:
        """Return the products of the pull, bound to their arrays."""
        pull = by_head(r, self.heads)
        if parent == 0:
            return partial(_product, pull, transposed(by_head(xs[1], self.heads)), out, out)
        return partial(_product, transposed(xs[0]), pull, by_head(out, self.heads), out)

    def cost(self, *shapes: Shape) -> float:
        """Two operations for each feature and each pair of positions."""
        (_, t, s), (_, width) = shapes
        return 2.0 * t * s * width


def by_head(x: Array, heads: int) -> Array:
    """Return (n, T, width) as (n, heads, T, width / heads): a view of NumPy's and CuPy's arrays."""
    n, t, width = x.shape
    split = namespace(x).reshape(x, (n, t, heads, width // heads))
    return _permuted(split, (0, 2, 1, 3))


def transposed(x: Array) -> Array:
    """Return `x` with its last two axes exchanged."""
    return _permuted(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def _permuted(x: Array, axes: tuple[int, ...]) -> Array:
    return namespace(x).permute_dims(x, axes) if family(x) == "other" else x.transpose(axes)


def _product(a: Array, b: Array, view: Array, out: Array, scale: float = 1.0) -> None:
    """Write scale * a b, matrix by matrix, into `out`, seen through `view`."""
    if isinstance(out, np.ndarray):
        np.matmul(a, b, out=view)
        if scale != 1.0:
            np.multiply(out, out.dtype.type(scale), out=out)
        return
    xp = namespace(out)
    product = scale * xp.matmul(a, b)
    out[...] = product if view is out else xp.reshape(_permuted(product, (0, 2, 1, 3)), tuple(out.shape))


def _check_heads(map_: Scores | Mix) -> None:
    if not isinstance(map_.heads, int) or map_.heads < 1:
        raise ValueError(f"{type(map_).__name__}: heads is {map_.heads!r}, expected an integer of at least 1")


def _check_divides(map_: Scores | Mix, width: int) -> None:
    if width % map_.heads:
        raise ShapeError(f"{map_!r}: {map_.heads} heads do not divide a width of {width}")
