"""Group normalisation: the normalisation of rows, where a row is a group of channels at all positions of a sample."""

from __future__ import annotations

from dataclasses import dataclass

from paralift.lifted.activations.base import Activation
from paralift.lifted.activations.norms import Normalise
from paralift.lifted.maps.affine import Diagonal
from paralift.lifted.maps.base import Map, Shape
from paralift.lifted.maps.regroup import FromGroups, ToGroups


@dataclass(frozen=True)
class GroupNorm:
    """Normalisation of groups of channels over all positions, with a learned gain and shift for each channel.

    Parameters
    ----------
    groups : int
        Groups of consecutive channels; it divides `channels`.
    channels : int
        Size of the last axis.
    eps : float
        Greater than zero.

    References
    ----------
    Wu & He, "Group normalization", ECCV 2018.
    """

    groups: int
    channels: int
    eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.groups < 1 or self.channels % self.groups:
            raise ValueError(f"{self!r}: groups of consecutive channels, expected a number that divides the channels")

    def expand_for(self, shape: Shape) -> list[Activation | Map]:
        """Return the layers for samples of `shape`: groups into rows, their normalisation, the way back, gain and shift."""
        return [ToGroups(self.groups), Normalise(eps=self.eps), FromGroups(tuple(shape)), Diagonal(self.channels)]
