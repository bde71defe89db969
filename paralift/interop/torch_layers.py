"""Modules of PyTorch as layers of ParaLift: one function for each kind, in a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from paralift.interop import torch_activations as activations
from paralift.interop.optional import UnsupportedError
from paralift.interop.torch_arrays import affine, array, check_arguments, linear_entries, size
from paralift.interop.torch_attention import encoder, encoder_layer
from paralift.interop.values import Entry, Tape, Value, last_index, plain_index
from paralift.lifted import activations as sigma
from paralift.lifted import maps
from paralift.lifted.maps.base import Shape

Translate = Callable[[Tape, str, Any, Value, Shape], Value]
"""From a tape, the module's name, the module, its input and the shape of PyTorch's output (samples) to its output."""


def linear(tape: Tape, name: str, module: nn.Linear, x: Value, shape: Shape) -> Value:
    """Weights take their inputs in the order in which they lie."""
    x, order = tape.last(x, -1)
    weight, bias = module.weight, module.bias
    if bias is None and any(e.source is weight for op in tape.ops for e in op.entries if e.name == "weight"):
        if (order == np.arange(order.size)).all():
            layer: Any = maps.Readout(module.out_features, module.in_features)
            op = tape.add(name, [x], [layer], [Entry("weight", array(weight), weight)])
            return Value(op, plain_index(shape), shape, x.samples)
    layer = maps.Linear(module.in_features, module.out_features, bias is not None)
    return Value(tape.add(name, [x], [layer], linear_entries(module, order)), plain_index(shape), shape, x.samples)


def embedding(tape: Tape, name: str, module: nn.Embedding, x: Value, shape: Shape) -> Value:
    """Rows of a table; it reads the network's input."""
    if module.max_norm is not None:
        raise UnsupportedError(f"max_norm is {module.max_norm}, supported: None")
    if x.op != 0:
        raise UnsupportedError("it reads what another layer computes, supported: the network's input")
    x = tape.plain(x)
    layer = maps.Embedding(module.num_embeddings, module.embedding_dim)
    entries = [Entry("weight", array(module.weight), module.weight)]
    return Value(tape.add(name, [x], [layer], entries), plain_index(shape), shape, x.samples)


def convolution(tape: Tape, name: str, module: Any, x: Value, shape: Shape) -> Value:
    """Weights (outputs, inputs, *kernel) become (*kernel, inputs, outputs); those of transposes are exchanged likewise."""
    if module.padding_mode != "zeros":
        raise UnsupportedError(f"padding_mode is {module.padding_mode!r}, supported: 'zeros'")
    if any(getattr(module, "output_padding", ())):
        raise UnsupportedError(
            f"output_padding is {module.output_padding}, supported: 0; a kernel that is larger by it does the same, the new "
            "weights being zeros at the end"
        )
    x = channels(tape, x)
    transposed = isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d)
    kinds = (maps.ConvTranspose1d, maps.ConvTranspose2d) if transposed else (maps.Conv1d, maps.Conv2d)
    if module.padding == "valid":
        padding: Any = 0
    else:
        padding = module.padding if isinstance(module.padding, str) else size(module.padding)
    layer = kinds[len(shape) - 2](
        module.in_channels, module.out_channels, size(module.kernel_size), size(module.stride), padding,
        size(module.dilation), module.groups, module.bias is not None,
    )  # fmt: skip
    weight = array(module.weight)
    entries = [Entry("weight", weight.transpose(*range(2, weight.ndim), 1, 0), module.weight)]
    if module.bias is not None:
        entries.append(Entry("bias", array(module.bias), module.bias))
    return positioned(tape, name, x, layer, shape, entries)


def pooling(tape: Tape, name: str, module: Any, x: Value, shape: Shape) -> Value:
    """Windows with zeros around them; what PyTorch would do otherwise is refused."""
    wanted: dict[str, Any] = {"return_indices": False, "dilation": 1, "divisor_override": None}
    padded = any(np.atleast_1d(module.padding))
    wanted |= {"count_include_pad": True} if padded else {}
    check_arguments(module, wanted)
    x = channels(tape, x)
    kinds = {
        nn.MaxPool1d: maps.MaxPool1d,
        nn.MaxPool2d: maps.MaxPool2d,
        nn.AvgPool1d: maps.AveragePool1d,
        nn.AvgPool2d: maps.AveragePool2d,
    }
    kind = kinds[type(module)]
    stride = None if size(module.stride) == size(module.kernel_size) else size(module.stride)
    layer = kind(size(module.kernel_size), stride, size(module.padding))
    return positioned(tape, name, x, layer, shape)


