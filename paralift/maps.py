"""Maps, and what a map of one's own is made of; see `paralift.lifted.maps` and docs/extend.md."""

from paralift.lifted.maps import *  # noqa: F403
from paralift.lifted.maps import __all__ as _names
from paralift.lifted.maps.base import Map, Shape, ShapeError, expect_parents

__all__ = [*_names, "Map", "Shape", "ShapeError", "expect_parents"]  # noqa: PLE0604
