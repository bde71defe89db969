"""What estimators are told by text or as an object: networks, activations, methods, optimisers, losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from paralift.config import read_network
from paralift.expressions import parse
from paralift.lifted.activations.base import Activation
from paralift.lifted.losses import Loss
from paralift.lifted.maps import Linear
from paralift.lifted.methods import Method
from paralift.lifted.network import Network
from paralift.optim import Rule
from paralift.vocabulary import LOSS, METHOD, NETWORK, OPTIMIZER, Vocabulary

ACTIVATION: Vocabulary = {n: c for n, c in NETWORK.items() if isinstance(c, type) and issubclass(c, Activation)}
KINDS: Mapping[str, tuple[Vocabulary, type]] = {
    "activation": (ACTIVATION, Activation), "method": (METHOD, Method), "optimizer": (OPTIMIZER, Rule), "loss": (LOSS, Loss)
}  # fmt: skip


def part(name: str, given: Any) -> Any:
    """Return the object that a parameter of that name means: itself, or the expression in a text, as in a configuration.

    Raises
    ------
    ValueError
        If the text is no such expression.
    TypeError
        If it is no such object.
    """
    vocabulary, kind = KINDS[name]
    found = given
    if isinstance(given, str):
        try:
            found = parse(given, vocabulary).build()
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name} is {given!r}: {error}") from None
    if not isinstance(found, kind):
        raise TypeError(f"{name} is {given!r}, expected an object of kind {kind.__name__}, or the text of one")
    return found


def widths(name: str, given: Any) -> tuple[int, ...]:
    """Return the widths of hidden layers; ValueError unless they are whole numbers of at least 1."""
    found = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    if not all(hasattr(n, "__index__") and not isinstance(n, bool) and n >= 1 for n in found):
        raise ValueError(f"{name} is {given!r}, expected whole numbers of at least 1, one for each layer")
    return tuple(map(int, found))


def dense(sizes: Sequence[int], activation: Activation) -> list[Any]:
    """Return dense layers of these widths, with an activation behind each but the last."""
    layers: list[Any] = []
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [Linear(a, b), activation]
    return layers[:-1]


def given_network(given: Any, features: int, outputs: int) -> Network:
    """Return the network that a parameter means, checked against the data.

    Parameters
    ----------
    given : Network, str or callable (features, outputs) -> Network
    features, outputs : int
        Numbers of a sample, and of what is learnt of it.
    """
    if isinstance(given, str):
        network: Any = read_network("the estimator", "network", given)
    elif isinstance(given, Network) or not callable(given):
        network = given
    else:
        network = given(features, outputs)
    if not isinstance(network, Network):
        raise TypeError(f"network is {given!r}, expected a network, its text, or a function (features, outputs) -> network")
    if math.prod(network.input_shape) != features:
        raise ValueError(f"network: it reads samples of shape {network.input_shape}, X has {features} features")
    if network.output_shape != (outputs,):
        raise ValueError(f"network: its output has shape {network.output_shape}, expected {(outputs,)} for these targets")
    return network
