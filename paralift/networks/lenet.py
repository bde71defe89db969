"""LeNet-5 with ReLU and max pooling."""

from __future__ import annotations

from collections.abc import Sequence

from paralift.lifted.activations import ReLU, Softmax
from paralift.lifted.layers import Sequential
from paralift.lifted.maps import Conv2d, Flatten, Linear, MaxPool2d
from paralift.networks.parts import image_shape, network_of_images


def lenet(input_shape: Sequence[int] = (28, 28, 1), classes: int = 10, flat: bool = False) -> Sequential:
    """Return LeNet-5: two convolutions with pooling and three dense layers; 61,706 parameters for 28 x 28 pixels.

    Parameters
    ----------
    input_shape : tuple of int
        (height, width, channels), at least 12 x 12.
    classes : int
        Outputs of the softmax.
    flat : bool
        Whether samples are vectors of height x width x channels numbers, as `paralift.data.mnist` gives them.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE, 1998.
    """
    shape = image_shape("lenet", input_shape)
    height, width = ((n // 2 - 4) // 2 for n in shape[:2])
    layers = [
        Conv2d(shape[2], 6, 5, padding=2), ReLU(), MaxPool2d(2),
        Conv2d(6, 16, 5), ReLU(), MaxPool2d(2),
        Flatten(), Linear(16 * max(1, height) * max(1, width), 120), ReLU(), Linear(120, 84), ReLU(),
        Linear(84, classes), Softmax(),
    ]  # fmt: skip
    return network_of_images(layers, shape, flat)
