"""What this process is doing right now, for the watch that must say so when nothing goes on any more.

The slow path of every wait notes for what it waits; a wait that finds its message there notes nothing. One process runs one
training loop at a time, so that there is one note in a process.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Wait(NamedTuple):
    """A wait that lasts: since when (`time.monotonic`), and for what."""

    since: float
    what: str


class Activity:
    """The current wait, if any, and the phase of the run; written by the main thread, read by the watch's.

    Attributes
    ----------
    wait : Wait or None
    phase : str
        Such as ``"training, epoch 3"``.
    batch : int
        Of the epoch, counted from 1; 0 outside of training.
    """

    def __init__(self) -> None:
        self.wait: Wait | None = None
        self.phase, self.batch = "", 0

    @property
    def where(self) -> str:
        """The phase, and the batch if there is one."""
        return f"{self.phase}, batch {self.batch}" if self.batch else self.phase

    def enter(self, phase: str) -> None:
        """Begin a phase."""
        self.phase, self.batch = phase, 0

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Note a wait while the block runs."""
        before, self.wait = self.wait, Wait(time.monotonic(), what)
        try:
            yield
        finally:
            self.wait = before


ACTIVITY = Activity()
"""Of this process."""
