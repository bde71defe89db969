"""Kernels of the output clamp with integer class labels: pull and cross-entropy of each row in one pass."""

from __future__ import annotations

import numpy as np

from paralift.kernels.arrays import Array, family, namespace
from paralift.kernels.jit import jit


@jit
def _cross_entropy_numba(z, x, y, beta, g):
    """Write beta (x - onehot y) into `g`; return the sum of logsumexp(z) - z_y."""
    total = 0.0
    for i in range(z.shape[0]):
        k = y[i]
        # logsumexp(z) - z_k = -log x_k; below 1e-30 the softmax has lost its digits, and the logits tell it better.
        if x[i, k] > 1e-30 or x[i, k] != x[i, k]:
            total -= np.log(x[i, k])
        else:
            top = z[i, 0]
            peak = x[i, 0]
            for j in range(z.shape[1]):
                if x[i, j] > peak:
                    peak = x[i, j]
                    top = z[i, j]
            total += top - np.log(peak) - z[i, k]
        for j in range(z.shape[1]):
            g[i, j] = beta * x[i, j]
        g[i, k] -= beta
    return total


def cross_entropy_formula(z: Array, x: Array, y: Array, beta: float, g: Array) -> Array:
    """Do what `cross_entropy` does, for any array library; return an array without axes."""
    xp = namespace(z)
    classes = xp.arange(z.shape[1], device=z.device) if family(z) == "other" else xp.arange(z.shape[1])
    hot = classes[None, :] == y[:, None]
    one, zero = xp.ones_like(x), xp.zeros_like(x)
    g[...] = beta * (x - xp.where(hot, one, zero))
    top = xp.max(z, axis=1)
    lse = top + xp.log(xp.sum(xp.exp(z - top[:, None]), axis=1))
    return xp.sum(lse - xp.sum(xp.where(hot, z, zero), axis=1))


def cross_entropy(z: Array, x: Array, y: Array, beta: float, g: Array) -> Array:
    """Write the pull beta (x - onehot y) into `g` and return the summed cross-entropy.

    Parameters
    ----------
    z, x : array of shape (rows, classes)
        Logits and their softmax.
    y : integer array of shape (rows,)
        Class labels in [0, classes).
    beta : float
        Weight of the nudge.
    g : array of shape (rows, classes)
        Overwritten; may be `x`.
    """
    if family(z) == "numpy":
        return _cross_entropy_numba(z, x, y, z.dtype.type(beta), g)
    return cross_entropy_formula(z, x, y, beta, g)
