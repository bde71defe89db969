"""Residual networks for small images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paralift.lifted.activations import ReLU, Softmax
from paralift.lifted.layers import Parallel, Residual, Sequential
from paralift.lifted.maps import GlobalAverage, Linear
from paralift.networks.parts import convolution, image_shape, network_of_images

DEEPEST = 1202
"""The deepest network of the paper; it also keeps a slip of the pen from building blocks for hours."""


def resnet(
    depth: int = 14,
    input_shape: Sequence[int] = (32, 32, 3),
    classes: int = 10,
    width: int = 16,
    norm: str | None = "batch",
    flat: bool = False,
) -> Sequential:
    """Return the residual network of small images: three groups of residual blocks of two 3 x 3 convolutions each.

    The second and the third group halve the size and double the channels; their first block's shortcut is a 1 x 1 convolution.

    Parameters
    ----------
    depth : int
        6 n + 2, n >= 1 blocks a group.
    input_shape : tuple of int
        (height, width, channels).
    classes : int
        Outputs of the softmax.
    width : int
        Channels of the first group.
    norm : {"batch", None}
        Normalisation behind each convolution.
    flat : bool
        Whether samples are vectors of height x width x channels numbers.

    References
    ----------
    He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, section 4.2 (with projections, option B).
    """
    if not 8 <= depth <= DEEPEST or depth % 6 != 2:
        raise ValueError(f"resnet: depth is {depth}, expected 6 n + 2 from 8 to {DEEPEST}: 8, 14, 20, 26, 32, ...")
    shape = image_shape("resnet", input_shape)
    layers = [*convolution(shape[2], width, 3, norm=norm), ReLU()]
    channels = width
    for group in range(3):
        outputs = width * 2**group
        for block in range(depth // 6):
            layers += _block(channels, outputs, 2 if group and not block else 1, norm)
            channels = outputs
    layers += [GlobalAverage(), Linear(channels, classes), Softmax()]
    return network_of_images(layers, shape, flat)


def _block(channels: int, outputs: int, stride: int, norm: str | None) -> list[Any]:
    branch = [*convolution(channels, outputs, 3, stride, norm), ReLU(), *convolution(outputs, outputs, 3, norm=norm)]
    if stride == 1 and channels == outputs:
        return [Residual(*branch), ReLU()]
    return [Parallel(branch, convolution(channels, outputs, 1, stride, norm)), ReLU()]
