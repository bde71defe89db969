"""Steps as a model of ONNX: what `onnxruntime` and other engines read. Operators of set 20, by the `onnx` package's helper."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from paralift.interop.optional import load
from paralift.interop.steps import Step, Steps, Tensor, steps_of
from paralift.lifted.network import Network, Params

OPERATORS, VERSION = 20, 10
"""The set of operators, the first with GELU, and the version of the file format that came with it or soon after."""


def to_onnx(net: Network, params: Params, path: str | Path) -> None:
    """Write a network as a model of ONNX, in evaluation.

    Its input ``x`` and its output ``y`` are those of the module that `to_torch` gives: samples on the first axis, their number
    free; images and series channels first. Tokens are int64.

    Parameters
    ----------
    net : Network
    params : mapping
        In the structure of ``net.init()``.
    path : str or Path
        Written whole or not at all, and checked by ``onnx.checker`` before.

    Raises
    ------
    ImportError
        If the onnx package is not installed.
    UnsupportedError
        A ValueError: the block that has no counterpart, and what is supported.
    ValueError
        If parameters do not fit the network.
    """
    onnx = load("onnx", "to_onnx")
    model = _Model(onnx, steps_of(net, params), net).model
    onnx.checker.check_model(model, full_check=True)
    path = Path(path)
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_bytes(model.SerializeToString())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


class _Model:
    """Nodes and numbers so far."""

    def __init__(self, onnx: Any, steps: Steps, net: Network) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.initial: list[Any] = []
        arrays = [a for step in steps.steps for a in step.arrays.values()]
        self.dtype = arrays[0].dtype if arrays else np.dtype(np.float32)
        real = onnx.helper.np_dtype_to_tensor_dtype(self.dtype)
        self.names = {steps.input.number: "x"}
        self.tokens = steps.tokens
        for step in steps.steps:
            self.names[step.output.number] = self.write(step)
        self.node("Identity", self.names[steps.output.number], output="y")
        kind = onnx.TensorProto.INT64 if steps.tokens else real
        ends = [self.described("x", kind, steps.input)], [self.described("y", real, steps.output)]
        graph = onnx.helper.make_graph(self.nodes, "paralift", *ends, self.initial)
        sets = [onnx.helper.make_opsetid("", OPERATORS)]
        self.model = onnx.helper.make_model(graph, opset_imports=sets, ir_version=VERSION, producer_name="paralift")

    def described(self, name: str, kind: Any, tensor: Tensor) -> Any:
        return self.onnx.helper.make_tensor_value_info(name, kind, ["n", *tensor.shape])

    def node(self, operator: str, *inputs: Any, output: str | None = None, **attributes: Any) -> str:
        """Add a node and return the name of its output; arrays and numbers among the inputs are kept in the model."""
        output = output or f"t{len(self.nodes)}"
        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        self.nodes.append(self.onnx.helper.make_node(operator, names, [output], **attributes))
        return output

    def constant(self, value: Any) -> str:
        array = np.asarray(value, self.dtype) if not isinstance(value, np.ndarray) else value
        name = f"c{len(self.initial)}"
        self.initial.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def write(self, step: Step) -> str:
        """Add the nodes of a step and return the name of its output."""
        xs = [self.names[t.number] for t in step.inputs]
        if step.kind in SIMPLE:
            operator, rename = SIMPLE[step.kind]
            return self.node(operator, *xs, **rename(step.arguments))
        return getattr(self, step.kind)(step, *xs)

    def affine(self, step: Step, x: str, shape: Any = (-1,)) -> str:
        for operator, name in (("Mul", "gain"), ("Add", "shift")):
            if name in step.arrays:
                x = self.node(operator, x, step.arrays[name].reshape(shape))
        return x

    def linear(self, step: Step, x: str) -> str:
        weight = step.arrays["weight"].T if step.arguments["readout"] else step.arrays["weight"]
        y = self.node("MatMul", x, weight)
        return self.node("Add", y, step.arrays["bias"]) if "bias" in step.arrays else y

    def embedding(self, step: Step, x: str) -> str:
        index = x if self.tokens else self.node("Cast", x, to=self.onnx.TensorProto.INT64)
        return self.node("Gather", step.arrays["weight"], index, axis=0)

    def positions(self, step: Step, x: str) -> str:
        fixed = step.arguments["fixed"]
        return self.node("Add", x, step.arrays["position"] if fixed is None else fixed)

    def diagonal(self, step: Step, x: str) -> str:
        return self.affine(step, x, _channel_shape(step.output) if step.output.first else (-1,))

    def batch_norm(self, step: Step, x: str) -> str:
        a = step.arrays
        one, zero = np.ones_like(a["mean"]), np.zeros_like(a["mean"])
        arrays = (a.get("gain", one), a.get("shift", zero), a["mean"], a["variance"])
        return self.node("BatchNormalization", x, *arrays, epsilon=step.arguments["eps"])

    def layer_norm(self, step: Step, x: str) -> str:
        one = np.ones(step.arguments["width"], self.dtype)
        arrays = (step.arrays.get("gain", one), step.arrays.get("shift", 0 * one))
        return self.node("LayerNormalization", x, *arrays, axis=-1, epsilon=step.arguments["eps"])

    def rms_norm(self, step: Step, x: str) -> str:
        mean = self.node("ReduceMean", self.node("Mul", x, x), _integers(-1), keepdims=1)
        scale = self.node("Sqrt", self.node("Add", mean, step.arguments["eps"]))
        return self.affine(step, self.node("Div", x, scale))

    def group_norm(self, step: Step, x: str) -> str:
        groups = step.arguments["groups"]
        one = np.ones(groups, self.dtype)
        rows = self.node("Reshape", x, _integers(0, groups, -1))
        rows = self.node("InstanceNormalization", rows, one, 0 * one, epsilon=step.arguments["eps"])
        return self.affine(step, self.node("Reshape", rows, _integers(0, *step.output.shape)), _channel_shape(step.output))

    def convolution(self, step: Step, x: str) -> str:
        a = step.arguments
        return self.node("Conv", x, *_weights(step), pads=[*a["before"], *a["after"]], **_window(a), group=a["groups"])

    def transpose(self, step: Step, x: str) -> str:
        a = step.arguments
        pads = [*a["before"], *(max(n, 0) for n in a["after"])]
        extra = [max(-n, 0) for n in a["after"]]
        return self.node("ConvTranspose", x, *_weights(step), pads=pads, output_padding=extra, **_window(a), group=a["groups"])

    def largest(self, step: Step, x: str) -> str:
        a = step.arguments
        return self.node("MaxPool", x, pads=[*a["before"], *a["after"]], kernel_shape=a["kernel"], strides=a["stride"])

    def average(self, step: Step, x: str) -> str:
        a = step.arguments
        pads = [*a["before"], *a["after"]]
        return self.node("AveragePool", x, pads=pads, kernel_shape=a["kernel"], strides=a["stride"], count_include_pad=1)

    def adaptive(self, step: Step, x: str) -> str:
        """Means along one axis after another, as products with matrices; one box is all positions."""
        if set(step.arguments["output"]) == {1}:
            return self.node("GlobalAveragePool", x)
        sizes = zip(step.arguments["spans"], step.inputs[0].shape[1:], strict=True)
        *down, across = (_means(spans, n).astype(self.dtype) for spans, n in sizes)
        x = self.node("MatMul", x, across.T)
        return self.node("MatMul", down[0], x) if down else x

    def mean(self, step: Step, x: str) -> str:
        return self.node("ReduceMean", x, _integers(*(k + 1 for k in step.arguments["axes"])), keepdims=0)

    def upsample(self, step: Step, x: str) -> str:
        factor = [1.0, 1.0, *[float(step.arguments["factor"])] * (len(step.output.shape) - 1)]
        options = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.node("Resize", x, "", np.array(factor, np.float32), **options)

    def combine(self, step: Step, *xs: str) -> str:
        weights = step.arguments.get("weights", (1.0,) * len(xs))
        parts = [x if w == 1.0 else self.node("Mul", x, w) for x, w in zip(xs, weights, strict=True)]
        return self.node("Sum", *parts) if len(parts) > 1 else parts[0]

    def dropout(self, step: Step, x: str) -> str:
        return x

    def reshape(self, step: Step, x: str) -> str:
        return self.node("Reshape", x, _integers(0, *step.output.shape))

    def slice(self, step: Step, x: str) -> str:
        return self.node("Slice", x, *(_integers(step.arguments[n]) for n in ("start", "stop")), _integers(-1))

    def silu(self, step: Step, x: str) -> str:
        return self.node("Mul", x, self.node("Sigmoid", x))

    def arctan(self, step: Step, x: str) -> str:
        return self.node("Mul", self.node("Atan", x), 2.0 / math.pi)

    def isru(self, step: Step, x: str) -> str:
        return self.node("Div", x, self.node("Sqrt", self.node("Add", self.node("Mul", x, x), 1.0)))

    def clip(self, step: Step, x: str) -> str:
        return self.node("Clip", x, step.arguments["low"], step.arguments["high"])

    def causal_softmax(self, step: Step, x: str) -> str:
        hidden = np.triu(np.full(step.output.shape[-2:], -np.inf, self.dtype), 1)
        return self.node("Softmax", self.node("Add", x, hidden), axis=-1)


def _nothing(arguments: Any) -> dict[str, Any]:
    return {}


SIMPLE: dict[str, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    "matmul": ("MatMul", _nothing),
    "permute": ("Transpose", lambda a: {"perm": [0, *(k + 1 for k in a["order"])]}),
    "concatenate": ("Concat", lambda a: {"axis": a["axis"]}),
    "softmax": ("Softmax", lambda a: {"axis": a["axis"]}),
    "relu": ("Relu", _nothing),
    "leaky_relu": ("LeakyRelu", lambda a: {"alpha": a["slope"]}),
    "soft_threshold": ("Shrink", lambda a: {"lambd": a["threshold"], "bias": a["threshold"]}),
    "tanh": ("Tanh", _nothing),
    "sigmoid": ("Sigmoid", _nothing),
    "softsign": ("Softsign", _nothing),
    "elu": ("Elu", lambda a: {"alpha": a["alpha"]}),
    "softplus": ("Softplus", _nothing),
    "gelu": ("Gelu", lambda a: {"approximate": "none" if a["exact"] else "tanh"}),
}
"""Steps that are one operator, and its attributes."""


def _integers(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def _channel_shape(tensor: Tensor) -> tuple[int, ...]:
    return (-1, *(1,) * (len(tensor.shape) - 1))


def _weights(step: Step) -> list[np.ndarray]:
    weight = step.arrays["weight"]
    moved = weight.transpose(weight.ndim - 1, weight.ndim - 2, *range(weight.ndim - 2))
    return [moved, step.arrays["bias"]] if "bias" in step.arrays else [moved]


def _window(a: Any) -> dict[str, Any]:
    return {"kernel_shape": a["kernel"], "strides": a["stride"], "dilations": a["dilation"]}


def _means(spans: np.ndarray, n: int) -> np.ndarray:
    """Return the matrix (boxes, n) that takes the mean of each span."""
    place = np.arange(n)
    inside = (place >= spans[:, :1]) & (place < spans[:, 1:])
    return inside / inside.sum(axis=1, keepdims=True)
