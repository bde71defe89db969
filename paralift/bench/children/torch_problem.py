"""The networks in PyTorch: each with batches that lie ready, and the memory formats in which it may be fastest."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import Any

import torch
from loop import N_BATCHES, check_parameters
from torch.nn import functional
from torch_networks import LeNet, ResNet, Transformer

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
"""Orders of an image's numbers in memory, by the names in facts."""


@dataclass(frozen=True)
class Problem:
    """A network and what it reads.

    Parameters
    ----------
    build : callable
        Returns the module: a batch to logits (n, ..., classes).
    sample : tuple of int
        Shape of a sample.
    target : tuple of int
        Shape of a sample's labels.
    classes : int
    tokens : int, optional
        Samples are numbers below this one; otherwise they are floats.
    formats : tuple of str
        Memory formats to try.
    """

    build: Callable[[], torch.nn.Module]
    sample: tuple[int, ...]
    classes: int
    target: tuple[int, ...] = ()
    tokens: int | None = None
    formats: tuple[str, ...] = ("contiguous",)

    def module(self, format_: str = "contiguous") -> torch.nn.Module:
        """Return the network in training mode, its weights in a memory format."""
        return self.build().train().to(memory_format=FORMATS[format_])  # type: ignore[call-overload]

    def ready(self, batch: int, format_: str = "contiguous") -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield random batches that lie ready, over and over."""
        shape = (batch, *self.sample)
        found = []
        for _ in range(N_BATCHES):
            x = torch.randn(shape) if self.tokens is None else torch.randint(self.tokens, shape)
            y = torch.randint(self.classes, (batch, *self.target))
            found.append((x.contiguous(memory_format=FORMATS[format_]), y))
        return cycle(found)


def mean_loss(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of all rows of logits."""
    return functional.cross_entropy(logits.flatten(0, -2), y.flatten())


def perceptron(widths: tuple[int, ...]) -> torch.nn.Sequential:
    """Return a perceptron with ReLU between its layers."""
    layers: list[torch.nn.Module] = []
    for a, b in pairwise(widths):
        layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


IMAGES: dict[str, Any] = {"sample": (1, 28, 28), "classes": 10, "formats": tuple(FORMATS)}
NETWORKS = {
    "lenet": Problem(LeNet, **IMAGES),
    "resnet14": Problem(lambda: ResNet(14), **IMAGES),
    "transformer": Problem(lambda: Transformer(65, 64), (64,), 65, (64,), tokens=65),
}


def find(args: argparse.Namespace) -> Problem:
    """Return the problem that the arguments name.

    Raises
    ------
    KeyError
        If there is no such network.
    ValueError
        If the network has not as many parameters as in the other libraries.
    """
    widths = args.widths
    if args.network is not None:
        problem = NETWORKS[args.network]
    else:
        problem = Problem(lambda: perceptron(widths), (widths[0],), widths[-1])
    check_parameters(sum(p.numel() for p in problem.build().parameters()), args)
    return problem
