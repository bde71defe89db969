"""Kernels of the output clamp with class labels: pull and cross-entropy of each row in one pass."""

from __future__ import annotations

from functools import cache

import numpy as np

from paralift.kernels.arrays import Array, family, from_host, namespace
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


@jit
def _soft_cross_entropy_numba(z, x, y, beta, smoothing, weights, g):
    """Do what `soft_cross_entropy` does; `y` are labels."""
    classes = z.shape[1]
    share = smoothing / classes
    spread = 0.0
    for j in range(classes):
        spread += share * weights[j]
    total = 0.0
    for i in range(z.shape[0]):
        k = y[i]
        hot = (1.0 - smoothing) * weights[k]
        top, peak = z[i, 0], x[i, 0]
        for j in range(1, classes):
            if x[i, j] > peak or x[i, j] != x[i, j]:
                peak, top = x[i, j], z[i, j]
        logsum = top - np.log(peak)  # of the exponentials: -log x_j = logsum - z_j, exact where x_j has lost its digits
        whole = z.dtype.type(hot + spread)
        total += hot * (logsum - z[i, k])
        for j in range(classes):
            t = share * weights[j]
            total += t * (logsum - z[i, j])
            g[i, j] = beta * (whole * x[i, j] - z.dtype.type(t))
        g[i, k] -= beta * z.dtype.type(hot)
    return total


@cache
def _array(weights: tuple[float, ...]) -> np.ndarray:
    return np.array(weights)


def soft_cross_entropy_formula(
    z: Array, x: Array, y: Array, beta: float, smoothing: float, weights: tuple[float, ...], g: Array
) -> Array:
    """Do what `soft_cross_entropy` does, for any array library and for rows of probabilities; return an array without axes."""
    xp, classes = namespace(z), z.shape[1]
    if y.ndim == 1:
        numbers = xp.arange(classes, device=z.device) if family(z) == "other" else xp.arange(classes)
        y = xp.where(numbers[None, :] == y[:, None], xp.ones_like(x), xp.zeros_like(x))
    w = from_host(np.array(weights, dtype=str(z.dtype).rsplit(".", 1)[-1]), z)
    t = w[None, :] * ((1.0 - smoothing) * y + smoothing / classes)
    whole = xp.sum(t, axis=1)
    top = xp.max(z, axis=1)
    logsum = top + xp.log(xp.sum(xp.exp(z - top[:, None]), axis=1))
    value = xp.sum(whole * logsum - xp.sum(t * z, axis=1))
    g[...] = beta * (whole[:, None] * x - t)
    return value


def soft_cross_entropy(
    z: Array, x: Array, y: Array, beta: float, smoothing: float, weights: tuple[float, ...], g: Array
) -> Array:
    """Write the pull of the cross-entropy with smoothed and weighted targets into `g`; return the summed loss.

    A row's target is t_c = w_c ((1 - s) y_c + s / K) with K classes, its loss sum_c -t_c log x_c, its pull
    beta ((sum_c t_c) x - t).

    Parameters
    ----------
    z, x : array of shape (rows, classes)
        Logits and their softmax.
    y : integer array of shape (rows,), or array of shape (rows, classes)
        Class labels, or rows of probabilities.
    beta, smoothing : float
        Weight of the nudge; s, in [0, 1).
    weights : tuple of float
        One for each class.
    g : array of shape (rows, classes)
        Overwritten; may be `x`.
    """
    if family(z) == "numpy" and y.ndim == 1:
        return _soft_cross_entropy_numba(z, x, y, z.dtype.type(beta), smoothing, _array(weights), g)
    return soft_cross_entropy_formula(z, x, y, beta, smoothing, weights, g)
