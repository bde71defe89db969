"""Functions and methods of tensors in a traced module: what renumbers, sums, concatenations, means, activations."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from paralift.interop import torch_activations as activations
from paralift.interop import torch_layers as layers
from paralift.interop.optional import UnsupportedError
from paralift.interop.torch_arrays import array
from paralift.interop.values import Entry, Tape, Value, last_index
from paralift.lifted import maps
from paralift.lifted.maps.base import Shape
from paralift.lifted.maps.positions import sinusoids

Arguments = tuple[Any, ...]
Keywords = Mapping[str, Any]

RENUMBER = {
    *(
        torch.flatten,
        torch.reshape,
        torch.permute,
        torch.transpose,
        torch.squeeze,
        torch.unsqueeze,
        torch.movedim,
        torch.swapaxes,
    ),
    *(
        "flatten",
        "unflatten",
        "reshape",
        "view",
        "permute",
        "transpose",
        "squeeze",
        "unsqueeze",
        "movedim",
        "swapaxes",
        "contiguous",
    ),
    *("clone", "detach", torch.clone),
}
"""What moves no number to another sample and computes nothing."""
ADD = {torch.add, operator.add, operator.iadd, "add", "add_"}
SUBTRACT = {torch.sub, operator.sub, operator.isub, "sub", "sub_"}
MULTIPLY = {torch.mul, operator.mul, operator.imul, "mul", "mul_"}
DIVIDE = {torch.div, operator.truediv, operator.itruediv, "div", "div_"}
MEAN = {torch.mean, "mean"}
CONCATENATE = {torch.cat, torch.concat}
DROP = {F.dropout, torch.dropout}
SOFTMAX = {F.softmax, torch.softmax, "softmax"}
MODULE: dict[Any, Callable[..., nn.Module]] = {
    F.max_pool1d: nn.MaxPool1d,
    F.max_pool2d: nn.MaxPool2d,
    F.avg_pool1d: nn.AvgPool1d,
    F.avg_pool2d: nn.AvgPool2d,
    F.adaptive_avg_pool1d: nn.AdaptiveAvgPool1d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    F.adaptive_max_pool1d: nn.AdaptiveMaxPool1d,
    F.adaptive_max_pool2d: nn.AdaptiveMaxPool2d,
    torch.max_pool1d: nn.MaxPool1d,
    torch.max_pool2d: nn.MaxPool2d,
}
"""Functions that take a module's arguments behind the tensor."""


def translate(tape: Tape, name: str, function: Any, args: Arguments, keywords: Keywords, shape: Shape, count: int) -> Value:
    """Return the value of a call; `shape` is that of PyTorch's output sample, `count` the samples of the trace."""
    if not args:
        args, keywords = (keywords["input"],), {k: v for k, v in keywords.items() if k != "input"}
    if function in RENUMBER:
        return renumbered(args[0], lambda x: _call(function, x, args[1:], keywords), count)
    if function in ADD | SUBTRACT | MULTIPLY | DIVIDE or function in (operator.neg, torch.neg, "neg"):
        return _arithmetic(tape, name, function, args, keywords)
    if function in MEAN:
        return _mean(tape, name, args[0], *args[1:], shape=shape, **keywords)
    if function in CONCATENATE:
        return _concatenate(tape, name, *args, **keywords)
    x = args[0]
    if function in DROP:
        rate = args[1] if len(args) > 1 else keywords.get("p", 0.5)
        return layers.elementwise(tape, name, nn.Dropout(rate), x, shape)
    if function in SOFTMAX:
        dim = args[1] if len(args) > 1 else keywords.get("dim")
        return layers.softmax(tape, name, nn.Softmax(dim), x, shape)
    kind = activations.FUNCTIONS.get(function) or MODULE.get(function)
    if kind is None:
        raise UnsupportedError(f"supported: {', '.join(sorted({_name(f) for f in SUPPORTED}))}")
    module = kind(*args[1:], **{k: v for k, v in keywords.items() if k != "inplace"})
    return layers.MODULES[type(module)](tape, name, module, x, shape)


