"""Neighbours by messages: persistent requests on the rows of windows, so that nothing is copied, packed or allocated.

A window's arrays are its own memory: a batch in flight needs no further buffering, and the two directions and the
micro-batches overlap freely. Skip connections that cross several cuts are handed on from neighbour to neighbour.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from paralift.lifted.inference.lifted import LiftedWindow
from paralift.lifted.stage import Window
from paralift.parallel.grid import Grid

UP, DOWN = 0, 1


class Messages:
    """Exchange of auxiliary variables with the stages above and below; does nothing at the ends of the pipeline."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.pipe = grid.pipe
        self.below = grid.stage - 1 if grid.stage > 0 else None
        self.above = grid.stage + 1 if grid.stage + 1 < grid.stages else None
        self._requests: dict[tuple[int, str], list[Any]] = {}
        self._windows: dict[int, Any] = {}
        self._sends: list[Any] = []

    def receive_x(self, window: Window | LiftedWindow) -> None:
        """Start to receive the inputs' x from below."""
        self._start(window, "receive x", window.stage.inputs, window.x, self.below, UP)

    def send_x(self, window: Window | LiftedWindow) -> None:
        """Start to send the outputs' x up."""
        self._sends += self._start(window, "send x", window.stage.outputs, window.x, self.above, UP)

    def receive_g(self, window: Window) -> None:
        """Start to receive the pull on the outputs from above."""
        wanted = [v for v in window.stage.outputs if v in window.stage.pulled]
        self._start(window, "receive g", wanted, window.g, self.above, DOWN)

    def send_g(self, window: Window | LiftedWindow) -> None:
        """Start to send the pull on the inputs down."""
        wanted = [v for v in window.stage.inputs if v in window.stage.pulled]
        self._sends += self._start(window, "send g", wanted, window.g, self.below, DOWN)

    def wait(self, window: Window | LiftedWindow, what: str) -> None:
        """Wait for the requests of one kind on a window."""
        for request in self._requests.get((id(window), what), ()):
            request.Wait()

    def finish(self) -> None:
        """Wait until everything sent has left; only then may windows be computed anew."""
        for request in self._sends:
            request.Wait()
        self._sends.clear()

    def receive_inputs(self, window: LiftedWindow) -> None:
        """Receive the inputs' x from below and wait for it."""
        self.receive_x(window)
        self.wait(window, "receive x")

    def send_outputs(self, window: LiftedWindow) -> None:
        """Send the outputs' x up and wait until it has left."""
        self.send_x(window)
        self.finish()

    def swap(self, window: LiftedWindow) -> None:
        """Bring the inputs' x and the pull on the outputs up to date: x goes up, then pulls go down."""
        self.receive_x(window)
        own, handed_on = _split(window.stage.outputs, window.stage.inputs)
        self._sends += self._start(window, "send own x", own, window.x, self.above, UP)
        self.wait(window, "receive x")
        self._sends += self._start(window, "send passing x", handed_on, window.x, self.above, UP)
        if self.below is not None:
            for v in window.stage.inputs:
                window.touch(v)
        self._swap_pulls(window)
        self.finish()

    def _swap_pulls(self, window: LiftedWindow) -> None:
        pulled = window.stage.pulled
        wanted = [v for v in window.stage.outputs if v in pulled]
        self._start(window, "receive remote", wanted, window.remote, self.above, DOWN)
        own, handed_on = _split([v for v in window.stage.inputs if v in pulled], window.stage.outputs)
        for name, variables in (("send own g", own), ("send passing g", handed_on)):
            if name == "send passing g":
                self.wait(window, "receive remote")
            if self.below is not None:
                for v in variables:
                    window.pull(v)
                self._sends += self._start(window, name, variables, window.g, self.below, DOWN)

    def sum_stages(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of a float64 array over the stages."""
        return self.grid.sum_stages(values)

    def sum_shards(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of a float64 array over the shards."""
        return self.grid.sum_shards(values)

    def free(self) -> None:
        """Free the persistent requests; local."""
        for requests in self._requests.values():
            for request in requests:
                request.Free()
        self._requests.clear()
        self._windows.clear()

    def _start(
        self, window: Any, what: str, variables: Iterable[int], arrays: dict[int, Any], peer: int | None, way: int
    ) -> list[Any]:
        """Start the window's persistent requests of one kind, made at the first call; return them."""
        if peer is None:
            return []
        key = (id(window), what)
        if key not in self._requests:
            make = self.pipe.Recv_init if what.startswith("receive") else self.pipe.Send_init
            self._requests[key] = [make(arrays[v], peer, 2 * v + way) for v in variables]
            self._windows[id(window)] = window  # keeps the buffers, and so the key, alive
        for request in self._requests[key]:
            request.Start()
        return self._requests[key]


def _split(variables: Iterable[int], passing: Iterable[int]) -> tuple[list[int], list[int]]:
    """Return the variables that are this stage's own affair, and those that only pass through it."""
    through = set(passing)
    listed = list(variables)
    return [v for v in listed if v not in through], [v for v in listed if v in through]
