"""Neighbours by messages: persistent requests on the rows of windows, so that nothing is copied, packed or allocated.

A window's arrays are its own memory: a batch in flight needs no further buffering, and the two directions and the
micro-batches overlap freely. Skip connections that cross several cuts are handed on from neighbour to neighbour.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from paralift.lifted.stage import Window
from paralift.parallel.cost import FLOP_RATE
from paralift.parallel.grid import Grid
from paralift.parallel.requests import LARGE, persistent, test_all, wait_all

UP, DOWN = 0, 1
POLL = 2e-4
"""Seconds of work between two looks at messages in flight: long against a look, short against a large message."""


class Messages:
    """Exchange of auxiliary variables with the stages above and below; does nothing at the ends of the pipeline.

    Attributes
    ----------
    waited : float
        Seconds spent in waits for messages that had not arrived, or not left, yet.
    n_messages, n_bytes : int
        Sent and received so far.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.pipe = grid.pipe
        self.below = grid.stage - 1 if grid.stage > 0 else None
        self.above = grid.stage + 1 if grid.stage + 1 < grid.stages else None
        self.waited, self.n_messages, self.n_bytes = 0.0, 0, 0
        self._requests: dict[tuple[int, str], list[Any]] = {}
        self._windows: dict[int, Any] = {}
        self._bytes: dict[tuple[int, str], int] = {}
        self._sends: list[Any] = []  # all that were made: requests that are not under way count as done
        self._large: list[Any] = []

    def receive_x(self, window: Window) -> None:
        """Start to receive the inputs' x from below."""
        self._start(window, "receive x", window.stage.inputs, window.x, self.below, UP)

    def send_x(self, window: Window) -> None:
        """Start to send the outputs' x up."""
        self._start(window, "send x", window.stage.outputs, window.x, self.above, UP)

    def receive_g(self, window: Window) -> None:
        """Start to receive the pull on the outputs from above."""
        wanted = [v for v in window.stage.outputs if v in window.stage.pulled]
        self._start(window, "receive g", wanted, window.g, self.above, DOWN)

    def send_g(self, window: Window) -> None:
        """Start to send the pull on the inputs down."""
        wanted = [v for v in window.stage.inputs if v in window.stage.pulled]
        self._start(window, "send g", wanted, window.g, self.below, DOWN)

    def wait(self, window: Window, what: str) -> None:
        """Wait for the requests of one kind on a window."""
        self.waited += wait_all(self._requests.get((id(window), what), ()))

    def finish(self) -> None:
        """Wait until everything sent has left; only then may windows be computed anew."""
        self.waited += wait_all(self._sends)

    def sent(self, window: Window) -> None:
        """Wait until what was sent of one window has left; only then may its rows be computed anew."""
        for what in ("send x", "send g"):
            self.wait(window, what)

    def poll(self, window: Window) -> None:
        """Have the window's steps let messages advance about every `POLL` seconds of their work."""
        if self.pipe is None or self.below is self.above is None:
            return
        for direction in (window.steps, tuple(reversed(window.steps))):
            since = 0.0
            for step in direction:
                since += 2.0 * step.block.flops() * window.n / FLOP_RATE
                if since >= POLL:
                    step.then, since = self.progress, 0.0

    def progress(self) -> None:
        """Let messages advance: most MPIs move large ones only while one of their functions runs."""
        if self._large:
            test_all(self._large)

    def free(self) -> None:
        """Free the persistent requests; local."""
        for requests in self._requests.values():
            for request in requests:
                request.Free()
        for kept in (self._requests, self._windows, self._bytes, self._sends, self._large):
            kept.clear()

    def _start(
        self, window: Any, what: str, variables: Iterable[int], arrays: dict[int, Any], peer: int | None, way: int
    ) -> None:
        """Start the window's persistent requests of one kind, made at the first call."""
        if peer is None:
            return
        key = (id(window), what)
        if key not in self._requests:
            receives = what.startswith("receive")
            make = self.pipe.Recv_init if receives else self.pipe.Send_init
            found = {v: persistent(make, arrays[v], peer, 2 * v + way) for v in variables}
            self._requests[key] = [request for part in found.values() for request in part]
            self._bytes[key] = sum(arrays[v].nbytes for v in found)
            self._sends += [] if receives else self._requests[key]
            self._large += [request for v, part in found.items() if arrays[v].nbytes > LARGE for request in part]
            self._windows[id(window)] = window  # keeps the buffers, and so the key, alive
        requests = self._requests[key]
        for request in requests:
            request.Start()
        self.n_messages += len(requests)
        self.n_bytes += self._bytes[key]
