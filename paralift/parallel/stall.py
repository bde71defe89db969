"""The stall watch: a thread that names what a rank waits for when nothing comes, and ends the job when it lasts too long.

A rank that is stopped, a link that is cut, a collective that one rank does not reach: MPI reports none of them. The rank that
waits knows for what and for whom. After a tenth of `patience` it says so, after all of it it ends the job.
"""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Any

from paralift.exits import STALLED
from paralift.parallel.activity import ACTIVITY, Wait
from paralift.parallel.ending import end_job

LOG = logging.getLogger("paralift")
WARN = 0.1
"""Share of the patience after which a wait is named."""


class StallWatch:
    """Watches this rank while the block runs; does nothing on one rank. Time in which this process is stopped is no wait.

    Parameters
    ----------
    world : mpi4py.MPI.Comm or None
        All ranks of the run.
    patience : float
        Seconds.
    """

    def __init__(self, world: Any, patience: float) -> None:
        self.world, self.patience = world, patience
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="paralift stall watch", daemon=True)

    def __enter__(self) -> StallWatch:
        if self.world is not None and self.world.Get_size() > 1:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        known: Wait | None = None
        named, lost, before = False, 0.0, time.monotonic()
        tick = min(1.0, self.patience * WARN / 2)
        while not self._end.wait(tick):
            now = time.monotonic()
            stopped, before = max(0.0, now - before - 2 * tick), now
            wait = ACTIVITY.wait
            if wait is not known:
                known, named, lost = wait, False, 0.0
            if wait is None:
                continue
            if wait.since <= now - stopped:
                lost += stopped  # this process slept itself, as all ranks do that a batch system suspends
            seconds = now - wait.since - lost
            if seconds >= self.patience:
                self._give_up(wait, seconds)
            elif seconds >= self.patience * WARN and not named:
                named = True
                LOG.warning("%s; the job is ended after %g s", self._text(wait, seconds), self.patience)

    def _text(self, wait: Wait, seconds: float) -> str:
        return f"has waited {seconds:.3g} s for {wait.what} ({ACTIVITY.where})"

    def _give_up(self, wait: Wait, seconds: float) -> None:
        LOG.error("%s: that is too long, the job is ended", self._text(wait, seconds))
        end_job(self.world, STALLED)
