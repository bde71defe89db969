"""Blocks as steps of a library that keeps channels first: what the ways to PyTorch and to ONNX have in common.

Variables of two or three axes are held channels first where convolutions, pooling or batch normalisation read or make them,
and otherwise as ParaLift holds them; sums, activations and other maps of single numbers take what they get. A move of axes is
a step of its own. Gain and shift behind a normalisation become part of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from paralift.interop.optional import UnsupportedError
from paralift.kernels.arrays import to_host
from paralift.lifted import activations as sigma
from paralift.lifted import maps
from paralift.lifted.activations.base import Activation
from paralift.lifted.maps import regroup
from paralift.lifted.maps.base import Map, Shape
from paralift.lifted.maps.convolution import Convolution
from paralift.lifted.maps.positions import sinusoids
from paralift.lifted.maps.window import per_axis
from paralift.lifted.network import Block, Network, Params, check_params

CHANNELS = (Convolution, maps.AveragePool2d, maps.MaxPool2d, maps.AdaptiveAveragePool2d, maps.Upsample, regroup.ToGroups)
"""Maps that want channels first; `ToGroups`, as a part of group normalisation, and windows that are pooled."""
NEUTRAL = (maps.Keep, maps.Add, maps.Combine, maps.Concatenate, maps.Diagonal, maps.Dropout)
"""Maps that take channels where they are; `Reshape` and `Flatten`, which are of this kind too, are told apart."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of the other library: its number, its sample's shape there, and whether its channels come first."""

    number: int
    shape: Shape
    first: bool = False


@dataclass(frozen=True)
class Step:
    """What makes one tensor of others.

    Parameters
    ----------
    kind : str
        What `to_torch` and `to_onnx` know by this name.
    inputs : tuple of Tensor
    output : Tensor
    name : str
        The block.
    arguments : mapping
        Numbers that belong to the kind.
    arrays : mapping of str to ndarray
        Parameters and statistics as ParaLift has them.
    owner : str
        The block whose parameters they are, where blocks share them.
    """

    kind: str
    inputs: tuple[Tensor, ...]
    output: Tensor
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    owner: str = ""


@dataclass(frozen=True)
class Steps:
    """A network as steps.

    Parameters
    ----------
    input, output : Tensor
    tokens : bool
        Whether the input is read by embeddings alone.
    steps : list of Step
    """

    input: Tensor
    output: Tensor
    tokens: bool
    steps: list[Step]


def steps_of(net: Network, params: Params) -> Steps:
    """Return a network as steps; UnsupportedError names the block that cannot be one."""
    check_params(net, params)
    return _Steps(net, params).run()


