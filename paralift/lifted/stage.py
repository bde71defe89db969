"""A stage: the consecutive blocks that one rank owns, their parameters and their work buffers.

Algorithms drive a stage through windows. A `State` holds the lifted variables of one batch; a `Window` is a range of its rows
(a micro-batch) with every view that the inner loops need made once, so that a step neither slices nor allocates.

| symbol      | here                                                   |
|-------------|--------------------------------------------------------|
| x_l, z_l    | ``state.x[l]``, ``state.z[l]`` (variable 0: the input) |
| g_l, then r_l | ``state.g[l]``: the pull, overwritten by the residual |
| theta_l     | ``stage.params[block.name]``                           |
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import numpy as np

from paralift.kernels.arrays import Array, Work, empty, from_host, namespace, zeros
from paralift.lifted.activations.shared import Sum, over_shards
from paralift.lifted.initial import Scheme
from paralift.lifted.layout import Layout
from paralift.lifted.maps.base import Map
from paralift.lifted.maps.combine import add
from paralift.lifted.network import Block, Network, Params


class Stage:
    """Blocks `start` to `stop` (exclusive, counted from 0) of a network, with parameters and gradient in flat arrays.

    Parameters
    ----------
    network : Network
    start, stop : int
        Range of ``network.blocks``.
    like : array
        An array of the wanted library, device and dtype (float32 or float64); its values do not matter.
    free_input : bool
        Whether the pull on the network's input is wanted.
    still : collection of str
        Blocks whose gradients nobody wants.
    sum_shards : callable, optional
        Returns the sum of a float64 array over the data shards; where there are several.
    """

    def __init__(
        self, network: Network, start: int, stop: int, like: Array, free_input: bool = False, still: Collection[str] = (),
        sum_shards: Sum | None = None,
    ) -> None:
        if not 0 <= start < stop <= len(network.blocks):
            raise ValueError(f"stage of blocks {start}:{stop}, expected a range within 0:{len(network.blocks)}")
        self.network = network
        self.blocks: tuple[Block, ...] = network.blocks[start:stop]
        self.like = like
        self.sum_shards = sum_shards
        self.inputs = network.live(start)
        self.outputs = network.live(stop)
        self.has_input = start == 0
        self.has_output = stop == len(network.blocks)
        self.layout = Layout(self.blocks)
        self.flat = zeros((self.layout.size,), like)
        self.gradient = zeros((self.layout.size,), like)
        self.params = self.layout.views(self.flat)
        self.still = frozenset(still)
        self.gradients = self.gradients_in(self.gradient)
        fixed = set() if free_input else {0}
        self.pulled = ({*self.inputs} | {b.index for b in self.blocks}) - fixed
        self.unmoved = frozenset() if free_input else network.unmoved  # what sweeps need pull nothing on
        self.pulled_inputs = tuple(v for v in self.inputs if v in self.pulled)
        self.pulled_outputs = tuple(v for v in self.outputs if v in self.pulled)

    @property
    def output(self) -> Block:
        """The stage's last block."""
        return self.blocks[-1]

    def init(self, seed: int, scheme: Scheme = None) -> None:
        """Set the parameters to their initial values."""
        dtype = np.dtype(str(self.like.dtype).rsplit(".", 1)[-1])
        self.load({b.name: self.network.initial(b, seed, dtype, scheme) for b in self.blocks})

    def load(self, params: Params) -> None:
        """Copy parameters (host arrays or arrays of the stage's library) into the flat array."""
        for name, own in self.params.items():
            for key, view in own.items():
                value = params[name][key]
                view[...] = from_host(value, self.like) if isinstance(value, np.ndarray) else value

    def gradients_in(self, flat: Array) -> Params:
        """Return views of a flat array for the gradients that are wanted."""
        return {name: views for name, views in self.layout.views(flat).items() if name not in self.still}

    def state(
        self,
        capacity: int,
        theta: Params | None = None,
        training: bool = True,
        apart: Collection[int] = (),
        gradients: Params | None = None,
    ) -> State:
        """Return buffers for sweeps over at most `capacity` samples; see `State`."""
        theta = self.params if theta is None else theta
        return State(self, capacity, theta, training, apart, self.gradients if gradients is None else gradients)

    @property
    def tracks(self) -> bool:
        """Whether a block has running statistics, so that evaluation differs from training."""
        return bool(self.layout.tracked)

    @property
    def draws(self) -> bool:
        """Whether a block draws random numbers of each sample, so that evaluation differs from training."""
        return any(b.map.draws for b in self.blocks)


