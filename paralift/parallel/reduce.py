"""Sums of gradients over data shards, started block by block while the next block's gradient is computed."""

from __future__ import annotations

from typing import Any

from paralift.lifted.stage import Stage
from paralift.parallel.grid import Grid

BUCKET = 1 << 16
"""Numbers that a message collects at least, so that small blocks do not pay a latency each."""


class GradientSum:
    """The sum of a stage's gradient over the shards, in place, last block first."""

    def __init__(self, grid: Grid, stage: Stage) -> None:
        self.group: Any = grid.group if grid.shards > 1 else None
        self.stage = stage
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
        for request in self._requests:
            request.Wait()
        self._requests.clear()
        self._stop = self.stage.layout.trained

    def _start(self, start: int) -> None:
        from mpi4py import MPI

        part = self.stage.gradient[start : self._stop]
        self._requests.append(self.group.Iallreduce(MPI.IN_PLACE, part))
        self._stop = start
