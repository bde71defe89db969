"""Unrolled proximal networks: the iterations of an optimisation method, each with operators of its own that are learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paralift.lifted.activations import Hardtanh
from paralift.lifted.layers import Graph
from paralift.lifted.maps import Combine, Conv2d, ConvTranspose2d, Tied
from paralift.lifted.network import Network, float_type


def unrolled(
    input_shape: Sequence[int] = (40, 40, 1),
    depth: int = 10,
    filters: int = 32,
    kernel: int = 5,
    step: float = 1.0,
    bound: float = 0.1,
) -> Graph:
    """Return a denoiser of pictures made of dual forward-backward iterations with learned convolutions L_k.

    With z the noisy picture and u_0 = 0, each layer is a step on 1/2 |z - L* u|^2 and a projection,
    u_{k+1} = clip(u_k - step L_k(L_k* u_k - z), -bound, bound); the output is x = z - L* u_depth. Both uses of L_k share their
    weights (`Tied`). The parameters fit pictures of any size: they are those of ``unrolled(another_shape, ...)``. Training is
    short from those of :func:`cosine_filters`, with a bound of about three tenths of the noise's standard deviation.

    Parameters
    ----------
    input_shape : tuple of int
        (height, width, channels).
    depth : int
        Iterations, at least 1.
    filters : int
        Channels of the dual variable u.
    kernel : int
        Height and width of a filter; odd.
    step, bound : float
        Positive: the step on the dual problem, and the largest modulus of u.

    References
    ----------
    Wang, Benning, Repetti, "A lifted Bregman strategy for training unfolded proximal neural network Gaussian denoisers", MLSP
    2024, arXiv:2408.08742, equation of the layer.
    """
    height, width, channels = _image(input_shape)
    if depth < 1 or filters < 1 or kernel < 1 or kernel % 2 == 0 or not step > 0 or not bound > 0:
        raise ValueError(
            f"unrolled: depth={depth}, filters={filters}, kernel={kernel}, step={step}, bound={bound} were given, expected "
            "positive numbers, and an odd kernel, whose windows have a middle"
        )
    up = Conv2d(channels, filters, kernel, padding="same", bias=False)
    down = ConvTranspose2d(filters, channels, kernel, padding="same", bias=False)
    clip = Hardtanh(-bound, bound)
    nodes: dict[str, tuple[Any, ...]] = {  # the first operator starts as large as the others, whose owners sum over filters
        "u1": (["input"], up, Combine(step * filters**-0.5), clip),
    }
    for k in range(1, depth):
        nodes[f"picture{k}"] = ([f"u{k}"], down)
        nodes[f"error{k}"] = ([f"picture{k}", "input"], Combine(1.0, -1.0))
        nodes[f"pull{k}"] = ([f"error{k}"], Tied(up, to=f"convtranspose2d{k}"))
        nodes[f"u{k + 1}"] = ([f"u{k}", f"pull{k}"], Combine(1.0, -step), clip)
    nodes["noise"] = ([f"u{depth}"], down)
    nodes["output"] = (["input", "noise"], Combine(1.0, -1.0))
    return Graph(input_shape=(height, width, channels), **nodes)


def cosine_filters(network: Network, seed: int = 0, spread: float = 0.1, dtype: Any = np.float32) -> dict[str, Any]:
    """Return initial parameters of an unrolled network: cosines in two directions, all but the constant, and some chance.

    Shifted everywhere, the cosines that a window holds are a tight frame: L* L is the identity but for local means, and |L| is
    at most 1 where `spread` is 0. Clipping bounds the modulus of u, so that what is taken from a picture are the cosines' weak
    coefficients: the network denoises before it has learnt anything.

    Parameters
    ----------
    network : Network
        Made by :func:`unrolled`, with a kernel of 3 or more.
    seed : int
        Of the chance.
    spread : float
        Standard deviation of normal numbers that are added, in root mean squares of the cosines; at least 0.
    dtype : float32 or float64

    Returns
    -------
    dict
        In the structure of ``network.init()``, for ``fit(params=...)``.

    Raises
    ------
    ValueError
        If the network has parameters that are no filters, or an argument is outside its range.
    """
    if not 0.0 <= spread < np.inf:
        raise ValueError(f"cosine_filters: spread is {spread!r}, expected a finite number of at least 0")
    params: dict[str, Any] = {}
    for block in network.blocks:
        if isinstance(block.map, Tied):
            params[block.name] = {"weight": params[block.map.to]["weight"].copy()}
        elif block.trained():
            up = isinstance(block.map, Conv2d)
            if not (up or isinstance(block.map, ConvTranspose2d)) or block.map.bias:  # type: ignore[attr-defined]
                raise ValueError(f"cosine_filters: {block.name} is {block.map!r}, expected a network made by unrolled")
            shape = block.trained()["weight"]
            weight = _cosines(*shape)
            rng = np.random.default_rng(np.random.SeedSequence([seed, block.index]))
            weight += spread * np.sqrt(np.mean(weight**2)) * rng.standard_normal(shape)
            params[block.name] = {"weight": ((shape[3] ** 0.5 if up else 1.0) * weight).astype(float_type(dtype))}
    return params


def _cosines(height: int, width: int, channels: int, filters: int) -> np.ndarray:
    """Return filters (height, width, channels, filters), low frequencies first; those beyond a full set repeat it."""
    count = height * width - 1
    if count < 1:
        raise ValueError("cosine_filters: the kernel has one entry, expected a kernel of 3 or more, which holds cosines")
    frequencies = sorted(((i, j) for i in range(height) for j in range(width)), key=lambda f: (f[0] + f[1], f[0]))[1:]
    found = np.zeros((height, width, channels, filters))
    for k in range(filters):
        i, j = frequencies[k % count]
        found[:, :, k // count % channels, k] = np.outer(_cosine(height, i), _cosine(width, j))
    repeated = -(-filters // (count * channels))
    return found / np.sqrt(height * width * repeated)


def _cosine(n: int, frequency: int) -> np.ndarray:
    wave = np.cos(np.pi * (np.arange(n) + 0.5) * frequency / n)
    return wave / np.linalg.norm(wave)


def _image(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) != 3 or any(not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"unrolled: input_shape is {shape!r}, expected (height, width, channels)")
    return shape[0], shape[1], shape[2]
