"""Steps as a `torch.fx.GraphModule` of PyTorch's own layers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional as F

from paralift.interop.optional import UnsupportedError
from paralift.interop.steps import Step, Steps, steps_of
from paralift.lifted.network import Network, Params


def convert(net: Network, params: Params) -> fx.GraphModule:
    """Do what `paralift.to_torch` says."""
    return _Builder(steps_of(net, params)).module


class _Builder:
    """Nodes of the tensors so far, and the layers."""

    def __init__(self, steps: Steps) -> None:
        self.root, self.graph = nn.Module(), fx.Graph()
        self.nodes = {steps.input.number: self.graph.placeholder("x")}
        self.layers: dict[str, nn.Module] = {}
        for step in steps.steps:
            self.nodes[step.output.number] = self.node(step)
        self.graph.output(self.nodes[steps.output.number])
        self.module = fx.GraphModule(self.root, self.graph)
        self.module.graph.lint()

    def node(self, step: Step) -> fx.Node:
        """Add a step's nodes and return the last."""
        xs = [self.nodes[t.number] for t in step.inputs]
        if step.kind in LAYERS:
            layer, *around = LAYERS[step.kind](step)
            return self.layer(step, layer, xs[0], *around)
        return getattr(self, step.kind)(step, *xs)

    def call(self, function: Callable, *args: Any, **keywords: Any) -> fx.Node:
        return self.graph.call_function(function, args, keywords)

    def layer(
        self, step: Step, layer: nn.Module, x: fx.Node, before: Any = None, after: Any = None, fill: float = 0.0
    ) -> fx.Node:
        """Call a layer of the block's name; `before` pads what it reads, `after` what it makes (or cuts, where negative)."""
        name = step.name or step.kind
        while name in self.layers:
            name += f"_{step.kind}"
        self.layers[name] = layer
        self.root.add_module(name, layer)
        if step.owner:
            self.share(step, layer)
        x = x if before is None else self.call(F.pad, x, before, value=fill)
        y = self.graph.call_module(name, (x,))
        return y if after is None else self.call(F.pad, y, after)

    def share(self, step: Step, layer: nn.Module) -> None:
        """Let the layer have the parameters of its block's owner."""
        owner = self.layers[step.owner]
        for name, values in list(layer.named_parameters()):
            found = getattr(owner, name)
            if found.shape != values.shape or not torch.equal(found, values):
                raise UnsupportedError(
                    f"block {step.name} shares parameters with {step.owner}, whose layer in PyTorch keeps them in another order"
                )
            setattr(layer, name, found)

    def parameter(self, step: Step, name: str, values: np.ndarray, trained: bool = True) -> fx.Node:
        """Return a node for a parameter or a buffer of the block's name."""
        tensor = torch.from_numpy(np.array(values))
        name = f"{step.name}_{name}"
        if trained:
            self.root.register_parameter(name, nn.Parameter(tensor))
        else:
            self.root.register_buffer(name, tensor)
        return self.graph.get_attr(name)

    def embedding(self, step: Step, x: fx.Node) -> fx.Node:
        weight = step.arrays["weight"]
        return self.layer(step, _with(nn.Embedding, weight.shape, weight=weight), self.graph.call_method("long", (x,)))

    def positions(self, step: Step, x: fx.Node) -> fx.Node:
        fixed = step.arguments["fixed"]
        values = step.arrays["position"] if fixed is None else fixed
        return self.call(operator.add, x, self.parameter(step, "position", values, fixed is None))

    def diagonal(self, step: Step, x: fx.Node) -> fx.Node:
        shape = (-1, *(1,) * (len(step.output.shape) - 1)) if step.output.first else (-1,)
        gain, shift = (self.parameter(step, n, step.arrays[n].reshape(shape)) for n in ("gain", "shift"))
        return self.call(operator.add, self.call(operator.mul, x, gain), shift)

    def rms_norm(self, step: Step, x: fx.Node) -> fx.Node:
        width, arrays = step.arguments["width"], step.arrays
        layer = _with(nn.RMSNorm, (width, step.arguments["eps"], "gain" in arrays), weight=arrays.get("gain"))
        y = self.layer(step, layer, x)
        shift = arrays.get("shift")
        return y if shift is None or not shift.any() else self.call(operator.add, y, self.parameter(step, "shift", shift))

    def combine(self, step: Step, *xs: fx.Node) -> fx.Node:
        weights = step.arguments.get("weights", (1.0,) * len(xs))
        parts = [x if w == 1.0 else self.call(operator.mul, x, w) for x, w in zip(xs, weights, strict=True)]
        total = parts[0]
        for part in parts[1:]:
            total = self.call(operator.add, total, part)
        return total

    def concatenate(self, step: Step, *xs: fx.Node) -> fx.Node:
        return self.call(torch.cat, list(xs), step.arguments["axis"])

    def reshape(self, step: Step, x: fx.Node) -> fx.Node:
        return self.call(torch.reshape, x, (-1, *step.output.shape))

    def permute(self, step: Step, x: fx.Node) -> fx.Node:
        return self.call(torch.permute, x, (0, *(k + 1 for k in step.arguments["order"])))

    def slice(self, step: Step, x: fx.Node) -> fx.Node:
        return self.call(torch.narrow, x, -1, step.arguments["start"], step.arguments["stop"] - step.arguments["start"])

    def matmul(self, step: Step, x: fx.Node, y: fx.Node) -> fx.Node:
        return self.call(torch.matmul, x, y)

    def mean(self, step: Step, x: fx.Node) -> fx.Node:
        return self.call(torch.mean, x, tuple(k + 1 for k in step.arguments["axes"]))

    def arctan(self, step: Step, x: fx.Node) -> fx.Node:
        return self.call(operator.mul, self.call(torch.atan, x), 2.0 / np.pi)

    def isru(self, step: Step, x: fx.Node) -> fx.Node:
        return self.call(operator.mul, x, self.call(torch.rsqrt, self.call(operator.add, self.call(torch.square, x), 1.0)))

    def causal_softmax(self, step: Step, x: fx.Node) -> fx.Node:
        hidden = np.triu(np.full(step.output.shape[-2:], -np.inf, np.float32), 1)
        return self.call(torch.softmax, self.call(operator.add, x, self.parameter(step, "mask", hidden, False)), -1)