def adaptive(tape: Tape, name: str, module: Any, x: Value, shape: Shape) -> Value:
    """Means of boxes; largest numbers where the boxes are windows side by side."""
    check_arguments(module, {"return_indices": False})
    x = channels(tape, x)
    given, wanted = x.index.shape[:-1], shape[1:]
    if type(module).__name__.startswith("AdaptiveAvg"):
        layer: Any = (maps.AdaptiveAveragePool1d, maps.AdaptiveAveragePool2d)[len(wanted) - 1](size(wanted))
    elif any(n % m for n, m in zip(given, wanted, strict=True)):
        raise UnsupportedError(f"its output {wanted} does not divide its input {given}; supported: sizes that do")
    else:
        kernel = tuple(n // m for n, m in zip(given, wanted, strict=True))
        layer = (maps.MaxPool1d, maps.MaxPool2d)[len(wanted) - 1](size(kernel))
    return positioned(tape, name, x, layer, shape)


def upsample(tape: Tape, name: str, module: nn.Upsample, x: Value, shape: Shape) -> Value:
    """Enlargement by copying, the same whole factor along each axis."""
    x = channels(tape, x)
    factors = {m / n for n, m in zip(x.shape[1:], shape[1:], strict=True)}
    if module.mode != "nearest" or len(factors) != 1 or not (factor := factors.pop()).is_integer():
        raise UnsupportedError("supported: mode='nearest' with one whole factor for all axes")
    return positioned(tape, name, x, maps.Upsample(int(factor)), shape)


def batch_norm(tape: Tape, name: str, module: Any, x: Value, shape: Shape) -> Value:
    """Carry the running statistics; gain and shift are a diagonal map behind the activation."""
    if module.running_mean is None:
        raise UnsupportedError("track_running_stats is False, supported: True: evaluation uses running statistics")
    if module.momentum is None or not 0 < module.momentum <= 1:
        raise UnsupportedError(f"momentum is {module.momentum}, supported: numbers in (0, 1]")
    x, order = channelled(tape, x)
    statistics = [Entry("mean", array(module.running_mean)[order]), Entry("variance", array(module.running_var)[order])]
    activation, layer = (
        sigma.BatchNormalise(module.eps, module.momentum),
        sigma.BatchNorm(order.size, module.eps, module.momentum),
    )
    return normalised(tape, name, module, x, order, activation, layer, statistics)


def layer_norm(tape: Tape, name: str, module: Any, x: Value, shape: Shape) -> Value:
    """Over the last axes, as one; root mean square normalisation has no shift in PyTorch, and begins with 0 here."""
    axes, width = len(module.normalized_shape), int(np.prod(module.normalized_shape))
    flat = replace(x, shape=(*x.shape[: len(x.shape) - axes], width))
    flat, order = tape.last(flat, -1)
    centre = isinstance(module, nn.LayerNorm)
    eps = module.eps if module.eps is not None else float(torch.finfo(getattr(module.weight, "dtype", torch.float32)).eps)
    layer = (sigma.LayerNorm if centre else sigma.RMSNorm)(width, eps)
    done = normalised(tape, name, module, flat, order, sigma.Normalise(centre, eps), layer)
    return replace(done, shape=x.shape)


def group_norm(tape: Tape, name: str, module: Any, x: Value, shape: Shape) -> Value:
    """Normalise groups of consecutive channels; instances are groups of one channel."""
    if getattr(module, "running_mean", None) is not None:
        raise UnsupportedError("track_running_stats is True, supported: False")
    x = channels(tape, x)
    count = x.shape[0]
    groups = module.num_groups if isinstance(module, nn.GroupNorm) else count
    op = tape.add(name, [x], [sigma.GroupNorm(groups, count, module.eps)], affine(module, np.arange(count)))
    return replace(x, op=op)


def normalised(
    tape: Tape, name: str, module: Any, x: Value, order: np.ndarray, activation: Any, layer: Any, statistics: Any = ()
) -> Value:
    """Return the value behind a normalisation, with a gain and a shift if the module has them."""
    if getattr(module, "weight", None) is None:
        return replace(x, op=tape.add(name, [x], [activation], list(statistics)))
    entries = [*statistics, *affine(module, order)]
    return replace(x, op=tape.add(name, [x], [layer], entries))


def elementwise(tape: Tape, name: str, module: nn.Module, x: Value, shape: Shape) -> Value:
    """Any order will do."""
    layers = activations.of_module(module)
    return replace(x, op=tape.add(name, [x], layers)) if layers else x


def softmax(tape: Tape, name: str, module: nn.Softmax, x: Value, shape: Shape) -> Value:
    """Over the axis that it names."""
    if module.dim is None:
        raise UnsupportedError("dim is None, expected an axis")
    x, _ = tape.last(x, x.axis(module.dim))
    return replace(x, op=tape.add(name, [x], [sigma.Softmax()]))


def positioned(tape: Tape, name: str, x: Value, layer: Any, shape: Shape, entries: Sequence[Entry] = ()) -> Value:
    """Return what a layer of positions and channels makes; its shape must be PyTorch's."""
    made = layer.output_shape(x.index.shape)
    if made != (*shape[1:], shape[0]):
        raise UnsupportedError(f"its output has samples of shape {shape}, those of {layer!r} have {made}, channels last")
    return Value(tape.add(name, [x], [layer], list(entries)), last_index(shape), shape)


def channels(tape: Tape, x: Value) -> Value:
    """Return the value with channels, PyTorch's first axis, last, in PyTorch's order."""
    with tape.channels_first():
        check_samples(x)
        return tape.ordered(x, last_index(x.shape))


def channelled(tape: Tape, x: Value) -> tuple[Value, np.ndarray]:
    """Return the value with channels last, and their order."""
    with tape.channels_first():
        check_samples(x)
        return tape.last(x, 0)


def check_samples(x: Value) -> None:
    """Raise UnsupportedError unless the first axis counts samples."""
    if x.samples != 0:
        raise UnsupportedError("samples are not counted by the first axis of its input")


MODULES: dict[type, Translate] = {
    nn.Linear: linear,
    nn.Embedding: embedding,
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d), convolution),
    **dict.fromkeys((nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d), pooling),
    **dict.fromkeys((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d), adaptive),
    nn.Upsample: upsample,
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d), batch_norm),
    **dict.fromkeys((nn.LayerNorm, nn.RMSNorm), layer_norm),
    **dict.fromkeys((nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d), group_norm),
    **dict.fromkeys(activations.MODULES, elementwise),
    nn.Softmax: softmax,
    nn.TransformerEncoderLayer: encoder_layer,
    nn.TransformerEncoder: encoder,
}
"""What is supported, by the module's type; `from_torch` itself knows `nn.MultiheadAttention` and modules that only renumber."""
