"""Looks at all ranks while they train: whether the loss is finite, and what signals ask for. Nobody waits for anybody.

A look is a sum over all ranks that is started after one batch and read at the next look. All ranks read the same sums after
the same batches, and so do the same: raise, save, stop, and choose when the next look is, about a second later.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from paralift.parallel.grid import Grid, PendingSum
from paralift.training.signals import Signals

EVERY = 1.0
"""Seconds between two looks, as long as no more than `MOST` batches lie between them."""
MOST = 100


@dataclass(frozen=True)
class Look:
    """What all ranks said.

    Attributes
    ----------
    loss : float
        Summed over the batches of the epoch so far; NaN or infinite where it or a parameter is.
    save, stop : bool
        Whether a rank was asked for a checkpoint, and for the end.
    batch : int
        After which the look was started.
    """

    loss: float
    save: bool
    stop: bool
    batch: int


class Looks:
    """The looks of a run.

    Parameters
    ----------
    grid : Grid
    signals : Signals
    """

    def __init__(self, grid: Grid, signals: Signals) -> None:
        self.grid, self.signals = grid, signals
        self.pending: tuple[PendingSum, int] | None = None
        self.every = 1
        self._since = (time.perf_counter(), 0)

    def start_epoch(self, batch: int) -> None:
        """Begin to count anew from a batch."""
        self._since = (time.perf_counter(), batch)

    def due(self, batches: int) -> bool:
        """Return whether there is a look after so many batches of the epoch; the same on all ranks."""
        return batches % self.every == 0

    def next(self, loss: float, batches: int) -> Look | None:
        """Start a look, and return the one before, if there is one; collective, but nobody waits for this look."""
        found = self.last()
        self.pending = (self.grid.start_sum(self._said(loss, batches)), batches)
        return found

    def last(self) -> Look | None:
        """Return the look on its way, if there is one; collective."""
        if self.pending is None:
            return None
        total, batches = self.pending
        self.pending = None
        return self._read(total.wait(), batches)

    def now(self, loss: float, batches: int) -> Look:
        """Look and wait for it; collective."""
        return self._read(self.grid.sum(self._said(loss, batches)), batches)

    def _said(self, loss: float, batches: int) -> np.ndarray:
        began, first = self._since
        seconds = (time.perf_counter() - began) / max(1, batches - first)
        wishes = self.signals.save, self.signals.stop
        self.signals.save = False  # said once; the end is wished for until it comes
        return np.array([loss, *wishes, seconds / self.grid.size])

    def _read(self, total: np.ndarray, batches: int) -> Look:
        loss, save, stop, seconds = map(float, total)
        self.every = max(1, min(MOST, math.ceil(EVERY / max(seconds, 1e-9))))
        return Look(loss, save > 0, stop > 0, batches)
