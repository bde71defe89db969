"""The named networks as a user of JAX writes them; shapes and parameters are those of `paralift.networks`.

Each function returns `init`, key -> (parameters, running statistics), and `apply`, (parameters, statistics, x) -> (logits, new
statistics): pure functions of trees of arrays. Images are (n, height, width, channels).
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

MOMENTUM = 0.1
"""Weight of a batch in running statistics."""


def affine(key, a: int, b: int, bias: bool = True) -> dict[str, Any]:
    """Return parameters of an affine map."""
    weight = jax.random.normal(key, (a, b)) * a**-0.5
    return {"weight": weight, "bias": jnp.zeros(b)} if bias else {"weight": weight}


def dense(theta, x):
    """Return the affine map of the last axis."""
    return x @ theta["weight"] + theta.get("bias", 0.0)


def kernel(key, size: int, channels: int, outputs: int):
    """Return the weights of a convolution."""
    return jax.random.normal(key, (size, size, channels, outputs)) * (2 / (size * size * channels)) ** 0.5


def convolve(x, weight, padding: int = 0, stride: int = 1):
    """Return the convolution of images."""
    around = [(padding, padding)] * 2
    return lax.conv_general_dilated(x, weight, (stride, stride), around, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def pooled(x):
    """Return the largest number of each 2 x 2 window."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def lenet():
    """Return LeNet-5 of images (28, 28, 1)."""

    def init(key):
        k = jax.random.split(key, 5)
        convolutions = [{"weight": kernel(k[0], 5, 1, 6), "bias": jnp.zeros(6)},
                        {"weight": kernel(k[1], 5, 6, 16), "bias": jnp.zeros(16)}]  # fmt: skip
        layers = [affine(k[2], 400, 120), affine(k[3], 120, 84), affine(k[4], 84, 10)]
        return {"convolutions": convolutions, "dense": layers}, ()

    def apply(theta, statistics, x):
        for convolution, padding in zip(theta["convolutions"], (2, 0), strict=True):
            x = pooled(jax.nn.relu(convolve(x, convolution["weight"], padding) + convolution["bias"]))
        x = x.reshape(len(x), -1)
        for layer in theta["dense"][:-1]:
            x = jax.nn.relu(dense(layer, x))
        return dense(theta["dense"][-1], x), statistics

    return init, apply


def norm(channels: int) -> dict[str, Any]:
    """Return gain and shift of a normalisation."""
    return {"gain": jnp.ones(channels), "shift": jnp.zeros(channels)}


def batch_norm(theta, running, x):
    """Return the columns of x normalised over samples and positions, and the new running statistics."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    variance = jnp.maximum((x * x).mean(axes) - mean * mean, 0.0)
    n = x.size // x.shape[-1]
    new = {"mean": mean, "variance": variance * n / (n - 1)}
    running = jax.tree.map(lambda old, now: (1 - MOMENTUM) * old + MOMENTUM * now, running, lax.stop_gradient(new))
    return (x - mean) * (theta["gain"] * lax.rsqrt(variance + 1e-5)) + theta["shift"], running


def resnet(depth: int):
    """Return the residual network of images (28, 28, 1): three groups of blocks, 16, 32 and 64 channels."""
    blocks = []  # (channels, outputs, stride)
    channels = 16
    for group, outputs in enumerate((16, 32, 64)):
        for block in range(depth // 6):
            blocks.append((channels, outputs, 2 if group and not block else 1))
            channels = outputs

    def init(key):
        first, last, *keys = jax.random.split(key, 2 + len(blocks))
        layers = [{"first": {"weight": kernel(first, 3, 1, 16), **norm(16)}}]
        for k, (a, b, stride) in zip(keys, blocks, strict=True):
            one, two, three = jax.random.split(k, 3)
            layer = {"first": {"weight": kernel(one, 3, a, b), **norm(b)},
                     "second": {"weight": kernel(two, 3, b, b), **norm(b)}}  # fmt: skip
            if stride > 1 or a != b:
                layer["shortcut"] = {"weight": kernel(three, 1, a, b), **norm(b)}
            layers.append(layer)
        running = [{k: {"mean": jnp.zeros_like(v["shift"]), "variance": jnp.ones_like(v["shift"])} for k, v in layer.items()}
                   for layer in layers]  # fmt: skip
        return {"layers": layers, "dense": affine(last, 64, 10)}, running

    def apply(theta, statistics, x):
        found: list[dict[str, Any]] = []

        def normalised(k, name, x, stride=1):
            parameters = theta["layers"][k][name]
            z = convolve(x, parameters["weight"], parameters["weight"].shape[0] // 2, stride)
            z, running = batch_norm(parameters, statistics[k][name], z)
            found[k][name] = running
            return z

        found.append({})
        x = jax.nn.relu(normalised(0, "first", x))
        for k, (_, _, stride) in enumerate(blocks, 1):
            found.append({})
            branch = normalised(k, "second", jax.nn.relu(normalised(k, "first", x, stride)))
            x = jax.nn.relu(branch + (normalised(k, "shortcut", x, stride) if "shortcut" in theta["layers"][k] else x))
        return dense(theta["dense"], x.mean((1, 2))), found

    return init, apply


def layer_norm(theta, x):
    """Return the rows of x normalised."""
    mean = x.mean(-1, keepdims=True)
    variance = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-5) * theta["gain"] + theta["shift"]


def attention(theta, x, heads: int):
    """Return causal self-attention, its three affine maps in one product; keys have no offset."""
    offset = jnp.concatenate([theta["offsets"][0], jnp.zeros_like(theta["offsets"][0]), theta["offsets"][1]])
    q, k, v = jnp.split((x @ theta["weight"] + offset).reshape(*x.shape[:2], 3 * heads, -1), 3, axis=2)
    return dense(theta["out"], jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape))


def transformer(tokens: int, length: int, width: int = 128, depth: int = 4, heads: int = 4):
    """Return a decoder-only transformer: learned positions, the scores tied to the embedding."""

    def init(key):
        first, second, *keys = jax.random.split(key, 2 + depth)
        blocks = []
        for k in keys:
            a, b, c, d = jax.random.split(k, 4)
            mix = {"weight": jax.random.normal(a, (width, 3 * width)) * width**-0.5, "offsets": jnp.zeros((2, width)),
                   "out": affine(b, width, width)}  # fmt: skip
            forward = [affine(c, width, 4 * width), affine(d, 4 * width, width)]
            blocks.append({"attention": mix, "forward": forward, "norms": [norm(width), norm(width)]})
        embedding = jax.random.normal(first, (tokens, width)) * width**-0.5
        positions = jax.random.normal(second, (length, width)) * 0.02
        return {"embedding": embedding, "positions": positions, "blocks": blocks, "norm": norm(width)}, ()

    def apply(theta, statistics, x):
        x = theta["embedding"][x] + theta["positions"]
        for block in theta["blocks"]:
            x = x + attention(block["attention"], layer_norm(block["norms"][0], x), heads)
            hidden = jax.nn.relu(dense(block["forward"][0], layer_norm(block["norms"][1], x)))
            x = x + dense(block["forward"][1], hidden)
        return layer_norm(theta["norm"], x) @ theta["embedding"].T, statistics

    return init, apply
