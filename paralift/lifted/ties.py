"""Which parameters are tied: replicas that start equal and take equal steps, because each gets the sum of all gradients.

A replica lies where its block lies, in the flat array of its stage, so that nothing but that sum knows of ties. Its gradient is
not the derivative of the loss in the replica alone but in the shared parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from paralift.kernels.arrays import Array, namespace
from paralift.lifted.maps.base import Map, Shape, ShapeError
from paralift.lifted.maps.combine import add
from paralift.lifted.maps.tied import Tied

Params = Mapping[str, Mapping[str, Array]]


@dataclass(frozen=True)
class Tie:
    """One shared parameter.

    Attributes
    ----------
    name : str
        Of the parameter, in all its blocks.
    shape : tuple of int
    blocks : tuple of str
        That have a replica, the owner first, in the order of the network.
    """

    name: str
    shape: Shape
    blocks: tuple[str, ...]


def find_ties(maps: Mapping[str, Map]) -> tuple[Tie, ...]:
    """Return the ties of a network, whose maps are given by the names of their blocks, in order.

    Raises
    ------
    ShapeError
        If a tied map's owner is not an earlier block with the same parameters, or is tied itself.
    """
    before: dict[str, Map] = {}
    replicas: dict[tuple[str, str], list[str]] = {}
    for block, map_ in maps.items():
        if isinstance(map_, Tied):
            owner = before.get(map_.to)
            if owner is None:
                raise ShapeError(f"{block}: tied to {map_.to!r}, expected an earlier block: {list(before)}")
            if isinstance(owner, Tied):
                raise ShapeError(f"{block}: tied to {map_.to!r}, which is tied itself: tie it to {owner.to!r}")
            for name, shape in map_.parameters().items():
                if owner.parameters().get(name) != shape:
                    raise ShapeError(
                        f"{block}: its parameter {name!r} of shape {shape} is tied to {map_.to!r}, "
                        f"whose parameters are {owner.parameters()}: both need the same name and shape"
                    )
                replicas.setdefault((map_.to, name), [map_.to]).append(block)
        before[block] = map_
    return tuple(Tie(name, before[owner].parameters()[name], tuple(names)) for (owner, name), names in replicas.items())


def replicas_here(ties: Sequence[Tie], params: Params) -> list[list[Array]]:
    """Return for each tie the arrays of those replicas that `params` (a stage's, or all) has."""
    return [[params[block][tie.name] for block in tie.blocks if block in params] for tie in ties]


def add_replicas(replicas: Sequence[Sequence[Array]]) -> None:
    """Overwrite the gradients of the replicas of each tie by their sum."""
    for first, *others in (group for group in replicas if len(group) > 1):
        for other in others:
            add(first, other, first)
        for other in others:
            other[...] = first


def check_replicas(ties: Sequence[Tie], params: Params) -> None:
    """Raise ValueError unless the replicas of each tie are equal."""
    for tie, (owner, *others) in zip(ties, replicas_here(ties, params), strict=True):
        for block, other in zip(tie.blocks[1:], others, strict=True):
            if not _equal(owner, other):
                raise ValueError(
                    f"params[{block!r}][{tie.name!r}] differs from params[{tie.blocks[0]!r}][{tie.name!r}], to which it is "
                    f"tied: copy the one into the other"
                )


def _equal(a: Array, b: Array) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b, equal_nan=True)
    xp = namespace(a)
    return bool(xp.all((a == b) | ((a != a) & (b != b))))