def renumbered(x: Value, function: Callable[[torch.Tensor], torch.Tensor], count: int) -> Value:
    """Return the value as a view; the function itself says, applied to the numbers of `count` samples, where they go."""
    entries = int(np.prod(x.shape))
    numbers = torch.arange(count)[:, None] * entries + torch.arange(entries)
    result = function(numbers.reshape(count, *x.shape).movedim(0, x.samples)).numpy()
    for axis in range(result.ndim):
        if result.shape[axis] != count:
            continue
        samples = np.moveaxis(result, axis, 0).reshape(count, -1)
        if samples.shape[1] == entries and (samples // entries == np.arange(count)[:, None]).all():
            place = np.argsort(samples[0])
            return replace(x, index=place[x.index], shape=result.shape[:axis] + result.shape[axis + 1 :], samples=axis)
    raise UnsupportedError("it leaves numbers out, or brings several samples together; supported: views of whole samples")


def _call(function: Any, x: torch.Tensor, args: Arguments, keywords: Keywords) -> torch.Tensor:
    return getattr(x, function)(*args, **keywords) if isinstance(function, str) else function(x, *args, **keywords)


def _arithmetic(tape: Tape, name: str, function: Any, args: Arguments, keywords: Keywords) -> Value:
    x, y = (*args, -1.0)[:2]  # -x is x times -1
    if not isinstance(x, Value) and function in ADD | MULTIPLY:
        x, y = y, x
    weight = float(keywords.get("alpha", 1.0)) * (-1.0 if function in SUBTRACT else 1.0)
    if function in ADD | SUBTRACT:
        if isinstance(x, Value) and isinstance(y, Value):
            return _sum(tape, name, x, y, weight)
        if isinstance(x, Value) and isinstance(y, torch.Tensor) and function in ADD:
            return _constant(tape, name, x, y, "shift")
        raise UnsupportedError("supported: sums of two tensors, or with one of shifts (features,) or (tokens, features)")
    if isinstance(x, Value) and isinstance(y, torch.Tensor) and function in MULTIPLY:
        return _constant(tape, name, x, y, "gain")
    if not isinstance(x, Value) or isinstance(y, Value) or not isinstance(y, int | float):
        raise UnsupportedError("supported: products with a number, or with a tensor of gains (features,)")
    factor = 1.0 / y if function in DIVIDE else float(y)
    return replace(x, op=tape.add(name, [x], [maps.Combine(factor)]))


def _sum(tape: Tape, name: str, x: Value, y: Value, weight: float) -> Value:
    if x.shape != y.shape or x.samples != y.samples:
        raise UnsupportedError(f"it sums samples of shapes {x.shape} and {y.shape}, supported: two of one shape")
    y = tape.ordered(y, x.index)
    layer = maps.Add() if weight == 1.0 else maps.Combine(1.0, weight)
    return replace(x, op=tape.add(name, [x, y], [layer]))


def _constant(tape: Tape, name: str, x: Value, y: torch.Tensor, role: str) -> Value:
    """Return the value with a tensor added (or multiplied): one number for each entry of an axis, or for each of all tokens."""
    shape = (*(1,) * (len(x.shape) - y.ndim), *y.shape[-len(x.shape) :])
    axes = [axis for axis, n in enumerate(shape) if n != 1]
    fits = y.ndim and int(np.prod(shape)) == y.numel() and all(shape[axis] == x.shape[axis] for axis in axes)
    if fits and len(axes) == 1:
        x, order = tape.last(x, axes[0])
        values = {"gain": np.ones(order.size), "shift": np.zeros(order.size)} | {role: array(y).reshape(-1)[order]}
        entries = [Entry(k, v, y if k == role else None) for k, v in values.items()]
        return replace(x, op=tape.add(name, [x], [maps.Diagonal(order.size)], entries))
    if fits and role == "shift" and shape == x.shape and len(shape) == 2:
        return _positions(tape, name, tape.plain(x), y, array(y).reshape(shape))
    raise UnsupportedError(f"it joins samples of shape {x.shape} with a tensor of shape {tuple(y.shape)}")


def _positions(tape: Tape, name: str, x: Value, y: torch.Tensor, values: np.ndarray) -> Value:
    length, width = x.shape
    if not isinstance(y, nn.Parameter):
        if np.allclose(values, sinusoids(length, width, "float64"), atol=1e-6):
            return replace(x, op=tape.add(name, [x], [maps.Positions(length, width, kind="sinusoidal")]))
    return replace(x, op=tape.add(name, [x], [maps.Positions(length, width)], [Entry("position", values, y)]))


def _mean(tape: Tape, name: str, x: Value, dim: Any = None, keepdim: bool = False, *, shape: Shape) -> Value:
    dims = range(1, len(x.shape) + 1) if dim is None else np.atleast_1d(dim)
    gone = {x.axis(int(d)) for d in dims}
    kept = set(range(len(x.shape))) - gone
    if dim is None or len(kept) != 1 or not gone:
        raise UnsupportedError("supported: the mean over all axes but one, that of channels or features, and that of samples")
    x, order = tape.last(x, kept.pop())
    return Value(tape.add(name, [x], [maps.GlobalAverage()]), order, shape, x.samples)


def _concatenate(tape: Tape, name: str, tensors: Any, dim: int = 0, **keywords: int) -> Value:
    dim = keywords.get("axis", dim)
    if not all(isinstance(x, Value) for x in tensors) or len({(x.samples, len(x.shape)) for x in tensors}) > 1:
        raise UnsupportedError("supported: tensors that come from the input, with as many axes")
    axis, parts, orders, start = tensors[0].axis(dim), [], [], 0
    for x in tensors:
        part, order = tape.last(x, axis)
        parts.append(part)
        orders.append(start + order)
        start += len(order)
    whole = list(tensors[0].shape)
    whole[axis] = start
    index = last_index(tuple(whole), axis, np.concatenate(orders))
    return Value(tape.add(name, parts, [maps.Concatenate()]), index, tuple(whole), parts[0].samples)


def _name(function: Any) -> str:
    return function if isinstance(function, str) else function.__name__


SUPPORTED = (
    RENUMBER | ADD | SUBTRACT | MULTIPLY | DIVIDE | MEAN | CONCATENATE | DROP | SOFTMAX | {*activations.FUNCTIONS, *MODULE}
)
