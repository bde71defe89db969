"""The halo of a stage in proximal gradient iterations: x of its inputs from below, pulls on its outputs from above.

One exchange lies between two phases (`lifted.inference.orders`). Only what the phase before has changed travels up, only what
the next phase reads travels down:

    start   post receives, send the moved x up, send the pulls down that nothing under way changes
    moves   of inner variables; between two of them messages advance
    wait    for x: hand it on, send the pulls that read it; then for the pulls: add the own part, hand the sums on

What passes through is handed on as soon as it is here, between two moves if it comes early. Nothing is copied: a send leaves
from the variable's own array and is waited for just before this array is written the next time, an iteration later, so that
a second buffer would save no wait.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from paralift.lifted.inference.lifted import LiftedWindow
from paralift.lifted.stage import Stage
from paralift.parallel.grid import Grid
from paralift.parallel.persistent import PersistentMessages
from paralift.parallel.requests import test_all


@dataclass(frozen=True)
class Exchange:
    """What one stage receives (x, pulls) and sends in one exchange, as numbers of variables."""

    x_in: tuple[int, ...]
    x_own: tuple[int, ...]
    x_through: tuple[int, ...]
    g_in: tuple[int, ...]
    g_early: tuple[int, ...]
    g_late: tuple[int, ...]
    g_through: tuple[int, ...]
    next: tuple[int, ...]


def exchange_of(
    stage: Stage, moved: Collection[int], wanted: Collection[int], below: bool = True, above: bool = True
) -> Exchange:
    """Return what a stage exchanges with the stages `below` and `above`, where there are any.

    Parameters
    ----------
    stage : Stage
    moved, wanted : collection of int
        As of `Neighbours.start`.
    below, above : bool
    """
    inputs, outputs = (stage.inputs if below else ()), (stage.outputs if above else ())
    arriving = tuple(v for v in inputs if v in moved)
    pulls = [v for v in inputs if v in wanted and v in stage.pulled]
    reads = {u for u in pulls for b in stage.blocks if u in b.parents and not set(arriving).isdisjoint(b.parents)}
    through = [v for v in pulls if v in outputs]
    return Exchange(
        x_in=arriving,
        x_own=tuple(v for v in outputs if v in moved and v not in inputs),
        x_through=tuple(v for v in outputs if v in arriving),
        g_in=tuple(v for v in outputs if v in wanted and v in stage.pulled),
        g_early=tuple(v for v in pulls if v not in through and v not in reads),
        g_late=tuple(v for v in pulls if v not in through and v in reads),
        g_through=tuple(through),
        next=tuple(v for v in outputs if v in wanted and v not in inputs),
    )


class Halo(PersistentMessages):
    """Neighbours by messages (`paralift.lifted.exchange`); one exchange at a time."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid)
        self._exchanges: dict[Any, Exchange] = {}
        self._next: Exchange | None = None
        self._window: LiftedWindow | None = None
        self._legs: list[tuple[list[Any], str, tuple[int, ...], Callable[[], None]]] = []

    # Of the start

    def receive_inputs(self, window: LiftedWindow) -> None:
        """Receive the inputs' x from below and wait for it; the window may be computed anew then."""
        self.finish()
        self._begin(window, "receive x", window.stage.inputs)
        self._wait_each(window, "receive x", window.stage.inputs)

    def send_outputs(self, window: LiftedWindow) -> None:
        """Start to send the outputs' x up."""
        self._begin(window, "send x", window.stage.outputs)

    # Between phases

    def start(self, window: LiftedWindow, moved: Collection[int], wanted: Collection[int]) -> None:
        """Post the receives and send what is ready; see `Neighbours.start`."""
        if self.below is self.above is None:
            return
        key = (id(window), moved, wanted)
        if key not in self._exchanges:
            ends = self.below is not None, self.above is not None
            self._exchanges[key] = exchange_of(window.stage, moved, wanted, *ends)
        now = self._exchanges[key]
        self._window, self._next = window, now
        self._wait_each(window, "send x", now.x_through)  # what is still being handed on must not be overwritten
        x = self._begin(window, "receive x", now.x_in)
        g = self._begin(window, "receive g", now.g_in)
        self._begin(window, "send x", now.x_own)
        self._send_pulls(window, now.g_early)
        self._legs = [
            (x, "receive x", now.x_in, self._x_is_here),
            (g, "receive g", now.g_in, self._g_is_here),
        ]

    def advance(self) -> None:
        """Hand on what has come, and let large messages advance: most MPIs move them only while one of their calls runs."""
        while self._legs and (not self._legs[0][0] or test_all(self._legs[0][0])):
            self._legs.pop(0)[-1]()
        self.progress()

    def wait(self) -> None:
        """Wait for all that was started to be received, and for the arrays of what moves next to have left."""
        while self._legs:
            _, what, variables, then = self._legs.pop(0)
            self._wait_each(self._window, what, variables)
            then()
        if self._window is not None and self._next is not None:
            self._wait_each(self._window, "send x", self._next.next)

    def _x_is_here(self) -> None:
        window, now = self._window, self._next
        assert window is not None and now is not None
        for v in now.x_in:
            window.touch(v)
        self._begin(window, "send x", now.x_through)
        self._send_pulls(window, now.g_late)

    def _g_is_here(self) -> None:
        window, now = self._window, self._next
        assert window is not None and now is not None
        self._send_pulls(window, now.g_through)

    def _send_pulls(self, window: LiftedWindow, variables: Iterable[int]) -> None:
        for v in variables:
            self._wait_each(window, "send g", (v,))
            window.pull(v)
            self._begin(window, "send g", (v,))

    # Sums, and the end

    def sum_stages(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of a float64 array over the stages."""
        return self.grid.sum_stages(values)

    def sum_shards(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of a float64 array over the shards."""
        return self.grid.sum_shards(values)

    def free(self) -> None:
        """Free the requests; local."""
        super().free()
        self._exchanges.clear()

    # Requests: one variable each, because pulls leave one by one

    def _begin(self, window: LiftedWindow, what: str, variables: Iterable[int]) -> list[Any]:
        """Start the messages of one kind; return their requests."""
        return [request for v in variables for request in self._start(window, what, (v,))]

    def _wait_each(self, window: LiftedWindow | None, what: str, variables: Iterable[int]) -> None:
        """Wait for the messages of one kind, one by one: each wait has a name."""
        for v in variables:
            self._wait(window, what, (v,))

    @staticmethod
    def _array(window: LiftedWindow, what: str, v: int) -> Any:
        return window.x[v] if what.endswith("x") else window.g[v] if what == "send g" else window.remote[v]
