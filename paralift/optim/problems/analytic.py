"""A lasso with a known answer, the same for any number of ranks: least squares on orthonormal columns of known lengths."""

from __future__ import annotations

import numpy as np

from paralift.kernels.arrays import Array
from paralift.optim.problems.composite import shares
from paralift.optim.problems.linear import LeastSquares
from paralift.optim.regularizers import L1


class AnalyticLasso(LeastSquares):
    """1/2 |A x - b|^2 + weight |x|_1 with A = Q D, Q of orthonormal columns, D from 1/sqrt(condition) to 1.

    With c = D^{-1} Q^T b:  x*_j = sign(c_j) max(|c_j| - weight / D_j^2, 0),  L = 1,  mu = 1 / condition.
    The ranges of samples of different parts are not alike, and A is dense.

    Parameters
    ----------
    unknowns, samples : int
    condition, weight : float
    seed : int

    Attributes
    ----------
    solution : ndarray
    optimum : float
        F(x*), of all samples.
    lengths : ndarray
        D.
    """

    exact_lipschitz = 1.0

    def __init__(
        self, unknowns: int = 20, samples: int = 160, condition: float = 100.0, weight: float = 0.5, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        q = np.linalg.qr(rng.standard_normal((samples, unknowns)))[0]
        b = 3.0 * rng.standard_normal(samples)
        self.lengths = np.logspace(-0.5 * np.log10(condition), 0.0, unknowns)
        c = (q.T @ b) / self.lengths
        self.solution: Array = np.sign(c) * np.maximum(np.abs(c) - weight / self.lengths**2, 0.0)
        super().__init__(q * self.lengths, b, L1(weight))
        self.optimum = self.value(self.solution) + self.penalty(self.solution)
        self.exact_convexity = 1.0 / condition

    def part(self, rank: int, size: int) -> LeastSquares:
        """Return what one of `size` ranks holds, with the constants of the whole."""
        span = shares(self.n_samples, size)[rank]
        part = LeastSquares(self.rows[span], self.targets[span], self.regularizer)
        part.exact_lipschitz, part.exact_convexity = self.exact_lipschitz, self.exact_convexity
        return part

    def split(self, parts: int) -> list[LeastSquares]:  # type: ignore[override]
        """Return the parts of all ranks."""
        return [self.part(rank, parts) for rank in range(parts)]
