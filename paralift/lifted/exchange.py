"""What the lifted algorithms ask of the outside: neighbours above and below, and sums over all.

`paralift.parallel` implements these protocols by messages; on one rank the neighbours are walls.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Neighbours(Protocol):
    """The stages above and below."""

    def receive_inputs(self, window: Any) -> None:
        """Fill ``window.x[v]`` for the stage's inputs with what the stage below computed."""

    def send_outputs(self, window: Any) -> None:
        """Send ``window.x[v]`` for the stage's outputs to the stage above."""

    def swap(self, window: Any) -> None:
        """Bring ``window.x`` of the inputs and ``window.remote`` of the outputs up to date with the neighbours."""

    def sum_stages(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of a small float64 array over the stages."""

    def sum_shards(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of a small float64 array over the shards."""


class Walls:
    """No neighbours: one stage, one shard."""

    def receive_inputs(self, window: Any) -> None:
        """Do nothing: the input is loaded."""

    def send_outputs(self, window: Any) -> None:
        """Do nothing: nobody reads the output."""

    def swap(self, window: Any) -> None:
        """Do nothing."""

    def sum_stages(self, values: np.ndarray) -> np.ndarray:
        """Return `values`."""
        return values

    def sum_shards(self, values: np.ndarray) -> np.ndarray:
        """Return `values`."""
        return values
