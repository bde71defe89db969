"""Unrolled proximal networks: the iterations of an optimisation method, each with operators of its own that are learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paralift.lifted.activations import Hardtanh
from paralift.lifted.layers import Graph
from paralift.lifted.maps import Combine, Conv2d, ConvTranspose2d, Tied


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
    weights (`Tied`). The parameters fit pictures of any size: they are those of ``unrolled(another_shape, ...)``.

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


def _image(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) != 3 or any(not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"unrolled: input_shape is {shape!r}, expected (height, width, channels)")
    return shape[0], shape[1], shape[2]