class State:
    """The lifted variables of one batch on one stage, and the targets where the stage has the output.

    Where nothing tells two arrays apart they are one: x and z of an identity activation; the pull on a block with identity
    activation and on the sum that alone reads it.

    Parameters
    ----------
    stage : Stage
    capacity : int
        Samples at most.
    theta : mapping
        The parameters of its passes.
    training : bool
        Whether running statistics are tracked and random numbers drawn, by `keys`; otherwise statistics are used, and
        nothing is random.
    apart : collection of int
        Variables whose pull has an array of its own, because something is added to it alone.
    gradients : mapping
        Where the gradients of its passes go.
    """

    def __init__(
        self, stage: Stage, capacity: int, theta: Params, training: bool, apart: Collection[int], gradients: Params
    ) -> None:
        self.stage = stage
        self.gradients = gradients
        self.training = training
        self.capacity = capacity
        self.theta = theta
        shapes = stage.network.shapes
        self.x: dict[int, Array] = {v: self.new(shapes[v]) for v in stage.inputs}
        self.z: dict[int, Array] = {}
        for block in stage.blocks:
            self.z[block.index] = self.new(block.shape)
            same = block.activation.is_identity
            self.x[block.index] = self.z[block.index] if same else self.new(block.shape)
        self.shared = {v: r for v, r in self._shared_pulls().items() if v not in apart}
        self.g: dict[int, Array] = {}
        for v in sorted(stage.pulled, reverse=True):
            self.g[v] = self.g[self.shared[v]] if v in self.shared else self.new(shapes[v])
        self.y: Array | None = None
        self.keys: Array | None = sample_keys_like(capacity, stage.like) if training else None
        self.loss = 0.0
        self._scratch: dict[tuple[int, ...], Array] = {}
        self._windows: dict[tuple[int, int], Window] = {}
        self._lists: dict[tuple[tuple[int, int], ...], Sequence[Window]] = {}

    def new(self, shape: tuple[int, ...]) -> Array:
        """Return an array for samples of `shape`."""
        return empty((self.capacity, *shape), self.stage.like)

    def scratch(self, shape: tuple[int, ...]) -> Array:
        """Return a temporary array for samples of `shape`, the same at every call."""
        if shape not in self._scratch:
            self._scratch[shape] = self.new(shape)
        return self._scratch[shape]

    def window(self, start: int, stop: int) -> Window:
        """Return the rows `start` to `stop`; made at the first call, kept for the next."""
        key = (start, stop)
        if key not in self._windows:
            self._windows[key] = Window(self, start, stop)
        return self._windows[key]

    def windows(self, ranges: Sequence[tuple[int, int]]) -> Sequence[Window]:
        """Return a window for each range of rows, all distinct (several may be empty); made at the first call."""
        key = tuple(ranges)
        if key not in self._lists:
            self._lists[key] = [self.window(*key[0])] if len(key) == 1 else [Window(self, a, b) for a, b in key]
        return self._lists[key]

    def nbytes(self) -> int:
        """Return the bytes of all arrays held."""
        arrays = {id(a): a for group in (self.x, self.z, self.g, self._scratch) for a in group.values()}
        return sum(int(np.prod(a.shape)) * a.dtype.itemsize for a in arrays.values())

    def _shared_pulls(self) -> dict[int, int]:
        """Map a variable to the one whose pull is the same array, because one sum alone reads it unchanged."""
        shared = {}
        network, own = self.stage.network, {b.index: b for b in self.stage.blocks}
        for v, block in own.items():
            readers = network.children[v]
            if not block.activation.is_identity or len(readers) != 1 or readers[0] not in own:
                continue
            reader = own[readers[0]]
            once = reader.parents.count(v) == 1
            if once and reader.map.passes_through and reader.activation.is_identity:
                shared[v] = reader.index
        return shared


