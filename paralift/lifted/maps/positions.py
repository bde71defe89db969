"""Where in its sequence a token stands: a vector for each position, added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import ClassVar

import numpy as np

from paralift.kernels.arrays import Array, Work, from_host, namespace
from paralift.lifted.maps.base import Map, Shape, ShapeError, Theta, expect_parents
from paralift.lifted.maps.combine import add

KINDS = ("learned", "sinusoidal")


@dataclass(frozen=True)
class Positions(Map):
    """z = x + p, a row of p (length, width) for each position.

    Parameters
    ----------
    length, width : int
        Of a sample.
    kind : {"learned", "sinusoidal"}
        p is the parameter `position`, or fixed: p[t, 2j] = sin(t / 10000^(2j / width)), p[t, 2j + 1] the cosine.

    References
    ----------
    Vaswani et al., Attention Is All You Need, 2017, section 3.5.
    """

    length: int
    width: int
    kind: str = "learned"
    passes_through: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("length", "width"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"Positions: {name} is {value!r}, expected an integer of at least 1")
        if self.kind not in KINDS:
            raise ValueError(f"Positions: kind is {self.kind!r}, expected one of {KINDS}")

    def input_shape(self) -> Shape:
        """Return (length, width)."""
        return (self.length, self.width)

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the parent's shape, (length, width)."""
        expect_parents(self, shapes, 1)
        if shapes[0] != (self.length, self.width):
            raise ShapeError(f"{self!r} expects samples of shape {(self.length, self.width)}, its parent gives {shapes[0]}")
        return shapes[0]

    def parameters(self) -> dict[str, Shape]:
        """Return the shape of `position`, if it is learned."""
        return {"position": (self.length, self.width)} if self.kind == "learned" else {}

    def init(self, rng: np.random.Generator, gain: float) -> dict[str, np.ndarray]:
        """Return normal positions of the size of an embedding's rows."""
        if self.kind != "learned":
            return {}
        return {"position": rng.standard_normal((self.length, self.width)) * np.sqrt(gain / self.width)}

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Write x + p into `out`."""
        self.bound_apply(theta, xs, out)()

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Copy r into `out`."""
        out[...] = r

    def gradient(self, xs: Sequence[Array], r: Array, out: Theta) -> None:
        """Write the sum of r over the samples into ``out["position"]``."""
        if isinstance(r, np.ndarray):
            np.sum(r, axis=0, out=out["position"])
        else:
            out["position"][...] = namespace(r).sum(r, axis=0)

    def bound_apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> Work:
        """Return x + p as work on these arrays."""
        dtype = str(out.dtype).rsplit(".", 1)[-1]
        p = theta["position"] if self.parameters() else from_host(sinusoids(self.length, self.width, dtype), out)
        return partial(add, xs[0], p[None, ...], out)

    def norm(self, theta: Theta, parent: int) -> float:
        """Return 1."""
        return 1.0

    def curvature(self, xs: Sequence[Array]) -> np.ndarray:
        """Return the number of samples, shape (1,)."""
        return np.array([float(xs[0].shape[0])])


@cache
def sinusoids(length: int, width: int, dtype: str) -> np.ndarray:
    """Return the fixed positions, shape (length, width)."""
    column = np.arange(width)
    angle = np.arange(length)[:, None] / 10000.0 ** ((column - column % 2) / width)
    table = np.where(column % 2 == 0, np.sin(angle), np.cos(angle)).astype(dtype)
    table.setflags(write=False)
    return table
