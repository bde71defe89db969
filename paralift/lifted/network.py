"""Networks: directed acyclic graphs of blocks, with shapes and parents checked when they are built.

Variable 0 is the input x_0; block l (from 1) computes variable l: z_l = A_l(x_parents; theta_l), x_l = sigma_l(z_l). Blocks
are in topological order, so a stage of consecutive blocks needs nothing from above in the forward direction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from paralift.kernels.arrays import Array, empty, namespace
from paralift.lifted.activations.base import Activation
from paralift.lifted.initial import Scheme, check_scheme, read_scheme, scheme_of, weights
from paralift.lifted.maps.base import Map, Shape, ShapeError
from paralift.lifted.maps.tied import Tied
from paralift.lifted.ties import check_replicas, find_ties

Params = Mapping[str, Mapping[str, Array]]


@dataclass(frozen=True)
class Block:
    """One block of a network.

    Parameters
    ----------
    index : int
        Number of the variable that the block computes, from 1.
    name : str
        Key of its parameters.
    map, activation : Map, Activation
        What multiplies and what is proximal.
    parents : tuple of int
        Variables that the map reads.
    shape : tuple of int
        Shape of a sample of x (and z).
    parent_shapes : tuple of tuple of int
        Shapes of the parents' samples.
    scale : float
        Factor of the initial weights.
    """

    index: int
    name: str
    map: Map
    activation: Activation
    parents: tuple[int, ...]
    shape: Shape
    parent_shapes: tuple[Shape, ...]
    scale: float = 1.0

    def trained(self) -> dict[str, Shape]:
        """Return the names and shapes of the map's parameters."""
        return self.map.parameters()

    def tracked(self) -> dict[str, Shape]:
        """Return the names and shapes of the activation's running statistics, which no optimiser moves."""
        return {name: a.shape for name, a in self.activation.statistics(self.shape[-1]).items()}

    def init(self, seed: int, dtype: np.dtype, scheme: Scheme = None) -> dict[str, np.ndarray]:
        """Return initial parameters; they depend on the seed and the block alone, not on who owns what."""
        rng = np.random.default_rng(np.random.SeedSequence([seed, self.index]))
        gain, own = self.activation.init_gain, scheme_of(scheme, self.name)
        arrays = self.map.init(rng, gain)
        for name in [name for name, array in arrays.items() if array.ndim > 1]:
            arrays[name] = self.scale * (arrays[name] if own is None else weights(own, arrays[name], gain))
        arrays = arrays | self.activation.statistics(self.shape[-1])
        return {name: array.astype(dtype) for name, array in arrays.items()}

    def flops(self) -> float:
        """Return the operations of one forward product on one sample."""
        return self.map.cost(*self.parent_shapes)