def _with(kind: Callable[..., nn.Module], arguments: tuple, **arrays: np.ndarray | None) -> Any:
    """Return a layer with these arrays as its parameters and statistics."""
    layer = kind(*arguments)
    for name, values in arrays.items():
        if values is None:
            continue
        tensor = torch.from_numpy(np.array(values))  # a copy, contiguous
        setattr(layer, name, nn.Parameter(tensor) if name in layer._parameters else tensor)
    return layer


def _linear(step: Step) -> tuple:
    weight = step.arrays["weight"] if step.arguments["readout"] else step.arrays["weight"].T
    bias = step.arrays.get("bias")
    return (_with(nn.Linear, (weight.shape[1], weight.shape[0], bias is not None), weight=weight, bias=bias),)


def _convolution(step: Step) -> tuple:
    a, weight, bias = step.arguments, step.arrays["weight"], step.arrays.get("bias")
    padding, around = _padding(a)
    arguments = (
        weight.shape[-2] * a["groups"],
        weight.shape[-1],
        a["kernel"],
        a["stride"],
        padding,
        a["dilation"],
        a["groups"],
    )
    kind = (nn.Conv1d, nn.Conv2d)[len(a["kernel"]) - 1]
    return _with(kind, (*arguments, bias is not None), weight=_kernel(weight), bias=bias), around


def _transpose(step: Step) -> tuple:
    a, weight, bias = step.arguments, step.arrays["weight"], step.arrays.get("bias")
    more = [b - c for b, c in zip(a["before"], a["after"], strict=True)]
    padding: Any = a["before"]
    extra: Any = more
    cut = None
    if min(more) < 0:  # more is cut off behind than before
        padding, extra = 0, 0
        cut = [-n for b, c in zip(reversed(a["before"]), reversed(a["after"]), strict=True) for n in (b, c)]
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d)[len(a["kernel"]) - 1]
    arguments = (weight.shape[-1], weight.shape[-2] * a["groups"], a["kernel"], a["stride"], padding, extra, a["groups"])
    return _with(kind, (*arguments, bias is not None, a["dilation"]), weight=_kernel(weight), bias=bias), None, cut


