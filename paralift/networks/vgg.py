"""Plain deep stacks of 3 x 3 convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paralift.lifted.activations import ReLU, Softmax
from paralift.lifted.layers import Sequential
from paralift.lifted.maps import GlobalAverage, Linear, MaxPool2d
from paralift.networks.parts import convolution, image_shape, network_of_images

CONVOLUTIONS = {5: (1, 1, 1, 1, 0), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions between poolings; the channels double from each group to the next, up to eight times the first's."""


def vgg(
    depth: int = 11,
    input_shape: Sequence[int] = (32, 32, 3),
    classes: int = 10,
    width: int = 64,
    norm: str | None = "batch",
    flat: bool = False,
) -> Sequential:
    """Return groups of 3 x 3 convolutions with max pooling between them, a mean over positions and one dense layer.

    Parameters
    ----------
    depth : {5, 11, 13, 16, 19}
        Which of the published stacks (5: four groups of one convolution).
    input_shape : tuple of int
        (height, width, channels), at least 32 x 32 (16 x 16 for depth 5).
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
    Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015; with one dense layer
    for three, as small images need it.
    """
    if depth not in CONVOLUTIONS:
        raise ValueError(f"vgg: depth is {depth}, expected one of {sorted(CONVOLUTIONS)}")
    shape = image_shape("vgg", input_shape)
    channels = shape[2]
    layers: list[Any] = []
    for group, count in enumerate(CONVOLUTIONS[depth]):
        outputs = width * 2 ** min(group, 3)
        for _ in range(count):
            layers += [*convolution(channels, outputs, 3, norm=norm), ReLU()]
            channels = outputs
        layers += [MaxPool2d(2)] if count else []
    layers += [GlobalAverage(), Linear(channels, classes), Softmax()]
    return network_of_images(layers, shape, flat)
