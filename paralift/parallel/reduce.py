"""Sums of gradients over data shards, started block by block while the next block's gradient is computed."""

from __future__ import annotations

from typing import Any

from paralift.kernels.arrays import Array
from paralift.lifted.stage import Stage
from paralift.parallel.grid import Grid
from paralift.parallel.requests import pieces, wait_all

BUCKET = 1 << 16
"""Numbers that a message collects at least, so that small blocks do not pay a latency each."""


class GradientSum:
    """The sum of a stage's gradient over the shards, in place, last block first.

    Parameters
    ----------
    grid : Grid
    stage : Stage
    gradient : flat array, optional
        What is summed; the stage's own gradient by default.
    """

    def __init__(self, grid: Grid, stage: Stage, gradient: Array | None = None) -> None:
        self.group: Any = grid.group if grid.shards > 1 else None
        self.stage = stage
        self.gradient = stage.gradient if gradient is None else gradient
        self.waited = 0.0
        self._stop = stage.layout.trained
        self._requests: list[Any] = []

    def ready(self, block: str) -> None:
        """Say that the gradients of `block` and of all blocks behind it are final; may start a message."""
        if self.group is None:
            return
        start = self.stage.layout.span(block)[0]
        if self._stop - start >= BUCKET or start == 0:
            self._start(start)

    def wait(self) -> None:
        """Start what is left and wait for all sums."""
        if self.group is None:
            return
        if self._stop > 0:
            self._start(0)
        self.waited += wait_all(self._requests, "the sum of gradients over shards")
        self._requests.clear()
        self._stop = self.stage.layout.trained

    def _start(self, start: int) -> None:
        from mpi4py import MPI

        for low, high in pieces(start, self._stop, self.gradient.dtype.itemsize):
            self._requests.append(self.group.Iallreduce(MPI.IN_PLACE, self.gradient[low:high]))
        self._stop = start
