"""Damped least squares, solved for any damping by one eigendecomposition of the smaller Gram matrix.

w = (s A^T A + rho I)^{-1} s A^T v = s A^T (s A A^T + rho I)^{-1} v

A Cholesky factor would be made faster, but again for every rho; methods that adapt rho change it at every other update.
"""

from __future__ import annotations

from typing import Any

from paralift.kernels.arrays import Array, namespace

DENSE = 4096
"""Size up to which a Gram matrix is made."""


class Damped:
    """Factor of A (m, d), dense or sparse.

    Parameters
    ----------
    rows : matrix of shape (m, d)
        A.
    scale : float
        s.
    """

    def __init__(self, rows: Any, scale: float) -> None:
        self.rows, self.scale = rows, scale
        self.wide = rows.shape[0] <= rows.shape[1]
        gram = rows @ rows.T if self.wide else rows.T @ rows
        gram = scale * (gram.toarray() if hasattr(gram, "toarray") else gram)
        values, self.vectors = namespace(gram).linalg.eigh(gram)
        self.values = values * (values > 0)

    def solve(self, v: Array, rho: float) -> Array:
        """Return w, shape (d,), for `v` of shape (m,) and rho > 0."""
        factors = self.scale / (self.values + rho)
        if self.wide:
            return self.rows.T @ (self.vectors @ (factors * (self.vectors.T @ v)))
        return self.vectors @ (factors * (self.vectors.T @ (self.rows.T @ v)))
