"""What a tensor of PyTorch is in ParaLift: the same numbers, perhaps in another order.

PyTorch keeps channels first, ParaLift last. Nothing is moved for that: each value says, number by number, where PyTorch has
what ParaLift holds. Views, transposes and flattening then only renumber, and a layer that reads the value takes its weights in
the order that it finds. A move of numbers, a `Permute`, is left where a layer of PyTorch really works along another axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from paralift.interop.optional import UnsupportedError
from paralift.lifted.maps import Flatten, Map, Permute, Reshape
from paralift.lifted.maps.base import Shape

MOST_AXES = 5
"""Axes of a sample whose orders are tried; PyTorch's layers need four."""


@dataclass(frozen=True)
class Value:
    """A tensor of PyTorch as a variable of ParaLift.

    Parameters
    ----------
    op : int
        Number of the operation that computes it; 0 is the input.
    index : ndarray of int
        In the shape of ParaLift's sample: the number that each entry has in PyTorch's sample, row by row.
    shape : tuple of int
        Shape of PyTorch's sample.
    samples : int
        The axis of PyTorch's tensor that counts samples.
    """

    op: int
    index: np.ndarray
    shape: Shape
    samples: int = 0

    def axis(self, dim: int) -> int:
        """Return the sample's axis that is `dim` of the tensor."""
        dim = dim % (len(self.shape) + 1)
        if dim == self.samples:
            raise UnsupportedError(f"dimension {dim} counts samples, which ParaLift never mixes")
        return dim - (dim > self.samples)


@dataclass(frozen=True)
class Entry:
    """An array of a block: its name there, its values, and what identifies its source where blocks may share it."""

    name: str
    array: np.ndarray
    source: Any = None


@dataclass
class Op:
    """Layers of ParaLift that read the operations `parents`, the first of them a map if there are several."""

    name: str
    parents: tuple[int, ...]
    layers: list[Any]
    entries: list[Entry]


@dataclass
class Tape:
    """The operations that were recorded.

    Attributes
    ----------
    ops : list of Op
    first_read : bool, optional
        Whether the first layer that minds the order of axes wants channels last and had to move them.
    """

    ops: list[Op] = field(default_factory=list)
    first_read: bool | None = None

    def add(self, name: str, parents: list[Value], layers: list[Any], entries: list[Entry] | None = None) -> int:
        """Record an operation and return its number, from 1."""
        self.ops.append(Op(name, tuple(p.op for p in parents), layers, entries or []))
        return len(self.ops)

    @contextmanager
    def channels_first(self) -> Iterator[None]:
        """Note whether what is read in between, channels that PyTorch has first, has to be moved."""
        before, unread = len(self.ops), self.first_read is None
        yield
        if unread:
            self.first_read = len(self.ops) > before

    def last(self, value: Value, axis: int) -> tuple[Value, np.ndarray]:
        """Return the value with PyTorch's `axis` as ParaLift's last one, and in which order it holds that axis.

        The other axes come before it in PyTorch's order.
        """
        axis %= len(value.shape)
        others = value.shape[:axis] + value.shape[axis + 1 :]
        grid = np.indices(others).reshape(len(others), math.prod(others))

        def fits(flat: np.ndarray) -> bool:
            place = np.array(np.unravel_index(flat.reshape(-1, value.shape[axis]), value.shape))
            rest = np.delete(place, axis, axis=0)
            return bool((place[axis] == place[axis][:1]).all() and (rest == grid[:, :, None]).all())

        found = self._arranged(value, (*others, value.shape[axis]), fits)
        last = found.index.reshape(-1, value.shape[axis])[0]
        return found, np.array(np.unravel_index(last, value.shape))[axis]

    def ordered(self, value: Value, index: np.ndarray) -> Value:
        """Return the value in the order and shape of `index`."""
        return self._arranged(value, index.shape, lambda flat: bool((flat == index.ravel()).all()))

    def plain(self, value: Value) -> Value:
        """Return the value in PyTorch's order and shape."""
        return self.ordered(value, plain_index(value.shape))

    def _arranged(self, value: Value, shape: Shape, fits: Callable[[np.ndarray], bool]) -> Value:
        if self.first_read is None:
            self.first_read = False
        for axes in (value.index.shape, _axes(value.index.ravel())):
            for order in _orders(len(axes)):
                index = value.index.reshape(axes).transpose(order)
                if fits(index.ravel()):
                    if order != tuple(range(len(order))):
                        value = self._reshaped(value, axes)
                        value = replace(value, op=self.add("permute", [value], [Permute(*order)]), index=index)
                    return self._reshaped(value, shape)
        raise UnsupportedError(
            f"its input of shape {value.shape} lies in ParaLift as {value.index.shape} in an order that no permutation of "
            "these axes turns into the one needed: the axes were split or joined before they were exchanged"
        )

    def _reshaped(self, value: Value, shape: Shape) -> Value:
        if value.index.shape == shape:
            return value
        layer: Map = Flatten() if len(shape) == 1 else Reshape(*shape)
        return replace(value, op=self.add("reshape", [value], [layer]), index=value.index.reshape(shape))


def _orders(axes: int) -> Iterator[tuple[int, ...]]:
    return itertools.permutations(range(axes)) if axes <= MOST_AXES else iter([tuple(range(axes))])


def _axes(flat: np.ndarray) -> Shape:
    """Return the fewest axes along each of which these numbers grow by equal steps: what a flattened array was before."""
    axes: list[int] = []
    while flat.size > 1:
        steps = np.diff(flat)
        run = int(np.argmax(steps != steps[0])) + 1 if (steps != steps[0]).any() else flat.size
        length = next((n for n in range(run, 1, -1) if flat.size % n == 0), flat.size)
        axes.insert(0, length)
        flat = flat[::length]
    return tuple(axes) or (1,)


def plain_index(shape: Shape) -> np.ndarray:
    """Return the index of a value in PyTorch's own order."""
    return np.arange(math.prod(shape)).reshape(shape)


def last_index(shape: Shape, axis: int = 0, order: np.ndarray | None = None) -> np.ndarray:
    """Return the index of a value with PyTorch's `axis` last, that axis in a given order."""
    index = np.moveaxis(plain_index(shape), axis, -1)
    return index if order is None else index[..., order]
