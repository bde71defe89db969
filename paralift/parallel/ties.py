"""Sums of the gradients of tied parameters over their replicas, on one stage and across the stages of a shard.

What a stage has of a tie is summed in place first. Ties that cross stages travel in one message: a nonblocking sum among the
stages of the shard that have a replica, started when their gradients are final and needed when they are applied. It
comes last, behind the sum over shards: every replica on every rank is then a copy of the same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from paralift.kernels.arrays import Array, zeros
from paralift.lifted.stage import Stage
from paralift.lifted.ties import add_replicas, replicas_here
from paralift.parallel.grid import Grid
from paralift.parallel.requests import pieces, test_all, wait_all


class TiedSum:
    """The gradients of a stage's tied parameters, summed over their replicas; collective over the stages of the shard.

    Parameters
    ----------
    grid : Grid
    stage : Stage
    gradient : flat array
        What is summed, in place.

    Attributes
    ----------
    crosses : bool
        Whether this stage shares a parameter with another.
    lowest : str or None
        Its first block with a tied parameter.
    """

    def __init__(self, grid: Grid, stage: Stage, gradient: Array) -> None:
        ties = stage.network.ties
        self.replicas = replicas_here(ties, stage.layout.views(gradient))
        tied = {name for tie in ties for name in tie.blocks}
        self.lowest = next((b.name for b in stage.blocks if b.name in tied), None)
        self.crosses, self.waited = False, 0.0
        self._comm: Any = None
        self._requests: list[Any] = []
        self._started = False
        if not ties or grid.stages == 1:
            return
        has = np.array([bool(group) for group in self.replicas])
        crossing = [k for k, n in enumerate(grid.sum_stages(has.astype(np.float64))) if n > 1]
        self.crosses = any(has[k] for k in crossing)
        self._comm = grid.among_stages(self.crosses)
        if not self.crosses:
            return
        sizes = [int(np.prod(ties[k].shape)) for k in crossing]
        ends = np.cumsum([0, *sizes])
        self._buffer = zeros((int(ends[-1]),), stage.like)
        self._parts = [
            (self.replicas[k], self._buffer[i:j].reshape(ties[k].shape))
            for k, i, j in zip(crossing, ends, ends[1:], strict=False)
        ]

    def start(self) -> None:
        """Start the sum, unless it has started: the gradients, summed over shards, are final."""
        if self._started:
            return
        self._started = True
        add_replicas(self.replicas)
        if not self.crosses:
            return
        from mpi4py import MPI

        for own, part in self._parts:
            part[...] = own[0] if own else 0.0
        for low, high in pieces(0, self._buffer.shape[0], self._buffer.dtype.itemsize):
            self._requests.append(self._comm.Iallreduce(MPI.IN_PLACE, self._buffer[low:high]))

    def poll(self) -> None:
        """Let the sum advance."""
        if self._requests:
            test_all(self._requests)

    def wait(self) -> None:
        """Start the sum if it has not started, wait for it, and hand it to all replicas of this stage."""
        self.start()
        self._started = False
        if not self.crosses:
            return
        self.waited += wait_all(self._requests, "the sum of tied gradients over stages")
        self._requests.clear()
        for own, part in self._parts:
            for replica in own:
                replica[...] = part
