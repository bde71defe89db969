"""What a map is: multi-affine in its parents and its parameters, and nothing but three products.

z = apply(theta, x_parents) + offset. The offset is kept apart because the activation adds it in its own pass over memory,
and because the linear part alone has the norm that step sizes need.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from paralift.kernels.arrays import Array, Work

Shape = tuple[int, ...]
Theta = Mapping[str, Array]


class ShapeError(ValueError):
    """Shapes that do not fit together, found when a network is built."""


@dataclass(frozen=True)
class Map:
    """Base of all maps. Arrays carry the samples on their first axis; shapes given to a map are those of one sample."""

    offset: ClassVar[str | None] = None
    """Name of the parameter, shape (width,), that is added to the last axis of the product, or None."""
    passes_through: ClassVar[bool] = False
    """Whether the pull on every parent is the residual itself, so that no product is needed."""
    bilinear: ClassVar[bool] = False
    """Whether parents multiply each other, so that the pull on one needs the value of another."""
    draws: ClassVar[bool] = False
    """Whether it multiplies by random numbers of each sample in training, and so has `drawn`."""

    def input_shape(self) -> Shape | None:
        """Return the shape of the samples that the map declares to read, or None if it takes what it gets."""
        return None

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the shape of a sample of z for parents of `shapes`; raise ShapeError if they do not fit."""
        raise NotImplementedError

    def parameters(self) -> dict[str, Shape]:
        """Return the parameters' names and shapes in their order of storage."""
        return {}

    def init(self, rng: np.random.Generator, gain: float) -> dict[str, np.ndarray]:
        """Return float64 initial parameters; `gain` is the variance factor that suits the activation (2 for ReLU)."""
        return {}

    def check_values(self, x: Array, first: int = 0) -> None:
        """Raise ValueError unless the samples `x` of the network's input, counted from `first`, suit the map."""

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Write the product (without the offset) of the parents' samples `xs` into `out`."""
        raise NotImplementedError

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Write the pull of the residual `r` on parent number `parent` into `out`."""
        raise NotImplementedError

    def gradient(self, xs: Sequence[Array], r: Array, out: Theta) -> None:
        """Write what `r` pulls on each parameter (the offset excepted), summed over samples, into `out`."""

    def bound_apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> Work:
        """Return `apply` as work on these arrays, which sweeps repeat for every batch."""
        return partial(self.apply, theta, xs, out)

    def bound_adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> Work:
        """Return `adjoint` as work on these arrays."""
        return partial(self.adjoint, theta, xs, r, parent, out)

    def bound_gradient(self, xs: Sequence[Array], r: Array, out: Theta) -> Work:
        """Return `gradient` as work on these arrays."""
        return partial(self.gradient, xs, r, out)

    def drawn(self, keys: Array, stream: int) -> Map:
        """Return the map as it acts on samples with these `keys` (rows,), uint64, which change from batch to batch.

        The map itself acts as in evaluation. `stream` tells the block's numbers from those of others (`kernels/draw.py`).
        """
        return self

    def norm(self, theta: Theta, parent: int) -> float | None:
        """Return the spectral norm of the linear part in `parent` where it is known in closed form, else None."""
        return None

    def curvature(self, xs: Sequence[Array]) -> np.ndarray:
        """Return numbers that add over samples, the largest of which bounds the eigenvalues of (dz/dtheta)^T dz/dtheta."""
        return np.zeros(1)

    def design(self, xs: Sequence[Array]) -> Array | None:
        """Return the matrix X with z = X W + offset, W the parameter ``"weight"``; None if z is no such product."""
        return None

    def cost(self, *shapes: Shape) -> float:
        """Return the floating point operations of one `apply` on one sample."""
        return float(math.prod(self.output_shape(*shapes)))


def expect_parents(map_: Map, shapes: Sequence[Shape], n: int) -> None:
    """Raise ShapeError unless `map_` is given `n` parents."""
    if len(shapes) != n:
        raise ShapeError(f"{map_!r} reads {n} parent{'s' * (n > 1)}, {len(shapes)} given")
