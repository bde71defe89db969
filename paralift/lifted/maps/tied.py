"""Tied weights: a map whose parameters are those of another block.

Every block keeps an array of its own (a replica), which starts as its owner's and takes the same steps, because the gradient
of each is the sum over all (`paralift.lifted.ties`). Stages on different ranks can so share parameters, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paralift.kernels.arrays import Array, Work
from paralift.lifted.maps.base import Map, Shape, Theta


@dataclass(frozen=True)
class Tied(Map):
    """A map whose parameters are replicas of those that an earlier block has under the same names.

    Parameters
    ----------
    map : Map
        With parameters.
    to : str
        Name of the earlier block, such as ``"embedding1"``: the first `Embedding` of the network.

    Examples
    --------
    >>> Tied(Readout(65, 128), to="embedding1")
    """

    map: Map
    to: str

    def __post_init__(self) -> None:
        if not isinstance(self.map, Map) or isinstance(self.map, Tied) or not self.map.parameters():
            raise ValueError(f"Tied: {self.map!r} was given, expected a map with parameters")
        if not isinstance(self.to, str) or not self.to:
            raise ValueError(f"Tied: to is {self.to!r}, expected the name of an earlier block, such as 'embedding1'")

    @property
    def offset(self) -> str | None:  # type: ignore[override]
        """The map's own."""
        return self.map.offset

    @property
    def passes_through(self) -> bool:  # type: ignore[override]
        """The map's own."""
        return self.map.passes_through

    @property
    def bilinear(self) -> bool:  # type: ignore[override]
        """The map's own."""
        return self.map.bilinear

    def input_shape(self) -> Shape | None:
        """Return the map's own."""
        return self.map.input_shape()

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the map's own."""
        return self.map.output_shape(*shapes)

    def parameters(self) -> dict[str, Shape]:
        """Return the map's own."""
        return self.map.parameters()

    def init(self, rng: np.random.Generator, gain: float) -> dict[str, np.ndarray]:
        """Return the map's own; a network takes its owner's instead."""
        return self.map.init(rng, gain)

    def check_values(self, x: Array, first: int = 0) -> None:
        """Do what the map does."""
        self.map.check_values(x, first)

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Do what the map does."""
        self.map.apply(theta, xs, out)

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Do what the map does."""
        self.map.adjoint(theta, xs, r, parent, out)

    def gradient(self, xs: Sequence[Array], r: Array, out: Theta) -> None:
        """Do what the map does: this replica's part of the gradient."""
        self.map.gradient(xs, r, out)

    def bound_apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> Work:
        """Return the map's own work."""
        return self.map.bound_apply(theta, xs, out)

    def bound_adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> Work:
        """Return the map's own work."""
        return self.map.bound_adjoint(theta, xs, r, parent, out)

    def bound_gradient(self, xs: Sequence[Array], r: Array, out: Theta) -> Work:
        """Return the map's own work."""
        return self.map.bound_gradient(xs, r, out)

    def norm(self, theta: Theta, parent: int) -> float | None:
        """Return the map's own."""
        return self.map.norm(theta, parent)

    def curvature(self, xs: Sequence[Array]) -> np.ndarray:
        """Return the map's own."""
        return self.map.curvature(xs)

    def cost(self, *shapes: Shape) -> float:
        """Return the map's own."""
        return self.map.cost(*shapes)
