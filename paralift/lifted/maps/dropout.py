"""Dropout as a map: a diagonal matrix that is drawn for each sample, the same in the pass forward and in the pass back.

With the mask of a batch fixed its lifted problem is deterministic. The mask is a hash of the sample's key, the block and the
entry, so that neither shards, stages nor a resumed run change it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from paralift.kernels import draw
from paralift.kernels.arrays import Array, namespace
from paralift.lifted.maps.base import Map, Shape, Theta
from paralift.lifted.maps.shape import Keep


@dataclass(frozen=True)
class Dropout(Keep):
    """z = mask x / (1 - rate) in training, z = x in evaluation.

    Parameters
    ----------
    rate : float
        The chance of an entry to become zero, in [0, 1).

    References
    ----------
    Srivastava et al., Dropout, JMLR 15, 2014, section 4, scaled in training instead of in evaluation.
    """

    rate: float = 0.5
    passes_through: ClassVar[bool] = False
    draws: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.rate, bool) or not isinstance(self.rate, int | float) or not 0.0 <= self.rate < 1.0:
            raise ValueError(f"Dropout: rate is {self.rate!r}, expected a number of at least 0 and less than 1")

    def drawn(self, keys: Array, stream: int) -> Map:
        """Return the map with the masks of samples."""
        return _Masked(self.rate, keys, stream)

    def norm(self, theta: Theta, parent: int) -> float:
        """Return 1 / (1 - rate), which no mask exceeds."""
        return 1.0 / (1.0 - self.rate)


@dataclass(frozen=True, eq=False)
class _Masked(Map):
    """`Dropout` of samples with given keys."""

    rate: float
    keys: Array
    stream: int

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the parent's shape."""
        return shapes[0]

    def apply(self, theta: Theta, xs: Sequence[Array], out: Array) -> None:
        """Write mask x / (1 - rate) into `out`."""
        draw.drop(_samples(xs[0]), self.keys, self.stream, self.rate, _samples(out))

    def adjoint(self, theta: Theta, xs: Sequence[Array], r: Array, parent: int, out: Array) -> None:
        """Write mask r / (1 - rate) into `out`."""
        draw.drop(_samples(r), self.keys, self.stream, self.rate, _samples(out))


def _samples(x: Array) -> Array:
    """Return `x` as a matrix with a row for each sample: a view, since states are contiguous."""
    return x if x.ndim == 2 else namespace(x).reshape(x, (x.shape[0], math.prod(x.shape[1:])))
