"""The parameters that passes of the unflushed wave read: extrapolated, two versions of them.

A gradient taken at theta_t is applied one step late, to theta_(t+1). Passes of batch k therefore read not the newest parameters
that they could have, theta_(k-1), but a guess of theta_k:

    theta_hat_k = theta_(k-1) + kappa (theta_(k-1) - theta_(k-2))

Batches k and k + 1 are in flight at once, each forward and back through its own version. The true parameters are those that the
optimiser and its proximal map leave: they alone are evaluated, saved and returned.
"""

from __future__ import annotations

import sys
from typing import Any

from paralift.kernels.arrays import Array, zeros
from paralift.lifted.network import Params
from paralift.lifted.stage import Stage


class Versions:
    """Two versions of a stage's parameters; batch k reads version k mod 2.

    Parameters
    ----------
    stage : Stage

    Attributes
    ----------
    flats : tuple of two flat arrays
        The trained part of each version.
    params : tuple of two mappings
        Views of them; running statistics are the stage's own.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.trained = stage.flat[: stage.layout.trained]
        self.flats: tuple[Array, Array] = (self._new(), self._new())
        self.params: tuple[Params, Params] = tuple(  # type: ignore[assignment]
            stage.layout.views(flat, tracked=stage.flat) for flat in self.flats
        )

    def _new(self) -> Any:
        return zeros(self.trained.shape, self.stage.like)

    def settle(self) -> None:
        """Set both versions to the true parameters: no gradient is on its way."""
        for flat in self.flats:
            flat[...] = self.trained


def read_kappa(value: Any) -> float:
    """Return how far passes look ahead; raise ValueError unless it is a finite number of at least 0."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else -1.0
    if not 0.0 <= number <= sys.float_info.max:  # whole numbers may be larger than any float
        raise ValueError(f"kappa is {value!r}, expected a finite number of at least 0; None takes the update rule's own")
    return float(number)
