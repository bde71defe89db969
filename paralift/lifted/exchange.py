"""What the lifted algorithms ask of the outside: neighbours above and below, and sums over all.

`paralift.parallel` implements these protocols by messages; on one rank the neighbours are walls.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

import numpy as np


class Neighbours(Protocol):
    """The stages above and below."""

    def receive_inputs(self, window: Any) -> None:
        """Fill ``window.x[v]`` for the stage's inputs with what the stage below computed."""

    def send_outputs(self, window: Any) -> None:
        """Start to send ``window.x[v]`` for the stage's outputs to the stage above."""

    def start(self, window: Any, moved: Collection[int], wanted: Collection[int]) -> None:
        """Start to bring the window up to date with the neighbours.

        Until `wait`, variables may be moved that meet no other stage (`orders.Phase.inner`).

        Parameters
        ----------
        window : LiftedWindow
        moved : collection of int
            Variables of the whole network that have moved since the last exchange: ``window.x`` of the inputs among them
            is received.
        wanted : collection of int
            Variables of the whole network that move next: ``window.remote`` of the outputs among them is received.
        """

    def advance(self) -> None:
        """Let messages under way advance; called between two moves."""

    def wait(self) -> None:
        """Wait until all that `start` asked for is there, and until the variables that move next may be overwritten."""

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

    def start(self, window: Any, moved: Collection[int], wanted: Collection[int]) -> None:
        """Do nothing: all variables are here."""

    def advance(self) -> None:
        """Do nothing."""

    def wait(self) -> None:
        """Do nothing."""

    def sum_stages(self, values: np.ndarray) -> np.ndarray:
        """Return `values`."""
        return values

    def sum_shards(self, values: np.ndarray) -> np.ndarray:
        """Return `values`."""
        return values
