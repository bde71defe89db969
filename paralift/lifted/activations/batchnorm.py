"""Batch normalisation as an activation: layer normalisation of the columns, so the same convex potential, transposed.

A sample's output depends on the other samples of its micro-batch. Running means of the statistics are kept for evaluation;
over data shards every shard normalises its own micro-batches, unless they are to be shared, and the running means are averaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from paralift.kernels import columns
from paralift.kernels.arrays import Array, Work, family, namespace
from paralift.kernels.difference import FLOOR, TINY, sum_columns
from paralift.lifted.activations.base import Activation
from paralift.lifted.activations.norms import Normalise
from paralift.lifted.maps.affine import Diagonal


@dataclass(frozen=True)
class BatchNormalise(Activation):
    """x = (z - mean) / sqrt(variance + eps) for each feature, statistics over the rows of the micro-batch.

    Parameters
    ----------
    eps : float
        Greater than zero.
    momentum : float
        Weight of the newest micro-batch in the running statistics.
    shared : bool
        Whether data shards normalise their micro-batches together (`paralift.lifted.activations.shared`).
    """

    eps: float = 1e-5
    momentum: float = 0.1
    shared: bool = False
    couples_batch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.eps > 0 or not 0 < self.momentum <= 1:
            raise ValueError(f"{self!r}: expected eps greater than 0 and a momentum in (0, 1]")

    @property
    def lipschitz(self) -> float:  # type: ignore[override]
        """Lipschitz constant of sigma."""
        return float(self.eps**-0.5)

    def _columns(self) -> Normalise:
        return Normalise(centre=True, eps=self.eps)

    def statistics(self, width: int) -> dict[str, np.ndarray]:
        """Return the running statistics before training."""
        return {"mean": np.zeros(width), "variance": np.ones(width)}

    def sigma(self, z: Array) -> Array:
        """Return the normalised columns."""
        return self._columns().sigma(z.T).T if z.shape[0] else z

    def phi(self, z: Array) -> Array:
        """Return each row's equal share of n sum_j sqrt(variance_j + eps)."""
        return self._shared(self._columns().phi(z.T), z) if z.shape[0] else 0.0 * z[:, 0]

    def psi(self, x: Array) -> Array:
        """Return each row's equal share of the columns' Psi."""
        return self._shared(self._columns().psi(x.T), x) if x.shape[0] else 0.0 * x[:, 0]

    def _shared(self, values: Array, z: Array) -> Array:
        return namespace(z).sum(values) / max(z.shape[0], 1) + 0.0 * z[:, 0]

    def derivative(self, z: Array, g: Array) -> Array:
        """Return the derivative at z along g."""
        return self._columns().derivative(z.T, g.T).T if z.shape[0] else g

    def prox(self, w: Array, lam: float) -> Array:
        """Return prox_{lam Psi}(w), column by column."""
        return self._columns().prox(w.T, lam).T if w.shape[0] else w

    def activate(self, z: Array, offset: Array | None, x: Array) -> None:
        """Add `offset` to `z` and write the normalised columns into `x`."""
        self.bound_activate(z, offset, x)()

    def bound_activate(self, z: Array, offset: Array | None, x: Array) -> Work:
        """Return `activate` as work on these arrays."""
        return self._bound(z, offset, x, 0.0, None)

    def bound_train(self, z: Array, offset: Array | None, x: Array, running: Any) -> Work:
        """Return `activate` and `track` as work on these arrays: both need the same moments."""
        return self._bound(z, offset, x, self.momentum, running)

    def _bound(self, z: Array, offset: Array | None, x: Array, momentum: float, running: Any) -> Work:
        if z.shape[0] == 0:
            return _nothing
        if family(z) != "numpy":
            return partial(self._formula, z, offset, x, running)
        empty = np.empty(0, z.dtype)
        mean, variance = (empty, empty) if running is None else (running["mean"], running["variance"])
        shift = empty if offset is None else offset
        return partial(columns.normalise_rows, z, shift, float(self.eps), x, momentum, mean, variance)

    def _formula(self, z: Array, offset: Array | None, x: Array, running: Any) -> None:
        super().activate(z, offset, x)
        if running is not None:
            self.track(z, running)

    def track(self, z: Array, running: Any) -> None:
        """Move the running statistics towards those of the pre-activation `z`; the variance is the unbiased one."""
        n = z.shape[0]
        if n == 0:
            return
        xp, m = namespace(z), self.momentum
        mean = xp.mean(z, axis=0)
        variance = xp.sum((z - mean) ** 2, axis=0) / max(n - 1, 1)
        running["mean"][...] = (1 - m) * running["mean"] + m * mean
        running["variance"][...] = (1 - m) * running["variance"] + m * variance

    def evaluate(self, z: Array, offset: Array | None, x: Array, running: Any) -> None:
        """Add `offset` to `z` and write into `x` its columns normalised by the running statistics."""
        if offset is not None:
            z += offset
        if family(z) == "numpy":
            columns.normalise(z, running["mean"], running["variance"], float(self.eps), x)
            return
        x[...] = (z - running["mean"]) / namespace(z).sqrt(running["variance"] + self.eps)

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
        """Overwrite the pull by the residual; a relative nudge takes one scale for all rows, which are coupled."""
        if family(z) != "numpy" or z.shape[0] == 0:
            s = self._scale(z, g, relative)
            g[...] = (self.sigma(z + (up * s) * g) - self.sigma(z - (down * s) * g)) / s
            sum_columns(g, column_sum, accumulate)
            return
        if column_sum is not None and not accumulate:
            column_sum.fill(0)
        sums = np.empty(0, z.dtype) if column_sum is None else column_sum
        columns.normalise_difference(z, g, float(up), float(down), float(relative), float(self.eps), sums)

    def _scale(self, z: Array, g: Array, relative: float) -> float:
        xp = namespace(z)
        if relative <= 0.0 or z.shape[0] == 0:
            return 1.0
        z2, g2 = float(xp.mean(z * z)) or 1.0, float(xp.mean(g * g))
        return relative * (z2 / max(g2, FLOOR * z2 + TINY)) ** 0.5


def _nothing() -> None:
    """Do nothing: there are no rows."""


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation of `width` features, with a learned gain and shift; see `BatchNormalise`."""

    width: int
    eps: float = 1e-5
    momentum: float = 0.1
    shared: bool = False

    def expand(self) -> list[Activation | Diagonal]:
        """Return the activation and the diagonal map that follows it."""
        return [BatchNormalise(self.eps, self.momentum, self.shared), Diagonal(self.width)]
