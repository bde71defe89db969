"""A network of ParaLift in PyTorch: the same parameters, the same batches, gradients by autograd.

Imports PyTorch when called; `available` says whether it can.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from paralift.data import Dataset, Sampler, load_shard
from paralift.lifted import activations as act
from paralift.lifted import maps
from paralift.lifted.maps.shape import Keep
from paralift.lifted.maps.window import per_axis
from paralift.lifted.network import Block, Network, Params
from paralift.optim.schedules import Constant, Schedule


def available() -> bool:
    """Return whether PyTorch is installed."""
    return find_spec("torch") is not None


def gradients(network: Network, params: Params, x: np.ndarray, y: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Return the gradients of the mean cross-entropy of the samples, by autograd.

    Parameters
    ----------
    network : Network
        Ends with Softmax.
    params : mapping
        As `Network.init` gives them.
    x, y : ndarray
        Samples (n, *input_shape) and labels (n,), or (n, T) where tokens have labels of their own.

    Raises
    ------
    TypeError
        If a map or an activation has no counterpart here.
    """
    import torch

    theta = leaves(network, params)
    mean_loss(logits(network, theta, torch.from_numpy(x)), torch.from_numpy(y)).backward()
    found = {b: {k: t.grad.numpy() for k, t in arrays.items() if t.requires_grad} for b, arrays in theta.items()}
    return {b: arrays for b, arrays in found.items() if arrays}


def train(
    network: Network, params: Params, data: Dataset, *, epochs: int, batch_size: int, rate: float | Schedule, seed: int
) -> Params:
    """Train by PyTorch's autograd and Adam on the batches that `fit` takes with this seed; return the parameters.

    The loss is that of the last activation: squared for the identity, cross-entropy otherwise.
    """
    import torch

    loss = half_squares if isinstance(network.blocks[-1].activation, act.Identity) else mean_loss
    rate_of = rate if callable(rate) else Constant(rate)
    theta = leaves(network, params)
    distinct = {id(t): t for arrays in theta.values() for t in arrays.values() if t.requires_grad}
    optimizer = torch.optim.Adam(distinct.values())
    x, y = map(torch.from_numpy, load_shard(data.train, 0, data.train.n_samples, np.float32))
    sampler = Sampler(data.train.n_samples, batch_size, seed)
    for step in range(epochs * sampler.n_batches):
        epoch, batch = divmod(step, sampler.n_batches)
        if batch == 0:
            order = sampler.epoch(epoch)
        chosen = torch.from_numpy(order[batch])
        optimizer.param_groups[0]["lr"] = rate_of(step + 1, epochs * sampler.n_batches)
        optimizer.zero_grad()
        loss(logits(network, theta, x[chosen]), y[chosen]).backward()
        optimizer.step()
    return {b: {k: t.detach().numpy() for k, t in arrays.items()} for b, arrays in theta.items()}


def mean_loss(z: Any, y: Any) -> Any:
    """Return the mean cross-entropy of all rows of logits (n, ..., classes)."""
    import torch

    return torch.nn.functional.cross_entropy(z.reshape(-1, z.shape[-1]), y.reshape(-1))


