"""Perceptrons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from paralift.lifted.activations import ReLU, Softmax
from paralift.lifted.activations.base import Activation
from paralift.lifted.layers import Sequential
from paralift.lifted.maps import Flatten, Linear


def mlp(
    input_shape: int | Sequence[int] = 784,
    hidden: Sequence[int] = (256, 256),
    classes: int = 10,
    activation: Activation | None = None,
) -> Sequential:
    """Return dense layers with an activation behind each, and a softmax behind the last.

    Parameters
    ----------
    input_shape : int or tuple of int
        Features of a sample, or its shape, which is flattened first.
    hidden : sequence of int
        Widths of the hidden layers.
    classes : int
        Outputs of the softmax.
    activation : Activation, optional
        `ReLU()` by default.
    """
    shape = (input_shape,) if isinstance(input_shape, int) else tuple(input_shape)
    widths = [math.prod(shape), *hidden]
    layers: list[Any] = [Flatten()] if len(shape) > 1 else []
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [Linear(a, b), ReLU() if activation is None else activation]
    return Sequential(*layers, Linear(widths[-1], classes), Softmax(), input_shape=shape)
