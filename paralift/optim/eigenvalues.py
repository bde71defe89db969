"""The largest eigenvalue of a symmetric operator, by Lanczos iterations (SciPy's ARPACK), wherever its arrays live."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from paralift.kernels import arrays
from paralift.kernels.arrays import Array, from_host, to_host

SMALL = 8
"""Unknowns up to which the matrix itself is made: Lanczos needs more."""
ACCURACY = 1e-12


def largest_eigenvalue(multiply: Callable[[Array, Array], object], like: Array) -> float:
    """Return the largest eigenvalue of a symmetric positive semidefinite H.

    Parameters
    ----------
    multiply : callable
        ``multiply(v, out)`` writes H v into `out`; both have the shape, dtype and library of `like`. It is called equally often
        with equal arrays on all ranks, so it may sum over them.
    like : Array
    """
    n, out = int(np.prod(like.shape)), arrays.empty(like.shape, like)

    def product(v: np.ndarray) -> np.ndarray:
        multiply(from_host(v.astype(like.dtype, copy=False).reshape(like.shape), like), out)
        return to_host(out).astype(np.float64).reshape(-1)

    if n <= SMALL:
        return max(0.0, float(np.linalg.eigvalsh(np.stack([product(e) for e in np.eye(n)]))[-1]))
    from scipy.sparse.linalg import LinearOperator, eigsh  # dear to import, and not needed by trainings

    start = np.random.default_rng(0).standard_normal(n)  # the same on all ranks
    if not product(start).any():  # H = 0, on which ARPACK stops with an error
        return 0.0
    accuracy = ACCURACY if like.dtype.itemsize == 8 else 1e-6
    found = eigsh(LinearOperator((n, n), product, dtype=np.float64), 1, which="LA", v0=start, tol=accuracy)[0]
    return max(0.0, float(found[0]))