def _kernel(weight: np.ndarray) -> np.ndarray:
    return weight.transpose(weight.ndim - 1, weight.ndim - 2, *range(weight.ndim - 2))


def _padding(a: Any) -> tuple[Any, list[int] | None]:
    """Return the padding of a layer, or that of its input before it, where the two sides differ."""
    if a["before"] == a["after"]:
        return a["before"], None
    return 0, [n for b, c in zip(reversed(a["before"]), reversed(a["after"]), strict=True) for n in (b, c)]


def _largest(step: Step) -> tuple:
    a = step.arguments
    padding, around = _padding(a)
    return (nn.MaxPool1d, nn.MaxPool2d)[len(a["kernel"]) - 1](a["kernel"], a["stride"], padding), around, None, -np.inf


def _average(step: Step) -> tuple:
    a = step.arguments
    padding, around = _padding(a)
    return (nn.AvgPool1d, nn.AvgPool2d)[len(a["kernel"]) - 1](a["kernel"], a["stride"], padding), around


def _adaptive(step: Step) -> tuple:
    output = step.arguments["output"]
    return (nn.AdaptiveAvgPool1d(output[0]) if len(output) == 1 else nn.AdaptiveAvgPool2d(output),)


def _batch_norm(step: Step) -> tuple:
    a, arrays = step.arguments, step.arrays
    kind = nn.BatchNorm2d if len(step.output.shape) == 3 else nn.BatchNorm1d
    arguments = (len(arrays["mean"]), a["eps"], a["momentum"], "gain" in arrays)
    statistics = {"running_mean": arrays["mean"], "running_var": arrays["variance"]}
    return (_with(kind, arguments, weight=arrays.get("gain"), bias=arrays.get("shift"), **statistics),)


def _layer_norm(step: Step) -> tuple:
    a, arrays = step.arguments, step.arrays
    return (_with(nn.LayerNorm, (a["width"], a["eps"], "gain" in arrays), weight=arrays.get("gain"), bias=arrays.get("shift")),)


def _group_norm(step: Step) -> tuple:
    a, arrays = step.arguments, step.arrays
    arguments = (a["groups"], a["channels"], a["eps"], "gain" in arrays)
    return (_with(nn.GroupNorm, arguments, weight=arrays.get("gain"), bias=arrays.get("shift")),)


LAYERS: dict[str, Callable[[Step], tuple]] = {
    "linear": _linear,
    "convolution": _convolution,
    "transpose": _transpose,
    "largest": _largest,
    "average": _average,
    "adaptive": _adaptive,
    "upsample": lambda s: (nn.Upsample(scale_factor=float(s.arguments["factor"])),),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "dropout": lambda s: (nn.Dropout(s.arguments["rate"]),),
    "relu": lambda s: (nn.ReLU(),),
    "leaky_relu": lambda s: (nn.LeakyReLU(s.arguments["slope"]),),
    "clip": lambda s: (nn.Hardtanh(s.arguments["low"], s.arguments["high"]),),
    "soft_threshold": lambda s: (nn.Softshrink(s.arguments["threshold"]),),
    "tanh": lambda s: (nn.Tanh(),),
    "sigmoid": lambda s: (nn.Sigmoid(),),
    "softsign": lambda s: (nn.Softsign(),),
    "elu": lambda s: (nn.ELU(s.arguments["alpha"]),),
    "softplus": lambda s: (nn.Softplus(),),
    "gelu": lambda s: (nn.GELU("none" if s.arguments["exact"] else "tanh"),),
    "silu": lambda s: (nn.SiLU(),),
    "softmax": lambda s: (nn.Softmax(s.arguments["axis"]),),
}
"""Steps that are a layer each: the layer, and what is put around its input and cut off its output."""
