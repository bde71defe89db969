"""Affine maps: dense, and diagonal (a gain and a shift for each feature)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paralift.kernels import columns
from paralift.kernels.arrays import Array, Work, bound_matmul, namespace, to_host
from paralift.lifted.maps.base import Map, Shape, ShapeError, Theta, expect_parents


def rows(x: Array) -> Array:
    """Return `x` as a matrix whose rows are the last axis; a view of contiguous arrays."""
    return x if x.ndim == 2 else namespace(x).reshape(x, (-1, x.shape[-1]))


@dataclass(frozen=True)
class Linear(Map):
    """z = x W + b on the last axis of x.

    Parameters
    ----------
    in_features, out_features : int
        Widths; `weight` has shape (in_features, out_features), `bias` (out_features,).
    bias : bool
        Whether there is an offset b.
    gain : float
        Factor on the initial weights, such as 1/sqrt(2 depth) at the end of a residual branch.
    """

    in_features: int
    out_features: int
    bias: bool = True
    gain: float = 1.0

    def __post_init__(self) -> None:
        for name in ("in_features", "out_features"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"Linear: {name} is {value!r}, expected an integer of at least 1")
        if not 0 <= self.gain < math.inf:
            raise ValueError(f"Linear: gain is {self.gain!r}, expected a finite number of at least 0")

    def __repr__(self) -> str:
        gain = "" if self.gain == 1.0 else f", gain={self.gain!r}"  # sources of older runs do not have it
        return f"Linear(in_features={self.in_features}, out_features={self.out_features}, bias={self.bias}{gain})"

    @property
    def offset(self) -> str | None:  # type: ignore[override]
        """Name of the offset's parameter."""
        return "bias" if self.bias else None

    def input_shape(self) -> Shape:
        """Return (in_features,)."""
        return (self.in_features,)

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the parent's shape with its last axis of `out_features`."""
        expect_parents(self, shapes, 1)
        if not shapes[0] or shapes[0][-1] != self.in_features:
            raise ShapeError(
                f"{self!r} expects samples of {self.in_features} features on the last axis, "
                f"its parent gives shape {shapes[0]}"
            )
        return (*shapes[0][:-1], self.out_features)

    def parameters(self) -> dict[str, Shape]:
        """Return the shapes of `weight` and, if there is one, `bias`."""
        shapes: dict[str, Shape] = {"weight": (self.in_features, self.out_features)}
        return {**shapes, "bias": (self.out_features,)} if self.bias else shapes

    def init(self, rng: np.random.Generator, gain: float) -> dict[str, np.ndarray]:
        """Return normal weights of variance gain / in_features (He et al. 2015 for gain = 2), and a zero offset."""
        deviation = self.gain * np.sqrt(gain / self.in_features)
        weight = rng.standard_normal((self.in_features, self.out_features)) * deviation
        return {"weight": weight, "bias": np.zeros(self.out_features)} if self.bias else {"weight": weight}

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Write x W into `out`."""
        self.bound_apply(theta, xs, out)()

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Write r W^T into `out`."""
        self.bound_adjoint(theta, xs, r, parent, out)()

    def gradient(self, xs: Sequence[Array], r: Array, out: Theta) -> None:
        """Write x^T r into ``out["weight"]``."""
        self.bound_gradient(xs, r, out)()

    def bound_apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> Work:
        """Return the product x W, bound to its arrays."""
        return bound_matmul(rows(xs[0]), theta["weight"], rows(out))

    def bound_adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> Work:
        """Return the product r W^T, bound to its arrays."""
        return bound_matmul(rows(r), theta["weight"].T, rows(out))

    def bound_gradient(self, xs: Sequence[Array], r: Array, out: Theta) -> Work:
        """Return the product x^T r, bound to its arrays."""
        return bound_matmul(rows(xs[0]).T, rows(r), out["weight"])

    def curvature(self, xs: Sequence[Array]) -> np.ndarray:
        """Return the sum of |x|^2 (and 1 for the offset) over the rows, the trace of the Gram matrix; shape (1,)."""
        x = rows(xs[0])
        return np.array([float(namespace(x).sum(x * x)) + self.bias * x.shape[0]])

    def design(self, xs: Sequence[Array]) -> Array:
        """Return the rows of x."""
        return rows(xs[0])

    def cost(self, *shapes: Shape) -> float:
        """Two operations for each entry of the weight and each position."""
        return 2.0 * self.in_features * float(math.prod(self.output_shape(*shapes)))


@dataclass(frozen=True)
class Diagonal(Map):
    """z = gain * x + shift, for each feature of the last axis: the affine part of a normalisation layer.

    Parameters
    ----------
    width : int
        Features on the last axis; `gain` and `shift` have shape (width,) and start at one and zero.
    """

    width: int
    offset: ClassVar[str | None] = "shift"

    def __post_init__(self) -> None:
        if not isinstance(self.width, int) or self.width < 1:
            raise ValueError(f"Diagonal: width is {self.width!r}, expected an integer of at least 1")

    def input_shape(self) -> Shape:
        """Return (width,)."""
        return (self.width,)

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the parent's shape."""
        expect_parents(self, shapes, 1)
        if not shapes[0] or shapes[0][-1] != self.width:
            raise ShapeError(
                f"{self!r} expects {self.width} features on the last axis, its parent gives shape {shapes[0]}"
            )
        return shapes[0]

    def parameters(self) -> dict[str, Shape]:
        """Return the shapes of `gain` and `shift`."""
        return {"gain": (self.width,), "shift": (self.width,)}

    def init(self, rng: np.random.Generator, gain: float) -> dict[str, np.ndarray]:
        """Return a gain of one and a shift of zero."""
        return {"gain": np.ones(self.width), "shift": np.zeros(self.width)}

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Write gain * x into `out`."""
        multiply(xs[0], theta["gain"], out)

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Write gain * r into `out`."""
        multiply(r, theta["gain"], out)

    def gradient(self, xs: Sequence[Array], r: Array, out: Theta) -> None:
        """Write the sum over rows of x * r into ``out["gain"]``."""
        if isinstance(r, np.ndarray):
            columns.products(rows(xs[0]), rows(r), out["gain"])
        else:
            out["gain"][...] = namespace(r).sum(rows(xs[0]) * rows(r), axis=0)

    def curvature(self, xs: Sequence[Array]) -> np.ndarray:
        """Return the sum of x_j^2 + 1 over the rows for each feature j, shape (width,)."""
        x = rows(xs[0])
        return to_host(namespace(x).sum(x * x, axis=0)).astype(np.float64) + x.shape[0]

    def norm(self, theta: Theta, parent: int) -> float:
        """Return the largest modulus of the gain."""
        xp = namespace(theta["gain"])
        return float(xp.max(xp.abs(theta["gain"])))


def multiply(x: Array, gain: Array, out: Array) -> None:
    """Write `x` times the `gain` (width,) of each feature into `out`."""
    if isinstance(out, np.ndarray):
        columns.scale(rows(x), gain, rows(out))  # NumPy would take a buffer for the broadcast
    else:
        out[...] = x * gain
