"""The networks in JAX, each with batches that lie ready."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jax_networks import lenet, resnet, transformer
from loop import check_parameters

Initial = Callable[[jax.Array], tuple[Any, Any]]
Apply = Callable[[Any, Any, jax.Array], tuple[jax.Array, Any]]


@dataclass(frozen=True)
class Problem:
    """A network and what it reads.

    Parameters
    ----------
    functions : pair of callables
        `init(key)` returns parameters and running statistics, trees of arrays; the latter are empty where there are none.
        `apply(parameters, statistics, x)` returns logits (n, ..., classes) and the new statistics.
    sample : tuple of int
        Shape of a sample.
    classes : int
    target : tuple of int
        Shape of a sample's labels.
    tokens : int, optional
        Samples are numbers below this one; otherwise they are floats.
    """

    functions: tuple[Initial, Apply]
    sample: tuple[int, ...]
    classes: int
    target: tuple[int, ...] = ()
    tokens: int | None = None

    @property
    def init(self) -> Initial:
        """Returns parameters and running statistics."""
        return self.functions[0]

    @property
    def apply(self) -> Apply:
        """Returns logits and new statistics."""
        return self.functions[1]

    def batch(self, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        """Return a random batch of n samples and their labels."""
        one, other = jax.random.split(key)
        shape = (n, *self.sample)
        x = jax.random.normal(one, shape) if self.tokens is None else jax.random.randint(one, shape, 0, self.tokens)
        return x, jax.random.randint(other, (n, *self.target), 0, self.classes)


def perceptron(widths: tuple[int, ...]) -> tuple[Initial, Apply]:
    """Return a perceptron with ReLU between its layers."""

    def init(key):  # type: ignore[no-untyped-def]
        keys = jax.random.split(key, len(widths) - 1)
        layers = zip(keys, pairwise(widths), strict=True)
        return [(jax.random.normal(k, (a, b)) * (2 / a) ** 0.5, jnp.zeros(b)) for k, (a, b) in layers], ()

    def apply(theta, statistics, x):  # type: ignore[no-untyped-def]
        for weight, bias in theta[:-1]:
            x = jax.nn.relu(x @ weight + bias)
        weight, bias = theta[-1]
        return x @ weight + bias, statistics

    return init, apply


NETWORKS = {
    "lenet": Problem(lenet(), (28, 28, 1), 10),
    "resnet14": Problem(resnet(14), (28, 28, 1), 10),
    "transformer": Problem(transformer(65, 64), (64,), 65, (64,), tokens=65),
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
    problem = NETWORKS[args.network] if args.network else Problem(perceptron(widths), (widths[0],), widths[-1])
    theta, _ = jax.eval_shape(problem.init, jax.random.PRNGKey(0))
    check_parameters(sum(a.size for a in jax.tree.leaves(theta)), args)
    return problem
