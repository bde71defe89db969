"""`value_and_grad`: loss and gradients of a network by any method, for those who bring their own optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from paralift.kernels.arrays import Array, family, from_host
from paralift.lifted.clamps import Dyad
from paralift.lifted.exchange import Walls
from paralift.lifted.inference.estimate import Estimator, state_regularizers
from paralift.lifted.inference.proxgrad import ProximalGradient
from paralift.lifted.inference.sweep import (
    Backpropagation,
    Displacement,
    backward,
    clamp,
    forward,
    gradients,
)
from paralift.lifted.losses import Loss, default_loss
from paralift.lifted.methods import Method, nudged
from paralift.lifted.network import Network, Params, check_input, check_params
from paralift.lifted.stage import Stage
from paralift.lifted.ties import add_replicas, replicas_here

Gradients = dict[str, dict[str, Array]]


def value_and_grad(
    network: Network, method: Method | None = None, loss: Loss | None = None
) -> Callable[[Params, Array, Array], tuple[float | Array, Gradients]]:
    """Return a function (params, x, y) -> (loss, grads).

    Parameters
    ----------
    network : Network
    method : Method, optional
        `nudged()` by default. Of a method that moves the parameters itself, its gradient of E is returned.
    loss : Loss, optional
        By default the one that belongs to the last activation.

    Returns
    -------
    callable
        Takes params as `Network.init` gives them, samples x of shape (n, *input_shape) in float32 or float64 and
        targets y: integer labels (n, ...) or an array of the output's shape; for a network with `Dropout` also ``keys``, the
        samples' `paralift.sample_keys`, by which masks are drawn. Returns the mean loss over the samples (of outputs with
        several axes over their rows: tokens, pixels) and its gradients, in the structure of params; both in the library of x
        and on its device. Of tied parameters each replica gets the gradient in what they share. Work buffers are kept from
        call to call for each number of samples and dtype.

    Raises
    ------
    ValueError, TypeError
        If shapes, dtypes or labels do not fit the network, by the function that is returned.
    """
    method = nudged() if method is None else method
    loss = default_loss(network.blocks[-1].activation) if loss is None else loss
    loss.check(network.blocks[-1].activation, network.output_shape[-1])
    state_regularizers(network, method)
    kept: dict[Any, Callable] = {}

    def evaluate(params: Params, x: Array, y: Array, keys: np.ndarray | None = None) -> tuple[float | Array, Gradients]:
        check_keys(network, x, keys)
        check_input(network, x)
        check_params(network, params)
        check_targets(network, loss, x, y)
        key = (family(x), str(x.dtype), x.shape[0], str(getattr(x, "device", "")))
        if key not in kept:
            kept.clear()
            kept[key] = _engine(network, method, loss, x)
        return kept[key](params, x, y, keys)

    return evaluate


def _engine(network: Network, method: Method, loss: Loss, like: Array) -> Callable:
    """Return the evaluation for batches of the size, dtype and library of `like`."""
    stage = Stage(network, 0, len(network.blocks), like)
    n, rows = like.shape[0], like.shape[0] * network.rows
    replicas = replicas_here(network.ties, stage.gradients)
    if isinstance(method.inference, ProximalGradient):
        estimator = Estimator(stage, n, method, loss, Walls())
        state: Any = estimator.state
        weight = 1.0

        def infer() -> Array:
            estimator.norms.vectors.clear()  # a function of its arguments: no memory of other parameters
            return estimator.gradient(n)

    else:
        pulls = state_regularizers(network, method)
        state = stage.state(n, apart=pulls)
        window, displacement = state.window(0, n), displacement_of(method)
        weight, beta = 1.0 / method.clamp.beta, method.clamp.beta

        def infer() -> Array:
            forward(window)
            value = clamp(window, loss, beta)
            backward(window, displacement, pulls, beta)
            gradients(window)
            return value

    def evaluate(params: Params, x: Array, y: Array, keys: np.ndarray | None) -> tuple[float | Array, Gradients]:
        if keys is not None:
            state.keys[...] = from_host(keys, state.keys)
        stage.load(params)
        state.x[0][...] = x
        state.y = y
        value = infer()
        add_replicas(replicas)
        scaled = stage.gradient * (weight / rows)
        mean = value / rows
        return (float(mean) if family(x) == "numpy" else mean), stage.layout.views(scaled)

    return evaluate


def check_keys(network: Network, x: Array, keys: np.ndarray | None) -> None:
    """Raise ValueError unless there is a key for each sample, where blocks draw by them."""
    drawing = [b.name for b in network.blocks if b.map.draws]
    if keys is None and drawing:
        raise ValueError(
            f"{drawing[0]} draws at random: pass keys=paralift.sample_keys(seed, epoch, numbers), by the numbers of the samples"
        )
    if keys is not None and (str(keys.dtype) != "uint64" or tuple(keys.shape) != (x.shape[0],)):
        raise ValueError(
            f"keys has dtype {keys.dtype} and shape {tuple(keys.shape)}, expected uint64 {(x.shape[0],)}: take "
            "paralift.sample_keys(seed, epoch, numbers)"
        )


def displacement_of(method: Method) -> Displacement:
    """Return how a sweep of `method` turns pulls into residuals."""
    up, down, relative = method.clamp.displacement
    derivative = isinstance(method.inference, Backpropagation) or method.measure.derivative
    mean = method.clamp.alpha if isinstance(method.clamp, Dyad) and method.inference.carries else None
    return Displacement(up, down, relative, derivative, mean)


def check_targets(network: Network, loss: Loss, x: Array, y: Array) -> None:
    """Raise ValueError or TypeError unless `y` fits `x`, the network's output and the loss."""
    shape, dtype = tuple(y.shape), str(y.dtype).rsplit(".", 1)[-1]
    n, out, last = x.shape[0], network.output_shape, network.blocks[-1].activation
    if dtype.startswith("float"):
        expected = (n, *out[:-1], loss.target_width(last, out[-1]))
        if shape != expected:
            raise ValueError(f"y has shape {shape}, expected {expected}: the targets of one output for each sample")
        if family(y) == "numpy":
            loss.check_rows(last, y.reshape(-1, shape[-1]))
        return
    if not dtype.startswith(("int", "uint")):
        raise TypeError(f"y has dtype {y.dtype}, expected integer labels or floating point targets")
    if not loss.takes_labels():
        raise TypeError(f"y holds integers, but {loss!r} takes floating point targets of shape {(n, *out)}")
    if shape != (n, *out[:-1]):
        raise ValueError(f"labels have shape {shape}, expected {(n, *out[:-1])}")
    if family(y) == "numpy" and y.size:
        check_labels(y, out[-1])


def check_labels(y: np.ndarray, n_classes: int) -> None:
    """Raise ValueError unless all labels lie in [0, n_classes)."""
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= n_classes:
        raise ValueError(f"labels lie in {low}..{high}, expected 0..{n_classes - 1}: the network has {n_classes} outputs")


