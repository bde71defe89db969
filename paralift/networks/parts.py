"""What the networks of images share: images out of vectors, and a convolution with its normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from paralift.lifted.activations import BatchNorm
from paralift.lifted.layers import Sequential
from paralift.lifted.maps import Conv2d, Reshape

NORMS = ("batch", None)


def image_shape(name: str, input_shape: Sequence[int]) -> tuple[int, int, int]:
    """Return `input_shape` as (height, width, channels); raise ValueError if it is not that of an image."""
    shape = tuple(input_shape)
    if len(shape) != 3 or any(not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"{name}: input_shape is {input_shape!r}, expected (height, width, channels)")
    return shape


def network_of_images(layers: Sequence[Any], shape: tuple[int, int, int], flat: bool) -> Sequential:
    """Return the layers as a network of images of `shape`, which it makes of vectors if `flat`."""
    if flat:
        return Sequential(Reshape(*shape), *layers, input_shape=(math.prod(shape),))
    return Sequential(*layers, input_shape=shape)


def convolution(channels: int, outputs: int, kernel: int, stride: int = 1, norm: str | None = "batch") -> list[Any]:
    """Return a convolution that keeps the size (over the stride) and its normalisation, which has the offset then."""
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}, expected one of {NORMS}")
    padding = (kernel - 1) // 2
    conv = Conv2d(channels, outputs, kernel, stride=stride, padding=padding, bias=norm is None)
    return [conv] if norm is None else [conv, BatchNorm(outputs)]