class Network:
    """A graph of blocks. Users build one with `Sequential` or `Graph`.

    Parameters
    ----------
    blocks : sequence of Block
        In topological order, with indices 1, 2, ...
    input_shape : tuple of int
        Shape of an input sample.
    source : str
        The expression that builds the network; configurations and checkpoints store it.

    Attributes
    ----------
    ties : tuple of Tie
        Parameters that several blocks share.
    """

    def __init__(self, blocks: Sequence[Block], input_shape: Shape, source: str) -> None:
        self.blocks = tuple(blocks)
        self.input_shape = input_shape
        self.source = source
        if not self.blocks:
            raise ValueError("a network needs at least one layer")
        unread = [b.name for b in self.blocks[:-1] if not self.children[b.index]]
        if unread:
            raise ShapeError(f"nothing reads {unread}: every block but the last must lead to the output")
        self.ties = find_ties({b.name: b.map for b in self.blocks})

    def __repr__(self) -> str:
        return self.source

    @property
    def output_shape(self) -> Shape:
        """Shape of an output sample."""
        return self.blocks[-1].shape

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Shape of a sample of every variable, the input first."""
        return (self.input_shape, *(b.shape for b in self.blocks))

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """For every variable, the blocks that read it."""
        lists: list[list[int]] = [[] for _ in self.shapes]
        for b in self.blocks:
            for p in dict.fromkeys(b.parents):
                lists[p].append(b.index)
        return tuple(map(tuple, lists))

    @cached_property
    def unmoved(self) -> frozenset[int]:
        """The variables that no parameter moves: the input, and what is made of it without parameters."""
        found = {0}
        for b in self.blocks:
            if not b.trained() and found.issuperset(b.parents):
                found.add(b.index)
        return frozenset(found)

    @cached_property
    def n_parameters(self) -> int:
        """Number of trained numbers; those that blocks share count once."""
        own = [b for b in self.blocks if not isinstance(b.map, Tied)]
        return sum(math.prod(s) for b in own for s in b.trained().values())

    @property
    def rows(self) -> int:
        """Rows of an output sample, each with a loss of its own: 1, or its tokens or pixels."""
        return math.prod(self.output_shape[:-1])

    def live(self, cut: int) -> tuple[int, ...]:
        """Return the variables that blocks above `cut` read from below: what crosses a cut after block `cut`."""
        return tuple(v for v in range(cut + 1) if any(c > cut for c in self.children[v]))

    def init(
        self, seed: int = 0, dtype: Any = np.float32, scheme: Scheme = None
    ) -> dict[str, dict[str, np.ndarray]]:
        """Return initial parameters, a mapping of block names to mappings of arrays.

        Parameters
        ----------
        seed : int
            Same seed, same parameters, whoever computes them.
        dtype : float32 or float64
            Type of the arrays.
        scheme : {"he", "xavier", "orthogonal"}, or mapping of name to one of them, optional
            Of the weights (`paralift.lifted.initial`); by default maps' own. In a mapping names are those of blocks, in which
            ``*`` stands for anything; the first that fits counts, and other blocks keep their own.
        """
        check_scheme(read_scheme(scheme), [b.name for b in self.blocks])
        return {b.name: self.initial(b, seed, dtype, scheme) for b in self.blocks if b.trained() or b.tracked()}

    def initial(self, block: Block, seed: int, dtype: Any, scheme: Scheme = None) -> dict[str, np.ndarray]:
        """Return initial parameters of one block; those of a tied one are its owner's."""
        found = block.init(seed, float_type(dtype), scheme)
        if isinstance(block.map, Tied):
            owner = next(b for b in self.blocks if b.name == block.map.to)
            values = owner.init(seed, float_type(dtype), scheme)
            found |= {name: values[name] for name in block.trained()}
        return found

    def apply(self, params: Params, x: Array) -> Array:
        """Return the output for the samples `x`, shape (n, *input_shape) -> (n, *output_shape)."""
        check_input(self, x)
        check_params(self, params)
        check_dtypes(params, x)
        return self.variables(params, x)[-1]

    def variables(self, params: Params, x: Array, start: int = 0, stop: int | None = None) -> list[Array]:
        """Return the variables x_0 .. x_L of a plain forward pass.

        Parameters
        ----------
        params : mapping
        x : array
            Variable `start`, the input by default; those before it, None in what is returned, are read by no block behind it.
        start, stop : int
            The first variable and the last one, 0 and L by default.
        """
        xp = namespace(x)
        values: list[Any] = [*(None,) * start, x]
        for b in self.blocks[start:stop]:
            z = empty((x.shape[0], *b.shape), like=x)
            theta = params.get(b.name, {})
            b.map.apply(theta, [values[p] for p in b.parents], z)
            flat = xp.reshape(z, (-1, b.shape[-1]))
            offset = theta[b.map.offset] if b.map.offset else None
            if b.tracked():
                b.activation.evaluate(flat, offset, flat, theta)
            else:
                b.activation.activate(flat, offset, flat)
            values.append(z)
        return values


def float_type(dtype: Any) -> np.dtype:
    """Return `dtype` as a NumPy dtype; raise TypeError unless it is float32 or float64."""
    found = np.dtype(dtype)
    if found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"dtype is {found}, expected float32 or float64")
    return found


def check_input(network: Network, x: Array) -> None:
    """Raise ValueError or TypeError unless `x` holds samples of the network's input shape."""
    if tuple(x.shape[1:]) != network.input_shape or x.ndim != len(network.input_shape) + 1:
        raise ValueError(
            f"x has shape {tuple(x.shape)}, expected (n, {', '.join(map(str, network.input_shape))}): "
            f"the network reads samples of shape {network.input_shape}"
        )
    if str(x.dtype).rsplit(".", 1)[-1] not in ("float32", "float64"):
        raise TypeError(f"x has dtype {x.dtype}, expected float32 or float64: convert it with x.astype(...)")
    check_values(network, x)


def check_values(network: Network, x: Array, first: int = 0) -> None:
    """Raise ValueError unless what reads the samples `x`, counted from `first`, takes their values: tokens of an embedding."""
    for reader in network.children[0]:
        network.blocks[reader - 1].map.check_values(x, first)


def check_dtypes(params: Params, x: Array) -> None:
    """Raise TypeError unless parameters and samples are of one type."""
    for block, arrays in params.items():
        for name, a in arrays.items():
            if a.dtype != x.dtype:
                raise TypeError(
                    f"params[{block!r}][{name!r}] has dtype {a.dtype}, x has {x.dtype}: convert x, or take "
                    f"network.init(seed, dtype={str(x.dtype).rsplit('.', 1)[-1]!r})"
                )


def check_params(network: Network, params: Params) -> None:
    """Raise ValueError unless `params` has the blocks, names and shapes that the network declares."""
    expected = {b.name: found for b in network.blocks if (found := b.trained() | b.tracked())}
    if set(params) != set(expected):
        missing, extra = sorted(set(expected) - set(params)), sorted(set(params) - set(expected))
        raise ValueError(f"params: blocks missing {missing}, unknown {extra}; expected {list(expected)}")
    for block, shapes in expected.items():
        found = {name: tuple(a.shape) for name, a in params[block].items()}
        if found != shapes:
            raise ValueError(f"params[{block!r}] has shapes {found}, expected {shapes}")
    check_replicas(network.ties, params)
