"""Signals as wishes: SIGUSR1 asks for a checkpoint, SIGUSR2 and SIGTERM for a checkpoint and the end.

A handler only takes the wish down; the loop over batches tells the other ranks and fulfils it when all know of it.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

SAVE = ("SIGUSR1",)
STOP = ("SIGUSR2", "SIGTERM")


class Signals:
    """Takes down signals while a run lasts; does nothing outside of the main thread, which alone may handle signals.

    One around another hands on what it was asked for before the other began: a program that reads its data first loses no
    wish, and one that is asked when all is done is not killed.

    Attributes
    ----------
    save, stop : bool
        What this process was asked for.
    """

    def __init__(self) -> None:
        self.save = self.stop = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for names, handler in ((SAVE, self._save), (STOP, self._stop)):
                for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
                    before = self._before[number] = signal.signal(number, handler)
                    around = getattr(before, "__self__", None)
                    if isinstance(around, Signals):
                        self.save, self.stop = self.save or around.save, self.stop or around.stop
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()

    def _save(self, number: int, frame: FrameType | None) -> None:
        self.save = True

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stop = True
