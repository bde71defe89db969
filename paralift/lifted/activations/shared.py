"""Batch normalisation whose statistics are those of all data shards: each micro-batch together with those of other shards.

Every pass sums a few numbers a feature over the shards, and waits for them: shards of a stage go through the same micro-batches
in the same order, also those that have no rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paralift.kernels import columns
from paralift.kernels.arrays import Array, Work
from paralift.kernels.difference import sum_columns
from paralift.lifted.activations.base import Activation
from paralift.lifted.activations.batchnorm import BatchNormalise
from paralift.lifted.activations.rowwise import IDENTITY

Sum = Callable[[np.ndarray], np.ndarray]
"""Returns the sum of a float64 array over the shards."""


def over_shards(activation: Activation, total: Sum | None) -> Activation:
    """Return an activation as it acts where other shards have a part of every micro-batch."""
    if total is None or not isinstance(activation, BatchNormalise) or not activation.shared:
        return activation
    return SharedBatchNormalise(activation.eps, activation.momentum, True, total)


@dataclass(frozen=True)
class SharedBatchNormalise(BatchNormalise):
    """`BatchNormalise` of NumPy arrays over all shards.

    Parameters
    ----------
    total : callable
    """

    total: Sum = field(default=lambda values: values, repr=False)

    def bound_activate(self, z: Array, offset: Array | None, x: Array) -> Work:
        """Return `activate` as work on these arrays."""
        return self._normalising(z, offset, x, None)

    def bound_train(self, z: Array, offset: Array | None, x: Array, running: Any) -> Work:
        """Return `activate` and `track` as work on these arrays."""
        return self._normalising(z, offset, x, running)

    def _normalising(self, z: Array, offset: Array | None, x: Array, running: Any) -> Work:
        mean, variance = np.empty(z.shape[1]), np.empty(z.shape[1])

        def run() -> None:
            if offset is not None:
                IDENTITY.activate(z, offset, z)
            columns.moments(z, mean, variance)
            n, mean[:], variance[:] = self._together(z.shape[0], mean, variance)
            columns.normalise(z, mean, variance, float(self.eps), x)
            if running is not None and n:
                running["mean"] += self.momentum * (mean - running["mean"])
                running["variance"] += self.momentum * (variance * (n / max(1.0, n - 1.0)) - running["variance"])

        return run

    def _together(self, n: int, mean: np.ndarray, variance: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return rows, means and variances of all shards."""
        rows, sums, squares = _cut(self.total(np.concatenate([[n], n * mean, n * (variance + mean**2)])), 2)
        mean = sums / max(1.0, rows)
        return rows, mean, np.maximum(squares / max(1.0, rows) - mean**2, 0.0)

    def _joint(self, z: Array, g: Array) -> tuple[np.ndarray, ...]:
        """Return means and variances of z, means and variances of g, and covariances, over all shards."""
        n, d = z.shape
        mean, variance, mean_g, variance_g, covariance = (np.empty(d) for _ in range(5))
        columns.joint_moments(z, g, mean, variance, mean_g, variance_g, covariance)
        own = [mean, mean_g, variance + mean**2, variance_g + mean_g**2, covariance + mean * mean_g]
        rows, m, m_g, zz, gg, zg = _cut(self.total(np.concatenate([[n], *(n * a for a in own)])), 5)
        m, m_g, zz, gg, zg = (a / max(1.0, rows) for a in (m, m_g, zz, gg, zg))
        return m, np.maximum(zz - m**2, 0.0), m_g, np.maximum(gg - m_g**2, 0.0), zg - m * m_g

    def difference(
        self,
        z: Array,
        g: Array,
        up: float = 0.5,
        down: float = 0.5,
        relative: float = 0.0,
        column_sum: Array | None = None,
        accumulate: bool = False,
    ) -> None:
        """Overwrite the pull by the residual; a relative nudge takes one scale for all rows of all shards."""
        if column_sum is not None and not accumulate:
            column_sum.fill(0)
        sums = np.empty(0, z.dtype) if column_sum is None else column_sum
        numbers = (float(up), float(down), float(relative), float(self.eps))
        columns.difference_of_moments(z, g, *self._joint(z, g), *numbers, sums)

    def pull_back(self, z: Array, g: Array, column_sum: Array | None = None, accumulate: bool = False) -> None:
        """Overwrite the pull `g` by sigma'(z) g."""
        mean, variance, mean_g, _, covariance = self._joint(z, g)
        scale = 1.0 / np.sqrt(variance + self.eps)
        g[...] = scale * (g - mean_g - (z - mean) * (scale**2 * covariance))
        sum_columns(g, column_sum, accumulate)


def _cut(sums: np.ndarray, parts: int) -> Any:
    """Return the first number, then so many equal parts of the rest."""
    return float(sums[0]), *np.split(sums[1:], parts)
