"""Block coordinate descent with three splittings, in NumPy: the method whose published figures the studies stand beside.

Minimises |V_L - Y|^2/2 + sum_l gamma/2 |V_l - sigma(U_l)|^2 + rho/2 |U_l - V_{l-1} W_l - b_l|^2 over the pre-activations U, the
activations V and the parameters, last layer first, each block exactly, some with |. - old|^2 alpha/2 added; sigma is ReLU, and
the identity in the last layer. Full batches.

References
----------
Zeng, Lau, Lin & Yao, Global convergence of block coordinate descent in deep learning, ICML 2019, algorithm 2.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import linalg

Array = np.ndarray
GAMMA, RHO = 1.0, 1.0
"""Weights of the two penalties, as published."""


def relu(u: Array) -> Array:
    """Return max(u, 0)."""
    return np.maximum(u, 0)


def relu_step(v: Array, centre: Array, weight: float) -> Array:
    """Return argmin_u (relu(u) - v)^2 + weight (u - centre)^2 for each entry: the better of the minima on either side of 0."""
    above, below = relu((v + weight * centre) / (1.0 + weight)), np.minimum(centre, 0)
    value = (above - v) ** 2 + weight * (above - centre) ** 2
    return np.where(value <= v**2 + weight * (below - centre) ** 2, above, below)


def fit_layer(u: Array, v: Array, weight: Array, bias: Array, alpha: float) -> tuple[Array, Array]:
    """Return W and then b that minimise rho |u - v W - b|^2 + alpha |W - weight|^2 + alpha |b - bias|^2."""
    sum_u, sum_v = u.sum(axis=0, dtype=np.float64), v.sum(axis=0, dtype=np.float64)
    gram = RHO * (v.T @ v) + alpha * np.eye(v.shape[1], dtype=v.dtype)
    right = RHO * (v.T @ u - np.outer(sum_v, bias)) + alpha * weight
    weight = linalg.solve(gram, right, assume_a="pos", overwrite_a=True).astype(u.dtype)
    return weight, ((alpha * bias + RHO * (sum_u - sum_v @ weight)) / (RHO * len(u) + alpha)).astype(u.dtype)


def activations(u: Array, above: Array, weight: Array, bias: Array) -> Array:
    """Return V that minimises gamma |V - relu(u)|^2 + rho |above - V weight - bias|^2."""
    system = RHO * (weight @ weight.T) + GAMMA * np.eye(len(weight), dtype=weight.dtype)
    inverse = linalg.inv(system)  # well conditioned; for so many samples a product beats a solve
    right = (above - bias) @ (RHO * weight.T)
    right += GAMMA * relu(u)
    return right @ inverse


def outputs(x: Array, weights: Sequence[Array], biases: Sequence[Array]) -> Array:
    """Return the network's outputs."""
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = x @ weight + bias
        x = relu(x) if k + 1 < len(weights) else x
    return x


def train(
    x: Array, labels: Array, test: tuple[Array, Array], widths: Sequence[int], passes: int, seed: int, alpha: float
) -> Iterator[dict[str, float]]:
    """Yield after each pass its number, the seconds of training so far, the objective and the test accuracy.

    Parameters
    ----------
    x, labels : ndarray of shape (n, widths[0]) and (n,)
    test : pair of ndarray
    widths : sequence of int
        Of all layers, input and output included.
    passes, seed : int
    alpha : float
        Weight of what keeps blocks near where they were: 5 published for three hidden layers, 1 for ten.
    """
    rng, depth = np.random.default_rng(seed), len(widths) - 1
    y = np.eye(widths[-1], dtype=x.dtype)[labels]
    w = [(0.01 * rng.standard_normal(pair)).astype(x.dtype) for pair in zip(widths, widths[1:], strict=False)]
    b = [np.full(n, 0.1, x.dtype) for n in widths[1:]]
    u: list[Array] = [x]
    v: list[Array] = [x]
    for k in range(depth):
        u.append(v[k] @ w[k] + b[k])
        v.append(relu(u[-1]) if k + 1 < depth else u[-1])
    seconds = 0.0
    for number in range(1, passes + 1):
        began = time.perf_counter()
        v[depth] = (y + GAMMA * u[depth] + alpha * v[depth]) / (1 + GAMMA + alpha)
        u[depth] = (GAMMA * v[depth] + RHO * (v[depth - 1] @ w[-1] + b[-1])) / (GAMMA + RHO)
        w[-1], b[-1] = fit_layer(u[depth], v[depth - 1], w[-1], b[-1], alpha)
        for k in range(depth - 1, 0, -1):
            v[k] = activations(u[k], u[k + 1], w[k], b[k])
            centre = (RHO * (v[k - 1] @ w[k - 1] + b[k - 1]) + alpha * u[k]) / (RHO + alpha)
            u[k] = relu_step(v[k], centre, (RHO + alpha) / GAMMA)
            w[k - 1], b[k - 1] = fit_layer(u[k], v[k - 1], w[k - 1], b[k - 1], alpha)
        seconds += time.perf_counter() - began
        accuracy = float((outputs(test[0], w, b).argmax(axis=1) == test[1]).mean())
        yield {"passes": number, "seconds": seconds, "energy": objective(u, v, w, b, y), "test_accuracy": accuracy}


def objective(u: Sequence[Array], v: Sequence[Array], w: Sequence[Array], b: Sequence[Array], y: Array) -> float:
    """Return the objective, a mean over the samples."""
    last = len(w)
    total = 0.5 * float(np.sum((v[last] - y) ** 2, dtype=np.float64))
    for k in range(1, last + 1):
        value = relu(u[k]) if k < last else u[k]
        total += 0.5 * GAMMA * float(np.sum((v[k] - value) ** 2, dtype=np.float64))
        total += 0.5 * RHO * float(np.sum((u[k] - v[k - 1] @ w[k - 1] - b[k - 1]) ** 2, dtype=np.float64))
    return total / len(y)
