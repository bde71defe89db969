"""Kernels of token embeddings: rows of a table by number, and the sum of rows that have the same number.

Numbers come as floating point; what is outside the table is taken for its nearest row, so that no kernel leaves its memory
(data are checked where they enter: `Embedding.check_values`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from paralift.kernels.arrays import Array, family, namespace
from paralift.kernels.jit import jit


@jit
def _gather_numba(tokens, table, out):
    last = table.shape[0] - 1
    for i in range(tokens.shape[0]):
        k = min(max(int(tokens[i]), 0), last)
        for j in range(table.shape[1]):
            out[i, j] = table[k, j]


@jit
def _scatter_numba(tokens, r, out):
    last = out.shape[0] - 1
    out[:, :] = 0
    for i in range(tokens.shape[0]):  # one after the other: the same bits every time
        k = min(max(int(tokens[i]), 0), last)
        for j in range(r.shape[1]):
            out[k, j] += r[i, j]


def gather(tokens: Array, table: Array, out: Array) -> None:
    """Write the rows of `table` (n_tokens, width) that `tokens` (rows,) name into `out` (rows, width)."""
    if family(out) == "numpy":
        _gather_numba(tokens, table, out)
    else:
        xp = namespace(out)
        out[...] = xp.take(table, xp.astype(tokens, xp.int64) if hasattr(xp, "astype") else tokens.astype("int64"), axis=0)


def scatter(tokens: Array, r: Array, out: Array) -> None:
    """Write the sum of the rows of `r` (rows, width) of equal `tokens` (rows,) into the rows of `out` (n_tokens, width)."""
    if family(out) == "numpy":
        _scatter_numba(tokens, r, out)
        return
    xp = namespace(out)
    numbers: Any = xp.arange(out.shape[0], dtype=tokens.dtype, **({"device": out.device} if family(out) == "other" else {}))
    hot = xp.where(tokens[None, :] == numbers[:, None], xp.ones_like(tokens)[None, :], xp.zeros_like(tokens)[None, :])
    out[...] = xp.matmul(hot, r)


def counts(tokens: Array, n_tokens: int) -> np.ndarray:
    """Return how often each of `n_tokens` occurs in the host array `tokens`, shape (n_tokens,), float64."""
    return np.bincount(tokens.ravel().astype(np.int64), minlength=n_tokens).astype(np.float64)