def half_squares(z: Any, y: Any) -> Any:
    """Return half the squared error of all rows (n, ..., width), their mean."""
    return 0.5 * ((z - y) ** 2).sum() / (z.numel() // z.shape[-1])


def leaves(network: Network, params: Params) -> dict[str, dict[str, Any]]:
    """Return copies of the parameters as tensors that collect gradients, those of running statistics excepted.

    Tied ones are one tensor.
    """
    import torch

    trained = {b.name: set(b.trained()) for b in network.blocks}
    theta = {
        b: {k: torch.tensor(a, requires_grad=k in trained[b]) for k, a in arrays.items()} for b, arrays in params.items()
    }
    for tie in network.ties:
        for block in tie.blocks[1:]:
            theta[block][tie.name] = theta[tie.blocks[0]][tie.name]
    return theta


def logits(network: Network, theta: Any, x: Any) -> Any:
    """Return the last block's pre-activation, shape (n, *output_shape)."""
    values = [x]
    for block in network.blocks:
        z = _map(block)(theta.get(block.name, {}), [values[p] for p in block.parents])
        if block.tracked():
            _track(z.detach(), block.activation, theta[block.name])
        values.append(z if block is network.blocks[-1] else _activation(block)(z))
    return values[-1]


def _map(block: Block) -> Callable[[Any, Any], Any]:
    found: dict[type, Callable[[Any, Any], Any]] = {
        maps.Linear: lambda theta, xs: xs[0] @ theta["weight"] + theta.get("bias", 0.0),
        maps.Conv2d: lambda theta, xs: _convolved(map_, theta, xs[0]),
        maps.ConvTranspose2d: lambda theta, xs: _transposed(map_, theta, xs[0]),
        maps.Combine: lambda theta, xs: _combined(map_.weights, xs),  # type: ignore[attr-defined]
        maps.MaxPool2d: lambda theta, xs: _pooled(block.map, xs[0]),
        maps.GlobalAverage: lambda theta, xs: xs[0].mean(tuple(range(1, xs[0].ndim - 1))),
        maps.Flatten: lambda theta, xs: xs[0].flatten(1),
        maps.Reshape: lambda theta, xs: xs[0].reshape(-1, *block.shape),
        maps.Diagonal: lambda theta, xs: xs[0] * theta["gain"] + theta["shift"],
        maps.Add: lambda theta, xs: sum(xs[1:], xs[0]),
        Keep: lambda theta, xs: xs[0],
        maps.Embedding: lambda theta, xs: theta["weight"][xs[0].long()],
        maps.Readout: lambda theta, xs: xs[0] @ theta["weight"].T,
        maps.Positions: lambda theta, xs: xs[0] + theta["position"],
        maps.Scores: lambda theta, xs: _scores(xs, map_.heads),  # type: ignore[attr-defined]
        maps.Mix: lambda theta, xs: _mixed(xs, map_.heads),  # type: ignore[attr-defined]
    }
    map_ = block.map.map if isinstance(block.map, maps.Tied) else block.map
    if type(map_) not in found or (isinstance(map_, maps.Positions) and not map_.parameters()):
        raise TypeError(f"block {block.name}: {map_!r} has no counterpart in PyTorch here: add one")
    return found[type(map_)]


def _scores(xs: Any, heads: int) -> Any:
    q, k = (_by_head(x, heads) for x in xs)
    return q @ k.transpose(2, 3) / q.shape[-1] ** 0.5


def _mixed(xs: Any, heads: int) -> Any:
    mixed = (xs[0] @ _by_head(xs[1], heads)).transpose(1, 2)
    return mixed.reshape(*mixed.shape[:2], -1)


def _by_head(x: Any, heads: int) -> Any:
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _activation(block: Block) -> Callable[[Any], Any]:
    import torch

    found: dict[type, Callable[[Any], Any]] = {
        act.Identity: lambda z: z,
        act.ReLU: torch.relu,
        act.Hardtanh: lambda z: z.clamp(block.activation.low, block.activation.high),  # type: ignore[attr-defined]
        act.Tanh: torch.tanh,
        act.Sigmoid: torch.sigmoid,
        act.Softplus: lambda z: torch.logaddexp(z, torch.zeros_like(z)),
        act.Softmax: lambda z: torch.softmax(z, -1),
        act.CausalSoftmax: lambda z: torch.softmax(z.masked_fill(~torch.ones(z.shape[-2:]).tril().bool(), float("-inf")), -1),
        act.Normalise: lambda z: _normalised(z, block.activation),
        act.BatchNormalise: lambda z: _columns_normalised(z, block.activation),
        act.Quantizer: lambda z: _straight_through(z, block.activation),
        act.Sign: lambda z: _straight_through(z, block.activation),
    }
    if type(block.activation) not in found:
        raise TypeError(f"block {block.name}: {block.activation!r} has no counterpart in PyTorch here: add one")
    return found[type(block.activation)]


def _straight_through(z: Any, quantizer: Any) -> Any:
    """Return the nearest levels, with the gradient of a clip to their range: a straight-through estimator.

    Bengio, Leonard & Courville, arXiv 1308.3432; clipped, as Hubara et al., arXiv 1609.07061, have it.
    """
    import torch

    if not isinstance(quantizer.levels, int):
        raise TypeError(f"{quantizer!r} has no counterpart in PyTorch here: levels at equal distances have one")
    low, high = -quantizer.high if quantizer.signed else 0.0, quantizer.high
    clipped = z.clamp(low, high)
    step = (high - low) / (quantizer.levels - 1)
    nearest = torch.floor((clipped - low) / step + 0.5) * step + low
    return clipped + (nearest - clipped).detach()


def _convolved(conv: Any, theta: Any, x: Any) -> Any:
    """Return the convolution of images, channels last."""
    import torch

    z = torch.nn.functional.conv2d(
        x.permute(0, 3, 1, 2), theta["weight"].permute(3, 2, 0, 1), theta.get("bias"),
        conv.stride, _padding(conv), conv.dilation, conv.groups,
    )  # fmt: skip
    return z.permute(0, 2, 3, 1)


def _transposed(conv: Any, theta: Any, x: Any) -> Any:
    """Return the transposed convolution of images, channels last."""
    import torch

    z = torch.nn.functional.conv_transpose2d(
        x.permute(0, 3, 1, 2), theta["weight"].permute(3, 2, 0, 1), theta.get("bias"),
        conv.stride, _padding(conv), groups=conv.groups, dilation=conv.dilation,
    )  # fmt: skip
    return z.permute(0, 2, 3, 1)


def _padding(conv: Any) -> Any:
    """Return the padding in numbers; "same" has as many zeros on either side where kernels are odd and nothing is skipped."""
    if conv.padding != "same":
        return conv.padding
    kernel, stride, dilation = (per_axis(n, 2) for n in (conv.kernel, conv.stride, conv.dilation))
    if stride != (1, 1) or any(k % 2 == 0 for k in kernel):
        raise TypeError(f"{conv!r}: give the padding as numbers, which PyTorch and ParaLift place alike")
    return tuple(d * (k // 2) for k, d in zip(kernel, dilation, strict=True))


def _combined(weights: Any, xs: Any) -> Any:
    terms = [weight * x for weight, x in zip(weights, xs, strict=True)]
    return sum(terms[1:], terms[0])


def _pooled(pool: Any, x: Any) -> Any:
    """Return the largest number of each window, channels last."""
    import torch

    return torch.nn.functional.max_pool2d(x.permute(0, 3, 1, 2), pool.kernel, pool.stride, pool.padding).permute(0, 2, 3, 1)


def _track(z: Any, norm: Any, running: Any) -> None:
    """Move running statistics towards those of z, as `BatchNormalise.track` does."""
    axes = tuple(range(z.ndim - 1))
    running["mean"].lerp_(z.mean(axes), norm.momentum)
    running["variance"].lerp_(z.var(axes), norm.momentum)


def _columns_normalised(z: Any, norm: Any) -> Any:
    """Return the columns over all rows and positions normalised."""
    axes = tuple(range(z.ndim - 1))
    centred = z - z.mean(axes, keepdim=True)
    return centred / ((centred * centred).mean(axes, keepdim=True) + norm.eps).sqrt()


def _normalised(z: Any, norm: Any) -> Any:
    centred = z - z.mean(-1, keepdim=True) if norm.centre else z
    return centred / ((centred * centred).mean(-1, keepdim=True) + norm.eps).sqrt()
