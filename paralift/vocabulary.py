"""The names that expressions in a configuration may use: the Python API, key by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from paralift import callbacks, data, losses, methods, networks, optim
from paralift.lifted import activations, layers, maps
from paralift.lifted.activations.base import Activation
from paralift.training.stopping import EarlyStopping

Vocabulary = Mapping[str, Callable[..., Any]]


def _subclasses(room: Any, base: type) -> dict[str, Callable[..., Any]]:
    """Return the public classes of a room that derive from `base` and can be made."""
    found = {
        n: c for n, c in vars(room).items() if isinstance(c, type) and issubclass(c, base) and c is not base
    }
    return {n: c for n, c in found.items() if n not in ABSTRACT}


def _named(*functions: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    return {f.__name__: f for f in functions}


ABSTRACT = ("BoxMap", "Convolution", "Custom", "Elementwise", "Penalty", "ProximalLoss", "Projection", "Rowwise")
REGULARIZERS = _subclasses(optim, optim.Regularizer)
DATA: Vocabulary = _named(
    data.digits, data.mnist1d, data.mnist, data.fashion_mnist, data.denoising, data.text, data.from_files
)  # fmt: skip
NETWORK: Vocabulary = {
    **_named(layers.Sequential, layers.Graph, layers.Residual, layers.Parallel, layers.Attention),
    **_subclasses(maps, maps.Map),
    **_subclasses(activations, Activation),
    **_named(activations.activation),
    **{
        name: kind for name, kind in vars(activations).items() if hasattr(kind, "expand") or hasattr(kind, "expand_for")
    },  # normalisation layers
    **_named(*(getattr(networks, name) for name in networks.__all__)),
}
METHOD: Vocabulary = {**{name: getattr(methods, name) for name in methods.__all__ if name not in ABSTRACT}, **REGULARIZERS}
OPTIMIZER: Vocabulary = {
    **_subclasses(optim, optim.Rule),
    **_named(optim.Constant, optim.Cosine, optim.Exponential, optim.Step),
    **REGULARIZERS,
}
LOSS: Vocabulary = _subclasses(losses, losses.Loss)
AUGMENT: Vocabulary = _subclasses(data, data.Augmentation)
STOP: Vocabulary = _named(EarlyStopping)
CALLBACK: Vocabulary = _subclasses(callbacks, callbacks.Callback)
