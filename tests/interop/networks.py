"""Networks of ParaLift with parameters that are not those of its start, and samples, for the ways out."""

from __future__ import annotations

import numpy as np

import paralift as pl

IMAGE, SERIES = (6, 7, 3), (6, 4)

NETWORKS = {
    "activations": (
        pl.Sequential(
            *[layer for act in (pl.LeakyReLU(0.1), pl.Hardtanh(-1.0, 0.5), pl.SoftThreshold(0.2), pl.Arctan(), pl.ISRU())
              for layer in (pl.Linear(4, 4), act)], pl.Linear(4, 5), pl.Heads((pl.Softmax(), 3), (pl.Identity(), 2))
        ),
        (4,),
    ),
    "smooth ones": (
        pl.Sequential(
            *[layer for act in (pl.ELU(0.5), pl.Softplus(), pl.Softsign(), pl.Sigmoid(), pl.GELU(), pl.GELU(True), pl.SiLU())
              for layer in (pl.Linear(4, 4), act)]
        ),
        (4,),
    ),
    "padding of one side": (
        pl.Sequential(
            pl.Conv2d(3, 4, 2, padding="same"), pl.ReLU(), pl.MaxPool2d(2, 1, "same"), pl.AveragePool2d(2, 1, "same"),
            pl.ConvTranspose2d(4, 2, 3, 2, "same"), pl.ConvTranspose2d(2, 2, 1, 2, "same"), input_shape=IMAGE,
        ),
        IMAGE,
    ),
    "norms and pools": (
        pl.Sequential(
            pl.BatchNorm(3), pl.Conv2d(3, 4, 3), pl.GroupNorm(2, 4), pl.ReLUMaxPool(2), pl.Upsample(2), pl.RMSNorm(4),
            pl.AdaptiveAveragePool2d((3, 2)), pl.LayerNorm(4), input_shape=IMAGE,
        ),
        IMAGE,
    ),
    "series": (
        pl.Sequential(
            pl.ReLU(), pl.Conv1d(4, 4, 3, groups=2), pl.BatchNorm(4), pl.Tanh(), pl.AveragePool1d(2), input_shape=SERIES
        ),
        SERIES,
    ),
    "residual network": (pl.networks.resnet(8, (8, 8, 3), 3, width=2), (8, 8, 3)),
    "branches": (
        pl.Graph(
            a=(["input"], pl.Conv2d(3, 2, 1), pl.ReLU()), b=(["input"], pl.AveragePool2d(3, 1, 1)),
            c=(["a", "b"], pl.Concatenate()), d=(["c", "a"], pl.Concatenate(), pl.GlobalAverage()),
            e=(["d", "d"], pl.Combine(0.5, -2.0), pl.Diagonal(7)), input_shape=IMAGE,
        ),
        IMAGE,
    ),
    "transformer": (pl.networks.transformer(7, 5, 4, 1, 2, "rms"), (5,)),
    "tokens": (
        pl.Sequential(pl.Linear(4, 4), pl.Positions(6, 4, "sinusoidal"), pl.Residual(pl.Attention(4, 2, causal=False)),
                      pl.Permute(1, 0), pl.Dropout(0.2), input_shape=SERIES),
        SERIES,
    ),
}  # fmt: skip
"""Networks with the shape of their samples."""


def made(name: str):
    """Return a network, parameters away from zero, and two samples."""
    net, shape = NETWORKS[name]
    params, rng = net.init(0), np.random.default_rng(1)
    for block in params.values():
        for array in block.values():
            array += (0.1 * np.abs(rng.standard_normal(array.shape))).astype(np.float32)
    for tie in net.ties:
        for block in tie.blocks[1:]:
            params[block][tie.name][...] = params[tie.blocks[0]][tie.name]
    whole = name == "transformer"
    x = rng.integers(0, 7, (2, *shape)) if whole else rng.standard_normal((2, *shape))
    return net, params, x.astype(np.float32)


def first(name: str, x: np.ndarray) -> np.ndarray:
    """Return images, and series of the network that has convolutions, channels first."""
    return np.moveaxis(x, -1, 1).copy() if x.ndim == 4 or name == "series" else x
