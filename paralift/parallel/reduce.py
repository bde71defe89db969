"""Sums of gradients over data shards, started block by block while the next block's gradient is computed.

Gradients of tied parameters are then summed over their replicas.
"""

from __future__ import annotations

from typing import Any

from paralift.kernels.arrays import Array
from paralift.lifted.stage import Stage
from paralift.parallel.grid import Grid
from paralift.parallel.requests import pieces, test_all, wait_all
from paralift.parallel.ties import TiedSum

BUCKET = 1 << 16
"""Numbers that a message collects at least, so that small blocks do not pay a latency each."""


class GradientSum:
    """The sum of a stage's gradient over the shards, in place, last block first; of tied parameters also over replicas.

    Made by all stages together, each of which waits for every batch.

    Parameters
    ----------
    grid : Grid
    stage : Stage
    gradient : flat array, optional
        What is summed; the stage's own gradient by default.

    Attributes
    ----------
    travels : bool
        Whether other ranks have a part in it.
    """

    def __init__(self, grid: Grid, stage: Stage, gradient: Array | None = None) -> None:
        self.group: Any = grid.group if grid.shards > 1 else None
        self.stage = stage
        self.gradient = stage.gradient if gradient is None else gradient
        self.ties = TiedSum(grid, stage, self.gradient)
        self.travels = self.group is not None or self.ties.crosses
        self._waited = 0.0
        self._stop = stage.layout.trained
        self._requests: list[Any] = []

    def ready(self, block: str) -> None:
        """Say that the gradients of `block` and of all blocks behind it are final; may start a message."""
        if self.group is None:
            if block == self.ties.lowest:
                self.ties.start()
            return
        start = self.stage.layout.span(block)[0]
        if self._stop - start >= BUCKET or start == 0:
            self._start(start)

    def complete(self) -> None:
        """Say that all gradients are final: what is left starts to travel."""
        if self.group is not None and self._stop > 0:
            self._start(0)

    @property
    def waited(self) -> float:
        """Seconds waited for other ranks."""
        return self._waited + self.ties.waited

    def advance(self) -> None:
        """Let messages advance, once the gradients are `complete`; replicas are summed when the shards have been."""
        if self.ties.crosses and (not self._requests or test_all(self._requests)):
            self.ties.start()
            self.ties.poll()

    def wait(self) -> None:
        """Start what is left and wait for all sums."""
        self.complete()
        if self.group is not None:
            self._waited += wait_all(self._requests, "the sum of gradients over shards")
            self._requests.clear()
            self._stop = self.stage.layout.trained
        self.ties.wait()

    def _start(self, start: int) -> None:
        from mpi4py import MPI

        for low, high in pieces(start, self._stop, self.gradient.dtype.itemsize):
            self._requests.append(self.group.Iallreduce(MPI.IN_PLACE, self.gradient[low:high]))
        self._stop = start
