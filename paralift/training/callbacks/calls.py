"""How a run calls: rank 0 alone, and what is raised there all ranks raise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from paralift.parallel.collect import share
from paralift.parallel.grid import Grid
from paralift.training.callbacks.protocol import Callback, Record

LOG = logging.getLogger("paralift")


class CallbackError(RuntimeError):
    """A callback raised; the cause is what it raised."""


class Calls:
    """The callbacks of a run; collective.

    Parameters
    ----------
    grid : Grid
    callbacks : sequence of Callback or callable
        Rank 0's are called; others' do not matter.
    """

    def __init__(self, grid: Grid, callbacks: Sequence[Any]) -> None:
        self.grid = grid
        self.callbacks = [each if isinstance(each, Callback) else _Function(each) for each in callbacks]
        self.open: list[Callback] = []
        self.wanted = share(grid, bool(callbacks))

    def start(self, attributes: Mapping[str, Any], history: Sequence[Record]) -> None:
        """Call at the start; collective."""

        def begin(callback: Callback) -> None:
            callback.start(attributes, tuple(history))
            self.open.append(callback)

        self._all(self.callbacks, begin, "at the start")

    def epoch(self, record: Record) -> None:
        """Call after an epoch; collective."""
        self._all(self.callbacks, lambda callback: callback.epoch(record), f"after epoch {record['epoch']}")

    def end(self, summary: Mapping[str, Any]) -> None:
        """Call at the end; collective."""

        def close(callback: Callback) -> None:
            self.open.remove(callback)
            callback.end(summary)

        self._all(tuple(self.open), close, "at the end")

    def abandon(self) -> None:
        """Call at the end of a run that raises, on this rank; what a callback raises now is only said."""
        while self.open:
            callback = self.open.pop()
            try:
                callback.end(None)
            except Exception as error:
                LOG.warning("callback %r, at the end: %s: %s", callback, type(error).__name__, error)

    def _all(self, callbacks: Sequence[Callback], call: Callable[[Callback], None], when: str) -> None:
        if not self.wanted:
            return
        error: CallbackError | None = None
        for callback in callbacks if self.grid.rank == 0 else ():
            try:
                call(callback)
            except Exception as found:
                error = CallbackError(f"callback {callback!r}, {when}: {type(found).__name__}: {found}")
                error.__cause__ = found
                break
        self.grid.agree(error)


class _Function(Callback):
    def __init__(self, function: Callable[[Record], Any]) -> None:
        self.function = function

    def __repr__(self) -> str:
        return getattr(self.function, "__qualname__", repr(self.function))

    def epoch(self, record: Record) -> None:
        self.function(record)


def check_callbacks(given: Any) -> tuple[Any, ...]:
    """Return the callbacks of a run; TypeError unless they are a list of such."""
    if not isinstance(given, list | tuple):
        raise TypeError(f"callbacks is {given!r}, expected a list: callbacks=[{given!r}]")
    for each in given:
        if isinstance(each, type) or not (isinstance(each, Callback) or callable(each)):
            raise TypeError(
                f"callbacks: {each!r} was given, expected a paralift.callbacks.Callback, such as CSV(path), or a function "
                "that takes an epoch's record"
            )
    return tuple(given)
