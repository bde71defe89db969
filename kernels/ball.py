"""Projection of groups on a ball: every row or column of a matrix that is longer than a limit is scaled back to it."""

from __future__ import annotations

import numpy as np

from paralift.kernels.arrays import Array, namespace
from paralift.kernels.jit import jit


def group_project(matrix: Array, limit: float, axis: int) -> None:
    """Overwrite `matrix` (rows, columns) by the projection of each group on the ball of radius `limit`.

    Parameters
    ----------
    matrix : (rows, columns) float32 or float64
    limit : float
        At least 0.
    axis : int
        The axis along which a group lies: 1 for rows as groups, 0 for columns.
    """
    if isinstance(matrix, np.ndarray):
        (_rows if axis == 1 else _columns)(matrix, matrix.dtype.type(limit))
        return
    xp = namespace(matrix)
    norm = xp.sqrt(xp.sum(matrix * matrix, axis=axis, keepdims=True))
    long = norm > limit
    matrix[...] = matrix * xp.where(long, limit / xp.where(long, norm, xp.ones_like(norm)), xp.ones_like(norm))


@jit
def _rows(matrix, limit):
    for i in range(matrix.shape[0]):
        square = matrix.dtype.type(0)
        for j in range(matrix.shape[1]):
            square += matrix[i, j] * matrix[i, j]
        norm = np.sqrt(square)
        if norm > limit:
            for j in range(matrix.shape[1]):
                matrix[i, j] *= limit / norm


@jit
def _columns(matrix, limit):
    one = matrix.dtype.type(1)
    factor = np.zeros(matrix.shape[1], matrix.dtype)  # scratch of one row
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            factor[j] += matrix[i, j] * matrix[i, j]
    for j in range(matrix.shape[1]):
        norm = np.sqrt(factor[j])
        factor[j] = limit / norm if norm > limit else one
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            matrix[i, j] *= factor[j]
