"""From layers, as users write them, to the blocks of a network: `Sequential`, `Graph`, `Residual`, `Parallel`.

A map and the activation behind it become one block; a map without activation gets the identity; an activation without a
map keeps its parent's value. A normalisation layer is an activation and, in the next block, a gain and a shift.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from paralift.lifted.activations import CausalSoftmax, Identity, Softmax
from paralift.lifted.activations.base import Activation
from paralift.lifted.maps import Add, Concatenate, Keep, Linear, Map, Mix, Scores, Tied
from paralift.lifted.maps.base import Shape, ShapeError
from paralift.lifted.network import Block, Network

COMBINE = {"add": Add, "concatenate": Concatenate}


@dataclass(frozen=True, init=False)
class Residual:
    """x + f(x), f the layers given; a skip connection that may cross any number of stages.

    Parameters
    ----------
    *layers : Map, Activation, Residual, Parallel or Sequential
    scale : float
        Factor of the initial weights of the last map of the branch that has some, greater than 0. 1 / sqrt(2 n) keeps the sum
        of n branches in bounds.
    """

    layers: tuple
    scale: float

    def __init__(self, *layers: object, scale: float = 1.0) -> None:
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "scale", scale)
        if not layers:
            raise ValueError("Residual() needs at least one layer")
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0.0 < scale < math.inf:
            raise ValueError(f"Residual: scale is {scale!r}, expected a finite number greater than 0")

    def __repr__(self) -> str:
        given = "" if self.scale == 1.0 else f", scale={self.scale}"
        return f"Residual({', '.join(map(repr, self.layers))}{given})"


@dataclass(frozen=True, init=False)
class Parallel:
    """Several branches that read one variable, and what brings them together; a branch is a layer or a list of layers.

    Parameters
    ----------
    *branches : layer or list of layers
    combine : {"add", "concatenate"} or Map
        A map with as many parents as there are branches.
    """

    branches: tuple
    combine: str | Map

    def __init__(self, *branches: object, combine: str | Map = "add") -> None:
        if not isinstance(combine, Map) and combine not in COMBINE:
            raise ValueError(f"Parallel: combine is {combine!r}, expected one of {sorted(COMBINE)} or a map")
        if len(branches) < 2:
            raise ValueError(f"Parallel needs two or more branches, given {len(branches)}")
        object.__setattr__(self, "branches", tuple(b if isinstance(b, list) else [b] for b in branches))
        object.__setattr__(self, "combine", combine)

    def __repr__(self) -> str:
        return f"Parallel({', '.join(map(repr, self.branches))}, combine={self.combine!r})"


@dataclass(frozen=True)
class Attention:
    """Multi-head self-attention of samples (T, width), by its operators: every piece is a map or a proximal activation.

    S_h = Q_h K_h^T / sqrt(width / heads) is bilinear, P_h = softmax(S_h) proximal, O_h = P_h V_h bilinear; queries Q, keys K,
    values V and what comes out are affine.

    Parameters
    ----------
    width, heads : int
        Heads divide the width.
    causal : bool
        Whether a token sees itself and earlier ones only.
    bias : bool
        Whether the affine maps have an offset; that of the keys would change nothing, and is left out.
    gain : float
        Factor on the initial weights of the last one.

    References
    ----------
    Vaswani et al., Attention Is All You Need, 2017, section 3.2.
    """

    width: int
    heads: int
    causal: bool = True
    bias: bool = True
    gain: float = 1.0

    def expand(self) -> list[object]:
        """Return the layers that it stands for."""
        q, v = (Linear(self.width, self.width, self.bias) for _ in range(2))
        k = Linear(self.width, self.width, bias=False)  # an offset shifts whole rows of scores, which softmax does not see
        weights = [Parallel(q, k, combine=Scores(self.heads)), CausalSoftmax() if self.causal else Softmax()]
        return [Parallel(weights, v, combine=Mix(self.heads)), Linear(self.width, self.width, self.bias, self.gain)]


class Sequential(Network):
    """A chain of layers.

    Parameters
    ----------
    *layers : Map, Activation, Residual, Parallel or Sequential
        In the order of application.
    input_shape : tuple of int, optional
        Shape of an input sample; needed only if the first layer does not say it.

    Raises
    ------
    ShapeError
        Naming the layer, what it got and what it expected.
    """

    def __init__(self, *layers: object, input_shape: Sequence[int] | None = None) -> None:
        self.layers = layers
        shape = _input_shape(layers, input_shape)
        builder = _Builder(shape)
        builder.close(builder.chain(0, layers))
        given = "" if input_shape is None else f", input_shape={shape}"
        super().__init__(builder.blocks, shape, f"Sequential({', '.join(map(repr, layers))}{given})")


class Graph(Network):
    """A network of named nodes, for what is not a chain.

    Each keyword is a node: a tuple of a list of parents (``"input"`` or earlier nodes) and the node's layers. The last
    node is the output. A node with several parents starts with `Add()` or `Concatenate()`.

    Examples
    --------
    >>> Graph(a=(["input"], Linear(4, 8), ReLU()), b=(["a"], Linear(8, 8)), c=(["a", "b"], Add(), ReLU()))
    """

    def __init__(self, input_shape: Sequence[int] | None = None, **nodes: tuple) -> None:
        if not nodes:
            raise ValueError("Graph() needs at least one node")
        first = next(iter(nodes.values()))
        shape = _input_shape(first[1:], input_shape)
        builder = _Builder(shape)
        variable, read = {"input": 0}, set()
        for name, (parents, *layers) in nodes.items():
            unknown = [p for p in parents if p not in variable]
            if unknown:
                raise ValueError(f"Graph: node {name!r} reads {unknown}, known before it: {list(variable)}")
            head = builder.head([variable[p] for p in parents], layers)
            variable[name] = builder.close(head)
            read |= set(parents)
        unread = [n for n in nodes if n not in read][:-1]
        if unread or variable[name] != len(builder.blocks):
            raise ShapeError(f"Graph: no node reads {unread or [name]}: every node but the last must lead to the output")
        given = "" if input_shape is None else f"input_shape={shape}, "
        super().__init__(builder.blocks, shape, f"Graph({given}{', '.join(f'{k}={v!r}' for k, v in nodes.items())})")


@dataclass(frozen=True)
class _Open:
    """A map whose activation has not come yet."""

    map: Map
    parents: tuple[int, ...]


class _Builder:
    """Collects blocks; a value under construction is a variable's number or a map that waits for its activation."""

    def __init__(self, input_shape: Shape) -> None:
        self.shapes: list[Shape] = [input_shape]
        self.blocks: list[Block] = []
        self.counts: dict[str, int] = {}

    def chain(self, value: int | _Open, layers: Sequence[object]) -> int | _Open:
        for layer in layers:
            value = self.layer(value, layer)
        return value

    def head(self, parents: Sequence[int], layers: Sequence[object]) -> int | _Open:
        if len(parents) == 1:
            return self.chain(parents[0], layers)
        if not layers or not isinstance(layers[0], Map):
            raise ShapeError(f"a node with {len(parents)} parents starts with a map such as Add(), given {layers[:1]}")
        return self.chain(_Open(layers[0], tuple(parents)), layers[1:])

    def layer(self, value: int | _Open, layer: object) -> int | _Open:
        if isinstance(layer, Activation):
            open_ = value if isinstance(value, _Open) else _Open(Keep(), (value,))
            return self.block(open_, layer)
        if hasattr(layer, "expand"):  # a layer that stands for several: normalisation, attention
            return self.chain(value, layer.expand())
        variable = self.close(value)
        if hasattr(layer, "expand_for"):  # the same for one that must know the shape
            return self.chain(variable, layer.expand_for(self.shapes[variable]))
        if isinstance(layer, Map):
            return _Open(layer, (variable,))
        if isinstance(layer, Sequential):
            return self.chain(variable, layer.layers)
        if isinstance(layer, Residual):
            first = len(self.blocks)
            end = self.close(self.chain(variable, layer.layers))
            self.scale(first, layer)
            return _Open(Add(), (variable, end))
        if isinstance(layer, Parallel):
            ends = tuple(self.close(self.chain(variable, branch)) for branch in layer.branches)
            return _Open(layer.combine if isinstance(layer.combine, Map) else COMBINE[layer.combine](), ends)
        raise TypeError(f"layer {len(self.blocks) + 1} is {layer!r}, expected a map, an activation, Residual or Parallel")

    def close(self, value: int | _Open) -> int:
        return value if isinstance(value, int) else self.block(value, Identity())

    def block(self, open_: _Open, activation: Activation) -> int:
        index = len(self.blocks) + 1
        parent_shapes = tuple(self.shapes[p] for p in open_.parents)
        name = self.name(open_.map)
        try:
            shape = open_.map.output_shape(*parent_shapes)
            if not shape:
                raise ShapeError("a sample needs at least one axis")
            activation.check(shape)
        except ValueError as error:
            raise ShapeError(f"block {index} ({name}, {activation!r}): {error}") from None
        self.shapes.append(shape)
        self.blocks.append(Block(index, name, open_.map, activation, open_.parents, shape, parent_shapes))
        return index

    def scale(self, first: int, layer: Residual) -> None:
        """Scale the initial weights of the last block of a branch, which begins behind block `first`, that has weights."""
        weighted = [k for k in range(first, len(self.blocks)) if any(len(s) > 1 for s in self.blocks[k].trained().values())]
        if weighted:
            k = weighted[-1]
            self.blocks[k] = replace(self.blocks[k], scale=self.blocks[k].scale * layer.scale)
        elif layer.scale != 1.0:
            raise ValueError(f"{layer!r}: no layer has weights to be scaled")

    def name(self, map_: Map) -> str:
        kind = type(map_.map if isinstance(map_, Tied) else map_).__name__.lower()
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return f"{kind}{self.counts[kind]}"


def _input_shape(layers: Sequence[object], given: Sequence[int] | None) -> Shape:
    """Return the input's shape as given, or as the first layer that knows it declares."""
    if given is not None:
        return tuple(int(n) for n in given)
    for layer in layers:
        inner = getattr(layer, "layers", None) or (getattr(layer, "branches", None) or [None])[0]
        if inner:
            return _input_shape(inner, None)
        if isinstance(layer, Map) and layer.input_shape() is not None:
            return layer.input_shape()  # type: ignore[return-value]
        if isinstance(width := getattr(layer, "width", None), int) and hasattr(layer, "expand"):
            return (width,)
        if not isinstance(layer, Activation):
            break
    raise ShapeError("the shape of the input is not known from the first layer: pass input_shape=(...)")
