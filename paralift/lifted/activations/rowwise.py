"""What softmax and the normalisations share: their in-place work by row kernels on NumPy, by the formulas elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from paralift.kernels.arrays import Array, family
from paralift.lifted.activations.base import Activation
from paralift.lifted.activations.piecewise import Identity

IDENTITY = Identity()
_NOTHING = {np.dtype(t): np.empty(0, t) for t in (np.float32, np.float64)}


@dataclass(frozen=True)
class Rowwise(Activation):
    """An activation that couples the entries of a row and has kernels in `paralift.kernels.rows`."""

    def write(self, z: np.ndarray, x: np.ndarray) -> None:
        """Write sigma(z) into `x` by the row kernel."""
        raise NotImplementedError

    def write_difference(self, z: np.ndarray, g: np.ndarray, *scales: Any) -> None:
        """Overwrite `g` by the residual difference; scales = (up, down, relative, column_sum)."""
        raise NotImplementedError

    def activate(self, z: Array, offset: Array | None, x: Array) -> None:
        """Add `offset` to `z` and write sigma(z) into `x`."""
        if family(z) != "numpy":
            return super().activate(z, offset, x)
        if offset is not None:
            IDENTITY.activate(z, offset, z)
        self.write(z, x)

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
        """Overwrite the pull `g` by the residual, as `Activation.difference`."""
        if family(z) != "numpy":
            return super().difference(z, g, up, down, relative, column_sum, accumulate)
        if column_sum is not None and not accumulate:
            column_sum.fill(0)
        sums = _NOTHING[z.dtype] if column_sum is None else column_sum
        real = z.dtype.type
        self.write_difference(z, g, real(up), real(down), real(relative), sums)