class _Steps:
    """The variables so far, as tensors."""

    def __init__(self, net: Network, params: Params) -> None:
        self.net = net
        self.params = {b: {name: to_host(a) for name, a in arrays.items()} for b, arrays in params.items()}
        self.steps: list[Step] = []
        self.writers = self._writers()
        self.count = 0
        self.absorbed: dict[int, Tensor] = {}
        """Blocks whose map has been done with the block before."""

    def run(self) -> Steps:
        shape = self.net.input_shape
        first = len(shape) == 3 or (len(shape) == 2 and _wants_first(self.net))
        start = self.new(_moved(shape) if first else shape, first)
        self.values = {0: start}
        for block in self.net.blocks:
            try:
                self.values[block.index] = self.activation(block, self.map(block))
            except UnsupportedError as error:
                what = f"block {block.index} ({block.name}, {block.map!r}, {block.activation!r})"
                raise UnsupportedError(f"{what}: {error}") from None
        end = self.values[len(self.net.blocks)]
        readers = self.net.children[0]
        tokens = all(isinstance(self.net.blocks[r - 1].map, maps.Embedding) for r in readers)
        return Steps(start, self.first(end) if len(end.shape) == 3 else end, tokens, self.steps)

    def new(self, shape: Shape, first: bool = False) -> Tensor:
        self.count += 1
        return Tensor(self.count - 1, shape, first)

    def step(
        self, kind: str, inputs: Any, shape: Shape, block: Block | None = None, first: bool = False, **more: Any
    ) -> Tensor:
        """Record a step and return what it makes."""
        output = self.new(shape, first)
        arguments = {k: v for k, v in more.items() if k not in ("arrays", "owner")}
        known = {k: more[k] for k in ("arrays", "owner") if k in more}
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        self.steps.append(Step(kind, inputs, output, block.name if block else "", arguments, **known))
        return output

    def first(self, x: Tensor) -> Tensor:
        """Return the tensor channels first."""
        if x.first or len(x.shape) < 2:
            return x
        return self._move(x, (len(x.shape) - 1, *range(len(x.shape) - 1)), True)

    def last(self, x: Tensor) -> Tensor:
        """Return the tensor channels last."""
        if not x.first or len(x.shape) < 2:
            return replace(x, first=False)
        return self._move(x, (*range(1, len(x.shape)), 0), False)

    def _move(self, x: Tensor, order: tuple[int, ...], first: bool) -> Tensor:
        shape = tuple(x.shape[k] for k in order)
        if math.prod(x.shape) == max(x.shape):  # one axis alone is longer than 1: nothing moves
            return self.step("reshape", x, shape, first=first)
        return self.step("permute", x, shape, first=first, order=order)

    def map(self, block: Block) -> Tensor:
        """Return the tensor of z."""
        if block.index in self.absorbed:
            return self.absorbed[block.index]
        xs = tuple(self.values[p] for p in block.parents)
        map_: Map = block.map
        owner = ""
        if isinstance(map_, maps.Tied):
            owner, map_ = map_.to, map_.map
        more = {"arrays": {n: self.params[block.name][n] for n in block.trained()}, "owner": owner}
        for kinds, write in self.writers.items():
            if isinstance(map_, kinds):
                return write(block, map_, xs, more if block.trained() else {})
        raise UnsupportedError(f"{type(map_).__name__} has no counterpart")

    def _writers(self) -> dict[Any, Any]:
        """Return who writes which map; the first that fits counts."""
        return {
            maps.Dropout: self.neutral("dropout", lambda m: {"rate": m.rate}),
            maps.Reshape: self.reshape,
            maps.Flatten: self.reshape,
            maps.Keep: lambda block, map_, xs, more: xs[0],
            maps.Add: self.neutral("combine", lambda m: {}),
            maps.Combine: self.neutral("combine", lambda m: {"weights": m.weights}),
            maps.Concatenate: self.concatenate,
            maps.Diagonal: self.neutral("diagonal", lambda m: {}),
            (maps.Linear, maps.Readout): self.rowwise,
            maps.Positions: self.positions,
            maps.Embedding: lambda b, m, xs, more: self.step("embedding", self.last(xs[0]), b.shape, b, **more),
            maps.ConvTranspose2d: self.transpose,
            (maps.Conv2d, maps.AveragePool2d, maps.MaxPool2d): self.windows,
            maps.AdaptiveAveragePool2d: self.adaptive,
            maps.GlobalAverage: self.mean,
            maps.Upsample: lambda b, m, xs, more: self.step(
                "upsample", self.first(xs[0]), _moved(b.shape), b, True, factor=m.factor
            ),
            maps.Permute: lambda b, m, xs, more: self.step("permute", self.last(xs[0]), b.shape, b, order=m.axes),
            maps.Scores: self.scores,
            maps.Mix: self.mix,
            regroup.ToGroups: self.groups,
            regroup.ToWindows: self.largest,
        }

    def neutral(self, kind: str, arguments: Any) -> Any:
        """Return what writes maps of single numbers: channels stay where they are, if all parents agree."""

        def write(block: Block, map_: Map, xs: tuple[Tensor, ...], more: Any) -> Tensor:
            xs = self.agreed(xs)
            return self.step(kind, xs, xs[0].shape, block, xs[0].first, **arguments(map_), **more)

        return write

    def agreed(self, xs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return xs if all(x.first for x in xs) else tuple(self.last(x) for x in xs)

    def reshape(self, block: Block, map_: Map, xs: tuple[Tensor, ...], more: Any) -> Tensor:
        x = xs[0]
        if x.first and len(block.shape) > 1 and block.shape[-1] == x.shape[0]:  # channels stay channels
            return self.step("reshape", x, _moved(block.shape), block, True)
        return self.step("reshape", self.last(x), block.shape, block)

    def concatenate(self, block: Block, map_: Map, xs: tuple[Tensor, ...], more: Any) -> Tensor:
        xs = self.agreed(xs)
        first = xs[0].first
        return self.step("concatenate", xs, _moved(block.shape) if first else block.shape, block, first, axis=_axis(xs[0]))

    def rowwise(self, block: Block, map_: Any, xs: tuple[Tensor, ...], more: Any) -> Tensor:
        return self.step("linear", self.last(xs[0]), block.shape, block, readout=isinstance(map_, maps.Readout), **more)

    def positions(self, block: Block, map_: Any, xs: tuple[Tensor, ...], more: Any) -> Tensor:
        fixed = None
        if map_.kind != "learned":
            dtype = next((a.dtype for arrays in self.params.values() for a in arrays.values()), np.dtype(np.float32))
            fixed = sinusoids(map_.length, map_.width, str(dtype))
        return self.step("positions", self.last(xs[0]), block.shape, block, fixed=fixed, **more)

    def windows(self, block: Block, map_: Any, xs: tuple[Tensor, ...], more: Any) -> Tensor:
        x = self.first(xs[0])
        axes = len(block.shape) - 1
        windows = map_._windows(x.shape[1:])
        before = windows.before[2 - axes :]
        kernel, stride, dilation = (getattr(windows, n)[2 - axes :] for n in ("kernel", "stride", "dilation"))
        numbers = zip(x.shape[1:], block.shape, kernel, stride, dilation, before, strict=False)
        after = tuple(max(0, (m - 1) * s + d * (k - 1) + 1 - n - b) for n, m, k, s, d, b in numbers)
        if isinstance(map_, maps.Conv2d):
            kind, what = "convolution", {"groups": map_.groups}
        else:
            kind, what = ("largest" if isinstance(map_, maps.MaxPool2d) else "average"), {}
        padding = _symmetric(map_.padding, axes, before, after)
        return self.step(
            kind, x, _moved(block.shape), block, True, kernel=kernel, stride=stride, dilation=dilation, before=padding[0],
            after=padding[1], **what, **more,
        )  # fmt: skip

    def transpose(self, block: Block, map_: Any, xs: tuple[Tensor, ...], more: Any) -> Tensor:
        x = self.first(xs[0])
        axes = len(block.shape) - 1
        windows = map_._windows(block.shape[:-1])
        kernel, stride, dilation, before = (getattr(windows, n)[2 - axes :] for n in ("kernel", "stride", "dilation", "before"))
        numbers = zip(x.shape[1:], block.shape, kernel, stride, dilation, before, strict=False)
        after = tuple((n - 1) * s + d * (k - 1) + 1 - b - m for n, m, k, s, d, b in numbers)
        return self.step(
            "transpose", x, _moved(block.shape), block, True, kernel=kernel, stride=stride, dilation=dilation, before=before,
            after=after, groups=map_.groups, **more,
        )  # fmt: skip

    def adaptive(self, block: Block, map_: Any, xs: tuple[Tensor, ...], more: Any) -> Tensor:
        x = self.first(xs[0])
        boxes = map_._boxes(x.shape[1:])
        axes = len(block.shape) - 1
        spans = [getattr(boxes, n) for n in ("lines", "columns")][2 - axes :]
        return self.step("adaptive", x, _moved(block.shape), block, True, output=block.shape[:-1], spans=spans)

    def mean(self, block: Block, map_: Any, xs: tuple[Tensor, ...], more: Any) -> Tensor:
        x = xs[0]
        axes = tuple(range(1, len(x.shape))) if x.first else tuple(range(len(x.shape) - 1))
        return self.step("mean", x, block.shape, block, axes=axes)

    def scores(self, block: Block, map_: Any, xs: tuple[Tensor, ...], more: Any) -> Tensor:
        heads = map_.heads
        q, k = (self.split(x, heads) for x in xs)
        (h, t, d), (_, s, _) = q.shape, k.shape
        turned = self.step("permute", k, (h, d, s), order=(0, 2, 1))
        product = self.step("matmul", (q, turned), (h, t, s))
        return self.step("combine", product, (h, t, s), block, weights=(d**-0.5,))

    def mix(self, block: Block, map_: Any, xs: tuple[Tensor, ...], more: Any) -> Tensor:
        weights, v = self.last(xs[0]), self.split(xs[1], map_.heads)
        h, t, d = map_.heads, weights.shape[1], v.shape[2]
        product = self.step("matmul", (weights, v), (h, t, d))
        return self.step("reshape", self.step("permute", product, (t, h, d), order=(1, 0, 2)), (t, h * d), block)

    def split(self, x: Tensor, heads: int) -> Tensor:
        """Return (T, width) as (heads, T, width / heads)."""
        x = self.last(x)
        t, width = x.shape
        parts = self.step("reshape", x, (t, heads, width // heads))
        return self.step("permute", parts, (heads, t, width // heads), order=(1, 0, 2))

    def groups(self, block: Block, map_: Any, xs: tuple[Tensor, ...], more: Any) -> Tensor:
        """Group normalisation: this block, the way back from groups and the gain behind it, as one."""
        back = self.follower(block, regroup.FromGroups)
        if not isinstance(block.activation, sigma.Normalise) or not block.activation.centre or back is None:
            raise UnsupportedError("groups of channels are supported as a part of GroupNorm only")
        x = self.first(xs[0])
        gain = self.follower(back, maps.Diagonal) if back.activation.is_identity else None
        made = self.step(
            "group_norm", x, x.shape, block, x.first, groups=map_.groups, eps=block.activation.eps, channels=back.shape[-1],
            arrays=self.affine(gain),
        )  # fmt: skip
        self.absorbed[back.index] = made
        if gain is not None:
            self.absorbed[gain.index] = made
        return made

    def largest(self, block: Block, map_: Any, xs: tuple[Tensor, ...], more: Any) -> Tensor:
        """ReLU and max pooling as one activation: this block and the sum behind it."""
        total = self.follower(block, regroup.SumWindows)
        if not isinstance(block.activation, sigma.LargestPositive) or total is None:
            raise UnsupportedError("windows are supported as a part of ReLUMaxPool only")
        x = self.first(xs[0])
        axes = len(x.shape) - 1
        kernel, none = per_axis(map_.kernel, axes), (0,) * axes
        x = self.step("relu", x, x.shape, None, True)
        made = self.step(
            "largest", x, _moved(total.shape), block, True, kernel=kernel, stride=kernel, dilation=(1,) * axes,
            before=none, after=none,
        )  # fmt: skip
        self.absorbed[total.index] = made
        return made

    def follower(self, block: Block, kind: type) -> Block | None:
        """Return the block behind this one if it alone reads it and has a map of this kind."""
        readers = self.net.children[block.index]
        found = self.net.blocks[readers[0] - 1] if len(readers) == 1 else None
        return found if found is not None and isinstance(found.map, kind) and len(found.parents) == 1 else None

    def affine(self, gain: Block | None) -> dict[str, np.ndarray]:
        return {} if gain is None else dict(self.params[gain.name])

    def activation(self, block: Block, z: Tensor) -> Tensor:
        """Return the tensor of x."""
        act = block.activation
        if act.is_identity or isinstance(block.map, regroup.ToGroups | regroup.ToWindows):
            return z
        if isinstance(act, sigma.BatchNormalise | sigma.Normalise):
            return self.normalised(block, act, z)
        return self.elementwise(block, act, z)

    def normalised(self, block: Block, act: Any, z: Tensor) -> Tensor:
        gain = self.follower(block, maps.Diagonal)
        arrays = self.affine(gain)
        if isinstance(act, sigma.BatchNormalise):
            z = self.first(z)
            arrays |= {n: self.params[block.name][n] for n in ("mean", "variance")}
            made = self.step("batch_norm", z, z.shape, block, z.first, eps=act.eps, momentum=act.momentum, arrays=arrays)
        else:
            z = self.last(z)
            kind = "layer_norm" if act.centre else "rms_norm"
            made = self.step(kind, z, z.shape, block, eps=act.eps, width=z.shape[-1], arrays=arrays)
        if gain is not None:
            self.absorbed[gain.index] = made
        return made

    def elementwise(self, block: Block, act: Activation, z: Tensor) -> Tensor:
        if isinstance(act, sigma.Heads):
            return self.heads(block, act, z)
        kind = KINDS.get(type(act))
        if kind is None:
            others = (sigma.Heads, sigma.BatchNorm, sigma.LayerNorm, sigma.RMSNorm, sigma.GroupNorm)
            known = ", ".join(sorted(k.__name__ for k in (*KINDS, *others)))
            raise UnsupportedError(f"the activation {type(act).__name__} has no counterpart; supported: {known}")
        name, arguments = kind
        given = {argument: float(getattr(act, argument)) for argument in arguments}
        if isinstance(act, sigma.GELU):
            given = {"exact": act.exact}
        if isinstance(act, sigma.CausalSoftmax):
            z = self.last(z)
        if isinstance(act, sigma.Softmax):
            given = {"axis": _axis(z)}
        return self.step(name, z, z.shape, block, z.first, **given)

    def heads(self, block: Block, act: sigma.Heads, z: Tensor) -> Tensor:
        """Each part by itself."""
        z, parts = self.last(z), []
        for part, columns in act.cut():
            shape = (*z.shape[:-1], columns.stop - columns.start)
            piece = self.step("slice", z, shape, None, start=columns.start, stop=columns.stop)
            parts.append(piece if part.is_identity else self.elementwise(block, part, piece))
        return parts[0] if len(parts) == 1 else self.step("concatenate", tuple(parts), z.shape, None, axis=-1)


KINDS: dict[type, tuple[str, tuple[str, ...]]] = {
    sigma.ReLU: ("relu", ()),
    sigma.LeakyReLU: ("leaky_relu", ("slope",)),
    sigma.Hardtanh: ("clip", ("low", "high")),
    sigma.SoftThreshold: ("soft_threshold", ("threshold",)),
    sigma.Tanh: ("tanh", ()),
    sigma.Sigmoid: ("sigmoid", ()),
    sigma.Arctan: ("arctan", ()),
    sigma.ISRU: ("isru", ()),
    sigma.Softsign: ("softsign", ()),
    sigma.ELU: ("elu", ("alpha",)),
    sigma.Softplus: ("softplus", ()),
    sigma.GELU: ("gelu", ()),
    sigma.SiLU: ("silu", ()),
    sigma.Softmax: ("softmax", ()),
    sigma.CausalSoftmax: ("causal_softmax", ()),
}
"""Activations with a counterpart, and the numbers that belong to them."""


def _axis(x: Tensor) -> int:
    """Return the axis of channels or features."""
    return 1 if x.first else -1


def _moved(shape: Shape) -> Shape:
    return (shape[-1], *shape[:-1])


def _symmetric(padding: Any, axes: int, before: Shape, after: Shape) -> tuple[Shape, Shape]:
    """Return the zeros on both sides: as given, where they are numbers, so that layers look as they were written."""
    if isinstance(padding, str):
        return tuple(before), tuple(after)
    given = padding if isinstance(padding, tuple) else (padding,) * axes
    return given, given


def _wants_first(net: Network) -> bool:
    """Return whether the first block that minds where channels are, behind an input of two axes, wants them first."""
    free = {0}
    for block in net.blocks:
        if free & set(block.parents):
            neutral = isinstance(block.map, NEUTRAL) and not isinstance(block.map, maps.Reshape | maps.Flatten)
            if not neutral or isinstance(block.activation, sigma.Normalise | sigma.BatchNormalise):
                batch = neutral and isinstance(block.activation, sigma.BatchNormalise)
                return batch or isinstance(block.map, CHANNELS)
            free.add(block.index)
    return False
