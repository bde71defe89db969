"""One training step of a rank by sweeps: from the rows of a batch to moved parameters."""

from __future__ import annotations

from collections.abc import Sequence

from paralift.kernels.arrays import Array
from paralift.lifted.gradient import displacement_of
from paralift.lifted.inference import sweep
from paralift.lifted.inference.estimate import state_regularizers
from paralift.lifted.losses import Loss
from paralift.lifted.methods import Method
from paralift.lifted.stage import Stage, State, Window
from paralift.parallel.batch import Batch, Shard, load, targets_like
from paralift.parallel.exchange import Messages
from paralift.parallel.optimizer import OptimizerStep
from paralift.parallel.plan import Plan
from paralift.parallel.reduce import GradientSum
from paralift.parallel.schedule import FlushedWave
from paralift.parallel.traffic import Traffic, traffic


class SweepStep:
    """Sweeps (or the backpropagation reference) in a flushed wave, then the optimiser."""

    def __init__(
        self, stage: Stage, capacity: int, shard: Shard, method: Method, loss: Loss, messages: Messages, plan: Plan,
        optimizer: OptimizerStep, total: GradientSum,
    ) -> None:  # fmt: skip
        self.stage, self.shard, self.plan, self.messages = stage, shard, plan, messages
        displacement, pulls = displacement_of(method), state_regularizers(stage.network, method)
        self.state: State = stage.state(capacity, apart=pulls)
        self.targets = targets_like(shard, capacity)
        self.optimizer, self.total = optimizer, total
        self.beta = method.clamp.beta

        def clamp(window: Window) -> Array:
            return sweep.clamp(window, loss, self.beta)

        def back(window: Window) -> None:
            sweep.backward(window, displacement, pulls, self.beta)

        self.wave = FlushedWave(messages, clamp, back)
        self._windows: dict[int, tuple[Sequence[Window], Window]] = {}

    def windows(self, n: int) -> tuple[Sequence[Window], Window]:
        """Return the micro-batches of `n` rows and the window of them all."""
        if n not in self._windows:
            parts = self.state.windows(self.plan.rows(n))
            for window in parts:
                self.messages.poll(window)
            self._windows[n] = (parts, self.state.window(0, n))
        return self._windows[n]

    def __call__(self, batch: Batch, following: Batch | None = None) -> Array:
        """Train on a batch; return this shard's summed loss (0 on stages without the output)."""
        load(self.state, self.shard, batch, self.targets)
        parts, whole = self.windows(len(batch.indices))
        value = self.wave.run(parts, whole, self.total)
        self.optimizer(batch.step, 1.0 / (self.beta * batch.size))
        return value

    @property
    def traffic(self) -> Traffic:
        """What this rank sent and waited for so far."""
        return traffic(self.messages, [self.total.waited])

    def drain(self) -> None:
        """Do nothing: the pipe is empty after each batch."""

    def pause(self) -> None:
        """Do nothing, in the middle of an epoch either."""

    def energy(self, batch: Batch) -> float | None:
        """Return None: after a forward pass every penalty but the output's is zero, and E is the loss."""
        return None
