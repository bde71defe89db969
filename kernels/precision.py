"""How precisely a GPU multiplies matrices: everything else, residuals and sums among it, stays in the arrays' own type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from paralift.kernels.arrays import Array, family

COMPUTE_TYPES = {"tf32": 7, "bf16": 6}
"""CuPy's numbers (``COMPUTE_TYPE_TF32``, ``COMPUTE_TYPE_BF16``): factors are rounded as they enter a product."""
PRECISIONS = ("full", *COMPUTE_TYPES)


def check_precision(precision: str, device: str, dtype: np.dtype) -> None:
    """Raise ValueError unless products of this device and type can be computed so.

    Parameters
    ----------
    precision : {"full", "tf32", "bf16"}
    device : {"cpu", "gpu"}
    dtype : dtype
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, expected one of {PRECISIONS}")
    if precision != "full" and (device != "gpu" or np.dtype(dtype) != np.float32):
        raise ValueError(
            f"precision={precision!r} with device={device!r} and dtype={np.dtype(dtype).name!r}: a GPU rounds the factors of "
            "float32 products; take device='gpu' and dtype='float32', or precision='full'"
        )


@contextmanager
def products(precision: str, like: Array) -> Iterator[None]:
    """Multiply float32 matrices of CuPy so; with "full", and for other arrays, nothing changes.

    CuPy warns and stays with float32 where the GPU has no tensor cores for it (compute capability below 8.0).
    """
    if precision == "full" or family(like) != "cupy":
        yield
        return
    from cupy import _core

    before = _core.get_compute_type(np.float32)
    _core.set_compute_type(np.float32, COMPUTE_TYPES[precision])
    try:
        yield
    finally:
        _core.set_compute_type(np.float32, before)
