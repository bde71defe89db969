"""The inner loop of methods that solve a damped problem at each update: minimise h(x) = f(x) + r(x) + weight/2 |x - centre|^2.

h is `weight`-strongly convex and its smooth part has the constant M = L + weight, so that an accelerated loop with a constant
momentum gains a factor 1 - sqrt(weight / M) at each turn. With x+ = prox(y - t grad(y)), t = 1/M and G = (y - x+) / t,

    h(z) >= h(x+) + <G, z - y> + t/2 |G|^2 + weight/2 |z - y|^2   for all z,   so   h(x+) - min h <= |G|^2 (1/weight - t) / 2:

the loop knows how near it is, without values.

References
----------
Beck, First-Order Methods in Optimization, 2017, section 10.7.7.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from paralift.kernels import arrays
from paralift.kernels.arrays import Array, namespace
from paralift.optim.algorithms.run import inner, length

PATIENCE = 60.0
"""Turns times sqrt(weight / M) that may be needed at most: exp(-60) is beyond all digits."""


def approach(
    gradient: Callable[[Array, Array], object],
    prox: Callable[[Array, float], object] | None,
    centre: Array,
    weight: float,
    lipschitz: float,
    x: Array,
    reduction: float,
) -> int:
    """Move `x` until the bound on h(x) - min h is `reduction` times that of its first turn, and return the number of turns.

    Parameters
    ----------
    gradient : callable
        ``gradient(y, out)`` writes the gradient of f.
    prox : callable or None
        ``prox(y, step)`` overwrites y by prox_{step r}(y); None for r = 0.
    centre : Array
    weight, lipschitz : float
        More than 0; L of f.
    x : Array
        Holds the start, and at the end the result.
    reduction : float
        Less than 1. A relative goal is met by fewer turns from a good start, and it becomes stricter as outer updates converge.
    """
    step = 1.0 / (lipschitz + weight)
    root = math.sqrt(weight * step)
    momentum, most = (1.0 - root) / (1.0 + root), math.ceil(PATIENCE / root)
    y, old, slope = (arrays.empty(x.shape, x) for _ in range(3))
    y[...] = x
    smallest = float(namespace(x).finfo(x.dtype).eps)
    first = math.inf
    for turn in range(1, most + 1):
        gradient(y, slope)
        slope += weight * (y - centre)
        slope *= step
        old[...] = x
        x[...] = y
        x -= slope
        if prox is not None:
            prox(x, step)
        y -= x
        moved = inner(y, y)
        first = moved if turn == 1 else first
        # The bound is |y - x+|^2 times a constant, which cancels.
        if not moved > max(reduction * first, (smallest * length(x)) ** 2):
            return turn
        y[...] = x
        y += momentum * (x - old)
    return most
