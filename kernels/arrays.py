"""Which library an array belongs to, and the few operations that differ between libraries.

The rest of ParaLift is written once for NumPy, CuPy and any array of the Python array API standard. Nothing here moves
data between host and device except :func:`to_host` and :func:`from_host`, whose names say so.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

Array = Any
"""A NumPy, CuPy or array-API array. A precise static type for the union does not exist yet."""
Work = Callable[[], Any]
"""A call without arguments: work whose arrays and kernels were chosen before, to be repeated for every batch."""


def family(x: Array) -> str:
    """Return ``"numpy"``, ``"cupy"`` or ``"other"``: which implementation of a kernel serves `x`."""
    if isinstance(x, np.ndarray):
        return "numpy"
    return "cupy" if type(x).__module__.split(".", 1)[0] == "cupy" else "other"


def namespace(x: Array) -> ModuleType:
    """Return the array library of `x`: ``numpy``, ``cupy``, or what ``__array_namespace__`` says."""
    if isinstance(x, np.ndarray):
        return np
    if hasattr(x, "__array_namespace__"):
        return x.__array_namespace__()
    if type(x).__module__.split(".", 1)[0] == "cupy":
        import cupy

        return cupy
    raise TypeError(
        f"an array of type {type(x).__module__}.{type(x).__qualname__} was given, "
        "expected NumPy, CuPy or an array of the Python array API standard"
    )


def empty(shape: tuple[int, ...], like: Array, dtype: Any = None) -> Array:
    """Return an uninitialised array in the library and on the device of `like`."""
    return _create("empty", shape, like, dtype)


def zeros(shape: tuple[int, ...], like: Array, dtype: Any = None) -> Array:
    """Return an array of zeros in the library and on the device of `like`."""
    return _create("zeros", shape, like, dtype)


def _create(name: str, shape: tuple[int, ...], like: Array, dtype: Any) -> Array:
    create = getattr(namespace(like), name)
    dtype = like.dtype if dtype is None else dtype
    if family(like) == "other":
        return create(shape, dtype=dtype, device=like.device)
    return create(shape, dtype=dtype)


def matmul(a: Array, b: Array, out: Array) -> Array:
    """Write the product of the matrices `a` (n, k) and `b` (k, m) into `out` (n, m) and return it."""
    if isinstance(out, np.ndarray):
        return np.dot(a, b, out=out)  # less overhead a call than np.matmul
    if family(out) == "cupy":
        return namespace(out).matmul(a, b, out=out)
    out[...] = namespace(out).matmul(a, b)
    return out


def bound_matmul(a: Array, b: Array, out: Array) -> Work:
    """Return the product of `matmul` as work on these arrays."""
    if isinstance(out, np.ndarray):
        return partial(np.dot, a, b, out)
    return partial(matmul, a, b, out)


def to_host(x: Array) -> np.ndarray:
    """Return `x` as a NumPy array, copied from a device where need be."""
    if isinstance(x, np.ndarray):
        return x
    if hasattr(x, "get"):
        return x.get()
    return np.from_dlpack(x)


def from_host(x: np.ndarray, like: Array) -> Array:
    """Return the NumPy array `x` in the library and on the device of `like` (itself where that is NumPy)."""
    kind = family(like)
    if kind == "numpy":
        return x
    if kind == "cupy":
        return namespace(like).asarray(x)
    xp = namespace(like)
    return xp.asarray(x.tolist(), dtype=getattr(xp, str(x.dtype)), device=like.device)
