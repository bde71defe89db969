"""A decoder-only transformer with normalisation before each branch."""

from __future__ import annotations

from paralift.lifted.activations import LayerNorm, ReLU, RMSNorm, Softmax
from paralift.lifted.activations.base import Activation
from paralift.lifted.layers import Attention, Residual, Sequential
from paralift.lifted.maps import Embedding, Linear, Positions, Readout, Tied

NORMS = {"layer": LayerNorm, "rms": RMSNorm}
DEEPEST = 10_000
"""Blocks at most: a larger number is a mistake, and would take minutes to be found."""


def transformer(
    tokens: int,
    length: int,
    width: int = 128,
    depth: int = 4,
    heads: int = 4,
    norm: str = "layer",
    feed_forward: int = 4,
    activation: Activation | None = None,
    tied: bool = True,
) -> Sequential:
    """Return a network that predicts the next of each of `length` tokens: samples (length,) -> (length, tokens).

    Embedding and learned positions; `depth` times x + attention(norm(x)), x + feed-forward(norm(x)); a norm, scores of all
    tokens, softmax. The last affine map of every branch starts smaller by 1/sqrt(2 depth), so that what 2 depth branches add
    up to does not grow with depth.

    Parameters
    ----------
    tokens, length : int
        Size of the vocabulary, tokens of a sample.
    width, depth, heads : int
        Features of a token, blocks, heads of each attention.
    norm : {"layer", "rms"}
    feed_forward : int
        Hidden features of the feed-forward branch over `width`.
    activation : Activation, optional
        Inside it; ReLU by default.
    tied : bool
        Whether the scores are products with the embedding's rows.

    Raises
    ------
    ValueError
        If a number is too small, heads do not divide the width, or the norm is unknown.

    References
    ----------
    Vaswani et al., Attention Is All You Need, 2017; Radford et al., Language Models are Unsupervised Multitask Learners,
    2019, section 2.3, for the order and the start of branches; Press & Wolf, EACL 2017, for tied weights.
    """
    if norm not in NORMS:
        raise ValueError(f"transformer: norm is {norm!r}, expected one of {sorted(NORMS)}")
    for name, value in (("depth", depth), ("feed_forward", feed_forward)):
        if not isinstance(value, int) or not 1 <= value <= DEEPEST:
            raise ValueError(f"transformer: {name} is {value!r}, expected an integer from 1 to {DEEPEST}")
    normal, hidden, gain = NORMS[norm], feed_forward * width, (2 * depth) ** -0.5
    inner = ReLU() if activation is None else activation
    layers: list[object] = [Embedding(tokens, width), Positions(length, width)]
    for _ in range(depth):
        layers += [
            Residual(normal(width), Attention(width, heads, gain=gain)),
            Residual(normal(width), Linear(width, hidden), inner, Linear(hidden, width, gain=gain)),
        ]
    readout = Readout(tokens, width)
    return Sequential(
        *layers, normal(width), Tied(readout, to="embedding1") if tied else readout, Softmax(), input_shape=(length,)
    )
