"""Augmentations: changes of the samples of a batch at random, in training only, in place, without a copy.

What happens to a sample hangs on its key alone (`kernels/draw.py`): on the seed, the epoch and its number in the data set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paralift.kernels import draw
from paralift.kernels.arrays import Array, namespace


@dataclass(frozen=True)
class Augmentation:
    """Base of all augmentations."""

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless samples of `shape` can be changed so."""

    def apply(self, x: Array, keys: Array, stream: int) -> None:
        """Change the samples `x` (n, *shape) in place by their `keys` (n,) and the numbers of a stream."""
        raise NotImplementedError


@dataclass(frozen=True)
class Shift(Augmentation):
    """Images move by up to so many pixels in each direction; zeros come in.

    Parameters
    ----------
    pixels : int
        At least 1 and less than height and width.
    """

    pixels: int

    def __post_init__(self) -> None:
        _expect_pixels(self, "pixels")

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless samples are images that are larger than the shift."""
        _expect_images(self, shape, self.pixels)

    def apply(self, x: Array, keys: Array, stream: int) -> None:
        """See `Augmentation`."""
        draw.shift(_images(x), keys, stream, self.pixels, edge=False)


@dataclass(frozen=True)
class Crop(Augmentation):
    """Images are padded by their edge pixels on all sides, and cut back to their size somewhere.

    Parameters
    ----------
    padding : int
        Pixels on each side, at least 1 and less than height and width.
    """

    padding: int

    def __post_init__(self) -> None:
        _expect_pixels(self, "padding")

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless samples are images that are larger than the padding."""
        _expect_images(self, shape, self.padding)

    def apply(self, x: Array, keys: Array, stream: int) -> None:
        """See `Augmentation`."""
        draw.shift(_images(x), keys, stream, self.padding, edge=True)


@dataclass(frozen=True)
class Flip(Augmentation):
    """Images are mirrored left to right, every second one on average."""

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless samples are images."""
        _expect_images(self, shape, 0)

    def apply(self, x: Array, keys: Array, stream: int) -> None:
        """See `Augmentation`."""
        draw.flip(_images(x), keys, stream, 0.5)


@dataclass(frozen=True)
class Noise(Augmentation):
    """Normal numbers are added to samples of any shape.

    Parameters
    ----------
    std : float
        Their standard deviation, greater than 0.
    """

    std: float

    def __post_init__(self) -> None:
        good = isinstance(self.std, int | float) and not isinstance(self.std, bool) and 0.0 < self.std < math.inf
        if not good:
            raise ValueError(f"Noise: std is {self.std!r}, expected a finite number greater than 0")

    def apply(self, x: Array, keys: Array, stream: int) -> None:
        """See `Augmentation`."""
        draw.noise(namespace(x).reshape(x, (x.shape[0], math.prod(x.shape[1:]))), keys, stream, self.std)


def check_augmentations(value: Any, shape: tuple[int, ...]) -> tuple[Augmentation, ...]:
    """Return a list of augmentations as a tuple; raise TypeError or ValueError unless they suit samples of `shape`."""
    if not isinstance(value, Sequence) or not all(isinstance(a, Augmentation) for a in value):
        raise TypeError(f"augment is {value!r}, expected a list of Shift, Crop, Flip and Noise of paralift.data")
    for augmentation in value:
        augmentation.check(shape)
    return tuple(value)


def _expect_pixels(owner: Any, name: str) -> None:
    value = getattr(owner, name)
    if type(value) is not int or value < 1:
        raise ValueError(f"{type(owner).__name__}: {name} is {value!r}, expected a whole number of at least 1")


def _expect_images(owner: Augmentation, shape: tuple[int, ...], most: int) -> None:
    if len(shape) not in (2, 3):
        raise ValueError(
            f"{owner!r} takes images, samples of shape (height, width) or (height, width, channels), given {shape}: begin the "
            "network with Reshape(height, width, channels), which tells the shape of vectors; Flatten() may follow"
        )
    if most >= min(shape[:2]):
        raise ValueError(f"{owner!r} takes images of more than {most} pixels each way, samples have shape {shape}")


def _images(x: Array) -> Array:
    """Return `x` as (n, height, width, channels), a view."""
    return x if x.ndim == 4 else namespace(x).reshape(x, (*x.shape, 1))
