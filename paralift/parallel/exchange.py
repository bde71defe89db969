"""Neighbours by messages: persistent requests on the rows of windows, so that nothing is copied, packed or allocated.

A window's arrays are its own memory: a batch in flight needs no further buffering, and the two directions and the
micro-batches overlap freely. Skip connections that cross several cuts are handed on from neighbour to neighbour.
"""

from __future__ import annotations

from typing import Any

from paralift.lifted.stage import Window
from paralift.parallel.cost import FLOP_RATE
from paralift.parallel.persistent import PersistentMessages

POLL = 2e-4
"""Seconds of work between two looks at messages in flight: long against a look, short against a large message."""


class Messages(PersistentMessages):
    """Exchange of auxiliary variables with the stages above and below; does nothing at the ends of the pipeline."""

    def receive_x(self, window: Window) -> None:
        """Start to receive the inputs' x from below."""
        self._start(window, "receive x", window.stage.inputs)

    def send_x(self, window: Window) -> None:
        """Start to send the outputs' x up."""
        self._start(window, "send x", window.stage.outputs)

    def receive_g(self, window: Window) -> None:
        """Start to receive the pull on the outputs from above."""
        self._start(window, "receive g", window.stage.pulled_outputs)

    def send_g(self, window: Window) -> None:
        """Start to send the pull on the inputs down."""
        self._start(window, "send g", window.stage.pulled_inputs)

    def wait_x(self, window: Window) -> None:
        """Wait for the inputs' x."""
        self._wait(window, "receive x", window.stage.inputs)

    def wait_g(self, window: Window) -> None:
        """Wait for the pull on the outputs."""
        self._wait(window, "receive g", window.stage.pulled_outputs)

    def sent(self, window: Window) -> None:
        """Wait until what was sent of one window has left; only then may its rows be computed anew."""
        self._wait(window, "send x", window.stage.outputs)
        self._wait(window, "send g", window.stage.pulled_inputs)

    def poll(self, window: Window) -> None:
        """Have the window's steps let messages advance about every `POLL` seconds of their work."""
        if self.below is self.above is None:
            return
        for direction in (window.steps, tuple(reversed(window.steps))):
            since = 0.0
            for step in direction:
                since += 2.0 * step.block.flops() * window.n / FLOP_RATE
                if since >= POLL:
                    step.then, since = self.progress, 0.0

    @staticmethod
    def _array(window: Any, what: str, v: int) -> Any:
        return window.x[v] if what.endswith("x") else window.g[v]
