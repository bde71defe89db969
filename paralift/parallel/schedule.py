"""Waves: micro-batches flow forward and back, one forward and one backward in turn on each stage (1F1B).

The flushed wave runs until the pipe is empty, batch by batch. Stage s of S first takes ahead = min(S - s - 1, M) of M
micro-batches forward, then one back for each forward, then the rest back: of M + S - 1 turns S - 1 are idle.

The unflushed wave goes on with the next batch instead, so that no turn is idle. A batch enters as two halves of M / 2
micro-batches. Counting micro-batches through all halves, stage s takes i forward, then i - ahead back, ahead =
lead (S - s - 1). Before it takes the first one of a half forward, the last one of the half before last has come back if
M / 2 >= lead (S - 1): every pass can read parameters that know of all gradients but the newest half's (docs/method.md,
section 8). With a lead of 1 a message has nothing to hide behind, with 2 it has a micro-batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from paralift.kernels.arrays import Array
from paralift.lifted.inference import sweep
from paralift.lifted.stage import Window
from paralift.parallel.exchange import Messages
from paralift.parallel.reduce import GradientSum


def one_forward_one_back(stage: int, stages: int, micro_batches: int) -> Iterator[tuple[bool, int]]:
    """Yield (is forward, micro-batch) in the order of work of one stage."""
    ahead = min(stages - stage - 1, micro_batches)
    for m in range(ahead):
        yield True, m
    for m in range(micro_batches):
        if m + ahead < micro_batches:
            yield True, m + ahead
        yield False, m


def one_in_one_out(ahead: int, first: int, stop: int) -> Iterator[tuple[bool, int]]:
    """Yield (is forward, micro-batch) for the micro-batches `first` to `stop` (exclusive) of an unflushed wave."""
    for i in range(first, stop):
        yield True, i
        if i >= ahead:
            yield False, i - ahead


class FlushedWave:
    """One synchronous step over the micro-batches of a batch.

    Parameters
    ----------
    messages : Messages
    clamp : callable (window) -> summed loss
        Applied on the last stage after the forward pass.
    back : callable (window)
        The pass back.
    """

    def __init__(self, messages: Messages, clamp: object, back: object) -> None:
        self.messages = messages
        self.clamp = clamp
        self.back = back

    def run(self, windows: Sequence[Window], whole: Window, total: GradientSum) -> Array:
        """Run a batch; the gradient is summed over its rows and over the shards. Return this shard's summed loss.

        Parameters
        ----------
        windows : sequence of Window
            The micro-batches.
        whole : Window
            All their rows: weight gradients are one product over the whole batch, in the gap that the drain leaves.
        total : GradientSum
        """
        messages, value = self.messages, 0.0
        for window in windows:
            messages.receive_x(window)
            messages.receive_g(window)
        for is_forward, m in one_forward_one_back(messages.grid.stage, messages.grid.stages, len(windows)):
            window = windows[m]
            if is_forward:
                messages.wait_x(window)
                sweep.forward(window)
                messages.send_x(window)
                if window.stage.has_output:
                    value = value + self.clamp(window)  # type: ignore[operator]
            else:
                messages.wait_g(window)
                self.back(window)  # type: ignore[operator]
                messages.send_g(window)
        for step in reversed(whole.steps):
            if step.gradients:
                step.gradient()
                total.ready(step.block.name)
        total.wait()
        messages.finish()
        return value


def forward_only(messages: Messages, windows: Sequence[Window]) -> None:
    """Take the micro-batches forward, for evaluation."""
    for window in windows:
        messages.receive_x(window)
    for window in windows:
        messages.wait_x(window)
        sweep.forward(window)
        messages.send_x(window)
    messages.finish()
