"""Autoencoders: a perceptron whose output is its input, and whose code is a layer in between."""

from __future__ import annotations

from collections.abc import Sequence

from paralift.lifted.activations import ReLU
from paralift.lifted.activations.base import Activation
from paralift.lifted.layers import Sequential
from paralift.lifted.maps import Linear


def autoencoder(widths: Sequence[int] = (784, 784, 784, 784, 784, 784), activation: Activation | None = None) -> Sequential:
    """Return dense layers of these widths with an activation behind all but the last, whose output is compared by squares.

    A regulariser on the code makes it sparse: ``methods.nudged(states={"linear3": optim.L1(0.01)})``.

    Parameters
    ----------
    widths : sequence of int
        Of the input, the hidden layers and the output, which is as wide as the input.
    activation : Activation, optional
        ReLU by default.

    References
    ----------
    Wang & Benning, JMLR 24(232), 2023, section 6, for sparse and denoising autoencoders by lifted training.
    """
    if len(widths) < 3 or widths[0] != widths[-1]:
        raise ValueError(f"autoencoder: widths are {tuple(widths)}, expected three or more, the last like the first")
    act, layers = ReLU() if activation is None else activation, []
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [Linear(a, b), act]
    return Sequential(*layers[:-1])
