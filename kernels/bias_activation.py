"""z <- z + offset and x <- sigma(z), in one pass over memory."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from paralift.kernels.arrays import Array
from paralift.kernels.jit import jit
from paralift.kernels.scalars import Elementwise, Function, Scalar


def bias_activation(act: Elementwise, z: Array, offset: Array | None, x: Array) -> None:
    """Add `offset` (width,) to `z` (rows, width) in place and write sigma(z) into `x`, which may be `z` itself."""
    if isinstance(z, np.ndarray):
        numba_kernel(act.scalar)(z, offset, None if x is z else x, act.a, act.b)
    else:
        formula(act.sigma, z, offset, x)


def formula(sigma: Function, z: Array, offset: Array | None, x: Array) -> None:
    """Do the same with whole-array operations, for any array library."""
    if offset is not None:
        z += offset
    x[...] = sigma(z)


@cache
def numba_kernel(scalar: Scalar) -> Any:
    """Return the compiled ``(z, offset or None, x or None for in place, a, b)``."""
    sigma = scalar.sigma

    def kernel(z, offset, x, a, b):  # type: ignore[no-untyped-def]
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                zj = z[i, j]
                if offset is not None:
                    zj += offset[j]
                if x is None:
                    z[i, j] = sigma(zj, a, b)
                else:
                    if offset is not None:
                        z[i, j] = zj
                    x[i, j] = sigma(zj, a, b)

    return jit(kernel, scalar.name, scalar.stamp)
