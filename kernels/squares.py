"""The sum of squares of a flat array, added up in float64, for norms that several ranks compare."""

from __future__ import annotations

from paralift.kernels.arrays import Array, family, namespace
from paralift.kernels.jit import jit


@jit
def _square_sum_numba(x):
    total = 0.0
    for i in range(x.shape[0]):
        v = float(x[i])
        total += v * v
    return total


def square_sum(x: Array) -> float:
    """Return the sum of the squares of `x` (n,); an array on a device is waited for."""
    if family(x) == "numpy":
        return _square_sum_numba(x)
    return float(namespace(x).sum(x * x))