class Window:
    """Rows of a state: one micro-batch."""

    def __init__(self, state: State, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= state.capacity:
            raise ValueError(f"rows {start}:{stop} of a state for {state.capacity} samples")
        self.state = state
        self.stage = state.stage
        self.rows = (start, stop)
        self.n = stop - start
        self.first = start == 0
        self.last = len(self.stage.network.blocks)
        self.x = {v: a[start:stop, ...] for v, a in state.x.items()}
        self.z = {v: a[start:stop, ...] for v, a in state.z.items()}
        self.g = {v: a[start:stop, ...] for v, a in state.g.items()}
        self.keys = None if state.keys is None else state.keys[start:stop]
        self.work: dict[Any, list[Work]] = {}  # passes of sweeps, by what they are
        self.steps = tuple(Step(self, block) for block in self.stage.blocks)
        started = set(self.stage.outputs)
        for step in reversed(self.steps):
            step.pulls = tuple(self._pulls(step, started))

    @property
    def y(self) -> Array:
        """The targets of these rows, shape (n, ...)."""
        if self.state.y is None:
            raise RuntimeError("the state of the last stage has no targets yet")
        return self.state.y[self.rows[0] : self.rows[1], ...]

    def _pulls(self, step: Step, started: set[int]) -> list[Work]:
        """Return what hands the residual of `step` to its parents: the first writes, later ones add."""
        result: list[Work] = []
        for k, p in enumerate(step.block.parents):
            if p not in self.stage.pulled or p in self.stage.unmoved or self.state.shared.get(p) == step.block.index:
                continue
            result.append(self._pull(step, k, p, p in started))
            started.add(p)
        return result

    def _pull(self, step: Step, k: int, parent: int, adds: bool) -> Work:
        map_, theta, xs, r, out = step.map, step.theta, step.xs, step.g, self.g[parent]
        if not adds:
            return map_.bound_adjoint(theta, xs, r, k, out)
        if map_.passes_through:
            return partial(add, out, r, out)
        part = self.state.scratch(self.stage.network.shapes[parent])[: self.n, ...]
        pull = map_.bound_adjoint(theta, xs, r, k, part)

        def accumulate() -> None:
            pull()
            add(out, part, out)

        return accumulate


class Step:
    """One block on one window: its arrays, two-dimensional views of them for the activation, and work bound to them.

    Attributes
    ----------
    forward : tuple of calls
        Computes z and x = sigma(z) from the parents.
    pulls : tuple of calls
        Hands the residual in g to the parents.
    gradient : call
        Writes what the residual pulls on the parameters (the offset excepted).
    moved : bool
        Whether parameters move the block's variable; otherwise nobody needs its residual.
    then : call or None
        After the block's part of a pass: lets messages advance.
    """

    __slots__ = ("activation", "block", "forward", "g", "g2", "gradient", "gradients", "map", "moved", "offset",
                 "offset_gradient", "pulls", "then", "theta", "x", "x2", "xs", "z", "z2")  # fmt: skip

    def __init__(self, window: Window, block: Block) -> None:
        v = block.index
        self.block = block
        self.map = drawn(block, window.keys)
        self.moved = v not in window.stage.unmoved
        self.activation = over_shards(block.activation, window.stage.sum_shards)
        self.theta: Any = window.state.theta.get(block.name, {})
        self.gradients: Any = window.state.gradients.get(block.name, {})
        self.xs = tuple(window.x[p] for p in block.parents)
        self.x, self.z, self.g = window.x[v], window.z[v], window.g[v]
        self.z2, self.g2 = matrix(self.z), matrix(self.g)
        self.x2 = self.z2 if block.activation.is_identity else matrix(self.x)
        name = block.map.offset
        self.offset = self.theta[name] if name else None
        self.offset_gradient = self.gradients.get(name) if name else None
        self.pulls: tuple[Work, ...] = ()
        self.then: Work | None = None
        self.gradient = self.map.bound_gradient(self.xs, self.g, self.gradients) if self.gradients else _nothing
        self.forward = self._forward(window.state.training)

    def _forward(self, training: bool) -> tuple[Work, ...]:
        act = self.activation
        product = self.map.bound_apply(self.theta, self.xs, self.z)
        if not self.block.tracked():
            return product, act.bound_activate(self.z2, self.offset, self.x2)
        if not training:
            return product, partial(act.evaluate, self.z2, self.offset, self.x2, self.theta)
        return product, act.bound_train(self.z2, self.offset, self.x2, self.theta)


def drawn(block: Block, keys: Array | None) -> Map:
    """Return a block's map as it acts on samples with `keys`; without keys, as in evaluation."""
    return block.map if keys is None or not block.map.draws else block.map.drawn(keys, block.index)


def sample_keys_like(capacity: int, like: Array) -> Array:
    """Return room for the keys of samples, by which all that is random about them is drawn."""
    return zeros((capacity,), like, dtype=namespace(like).uint64)


def _nothing() -> None:
    """Do nothing: a block without parameters has no gradient."""


def matrix(a: Array) -> Array:
    """Return `a` as a matrix whose rows are its last axis: a view, since states are contiguous."""
    return a if a.ndim == 2 else namespace(a).reshape(a, (int(np.prod(a.shape[:-1])), a.shape[-1]))
