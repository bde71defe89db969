"""Training steps without a flush: sweeps whose gradients are late by one step, on any number of stages.

The arrays of batch k are those of slot k mod 2: rows, targets, parameters' version, requests. While stage s goes through
batch k, its passes back still belong, for the first lead (S - s - 1) micro-batches, to batch k - 1. A slot's story:

1. the update by its last batch's gradient, which writes the version that the new batch will read;
2. rows are loaded, micro-batches go forward and come back;
3. the weight gradients, one product a block over the whole batch; their sum over shards starts;
4. receives for the slot's next batch are posted: its rows are free.

With one shard the update follows the gradients at once; with several, and where a parameter is shared with another stage, the
sums travel until the slot is used again, at least one whole pass of the other slot. One rank alone, with the same delay, gives
the same result to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paralift.kernels.arrays import Array, zeros
from paralift.lifted.gradient import displacement_of
from paralift.lifted.inference import sweep
from paralift.lifted.inference.estimate import state_regularizers
from paralift.lifted.losses import Loss
from paralift.lifted.methods import Method
from paralift.lifted.network import Params
from paralift.lifted.stage import Stage, State, Window
from paralift.parallel.batch import Batch, Shard, load, targets_like
from paralift.parallel.exchange import Messages
from paralift.parallel.optimizer import OptimizerStep
from paralift.parallel.plan import Plan
from paralift.parallel.reduce import GradientSum
from paralift.parallel.schedule import one_in_one_out
from paralift.parallel.traffic import Traffic, traffic
from paralift.parallel.versions import Versions


class Slot:
    """Every second batch: its buffers, and where it stands."""

    def __init__(self, state: State, gradient: Array, total: GradientSum, targets: Array | None, version: Array) -> None:
        self.state, self.gradient, self.total, self.targets, self.version = state, gradient, total, targets, version
        self.batch: Batch | None = None
        self.parts: Sequence[Window] = ()
        self.posted = False  # whether the receives of the coming batch have been started
        self.summing = False  # whether the gradient waits to be applied
        self._windows: dict[int, tuple[Sequence[Window], Window]] = {}

    def windows(self, n: int, plan: Plan, messages: Messages) -> tuple[Sequence[Window], Window]:
        """Return the micro-batches of `n` rows, and the window of them all."""
        if n not in self._windows:
            parts = self.state.windows(plan.rows(n))
            for window in parts:
                messages.poll(window)
            self._windows[n] = (parts, self.state.window(0, n))
        return self._windows[n]


class UnflushedStep:
    """Sweeps (or the backpropagation reference) in an unflushed wave.

    Parameters
    ----------
    kappa : float
        How far passes look ahead along the last move of the parameters.
    """

    def __init__(
        self, stage: Stage, capacity: int, shard: Shard, method: Method, loss: Loss, messages: Messages, plan: Plan,
        optimizer: OptimizerStep, kappa: float,
    ) -> None:  # fmt: skip
        self.stage, self.shard, self.messages, self.plan = stage, shard, messages, plan
        self.optimizer, self.kappa, self.loss = optimizer, kappa, loss
        self.displacement, self.pulls = displacement_of(method), state_regularizers(stage.network, method)
        self.beta = method.clamp.beta
        self.ahead = plan.lead * (plan.stages - messages.grid.stage - 1)
        self.versions = Versions(stage)
        self.late_sums = False
        first = self._slot(capacity, 0)
        self.late_sums = first.total.travels
        self.slots = (first, self._slot(capacity, 1))
        self.count, self.resumed = 0, False
        # What passes through is received into the rows that it is sent from: not before it has left.
        self.early = not set(stage.inputs) & set(stage.outputs)

    def _slot(self, capacity: int, k: int) -> Slot:
        gradient, views = self.stage.gradient, self.stage.gradients
        if k and self.late_sums:  # the sum of one batch travels while the next one's gradients are written
            gradient = zeros(self.stage.gradient.shape, self.stage.like)
            views = self.stage.gradients_in(gradient)
        theta: Params = self.versions.params[k]
        state = self.stage.state(capacity, theta, apart=self.pulls, gradients=views)
        total = GradientSum(self.messages.grid, self.stage, gradient)
        return Slot(state, gradient, total, targets_like(self.shard, capacity), self.versions.flats[k])

    @property
    def state(self) -> State:
        """A state for passes with the true parameters, while the pipe is empty and the versions are settled."""
        return self.slots[0].state

    @property
    def traffic(self) -> Traffic:
        """What this rank sent and waited for so far."""
        return traffic(self.messages, [slot.total.waited for slot in self.slots])

    def energy(self, batch: Batch) -> float | None:
        """Return None: after a forward pass every penalty but the output's is zero, and E is the loss."""
        return None

    def __call__(self, batch: Batch, following: Batch | None = None) -> Any:
        """Take a batch forward, and back what comes back meanwhile.

        Parameters
        ----------
        batch : Batch
        following : Batch, optional
            The batch of the next call, if it is known that there will be one: its receives are posted ahead.

        Returns
        -------
        scalar
            This shard's summed loss of `batch` (0 on stages without the output).
        """
        slot, k, parts = self.slots[self.count % 2], self.count, self.plan.micro_batches
        if k == 0 and not self.resumed:
            self.versions.settle()
        self._update(slot)
        self._load(slot, batch)
        if self.ahead == 0 and following is not None:
            self._post(self.slots[(k + 1) % 2], following)
        value: Any = 0.0
        for is_forward, i in one_in_one_out(self.ahead, k * parts, (k + 1) * parts):
            if is_forward:
                value = value + self._forward(slot.parts[i % parts])
            else:
                self._back(i, following)
            for each in self.slots:
                if each.summing:
                    each.total.advance()
        self.count += 1
        return value

    def drain(self) -> None:
        """Take back what is in flight and apply every gradient: the true parameters are up to date, the pipe is empty."""
        self.pause()
        self.resumed = False
        self.versions.settle()

    def pause(self) -> None:
        """Drain in the middle of an epoch: batches that come behind it read what they would have read without the pause.

        A version is complete when the gradient of the batch before last is applied, which needs nothing of later batches; a
        batch whose `following` was given must come next.
        """
        n = self.count * self.plan.micro_batches
        for i in range(max(0, n - self.ahead), n):
            self._back(i, None)
        for k in (self.count, self.count + 1):  # the older gradient first
            self._update(self.slots[k % 2])
        self.messages.finish()
        if self.count % 2:
            self.slots = (self.slots[1], self.slots[0])
        self.resumed, self.count = self.resumed or self.count > 0, 0

    def in_flight(self) -> dict[str, Params]:
        """Return what the next two batches will read, after a pause: views of the trained parameters, by block."""
        found: dict[str, Params] = {}
        for name, slot in zip(("next", "after"), self.slots, strict=True):
            views = self.stage.layout.views(slot.version, tracked=self.stage.flat)
            found[name] = {b.name: {key: views[b.name][key] for key in b.trained()} for b in self.stage.blocks if b.trained()}
        return found

    def resume(self) -> None:
        """Go on behind a pause: `in_flight` has been filled from outside."""
        self.resumed = True

    def _load(self, slot: Slot, batch: Batch) -> None:
        """Bring a batch into its slot, once what was sent from there has left, and see that its receives are posted."""
        for window in slot.parts:
            self.messages.sent(window)
        slot.batch = batch
        slot.parts, _ = slot.windows(len(batch.indices), self.plan, self.messages)
        load(slot.state, self.shard, batch, slot.targets)
        if not slot.posted:
            self._post(slot, batch)
        slot.posted = False

    def _post(self, slot: Slot, batch: Batch) -> None:
        """Start the receives of a batch; the rows of its slot are free."""
        parts, _ = slot.windows(len(batch.indices), self.plan, self.messages)
        for window in parts:
            self.messages.receive_x(window)
            self.messages.receive_g(window)
        slot.posted = True

    def _forward(self, window: Window) -> Any:
        self.messages.wait_x(window)
        sweep.forward(window)
        self.messages.send_x(window)
        return sweep.clamp(window, self.loss, self.beta) if self.stage.has_output else 0.0

    def _back(self, i: int, following: Batch | None) -> None:
        """Take micro-batch `i` back; after the last one of a batch come the weight gradients."""
        k, m = divmod(i, self.plan.micro_batches)
        slot = self.slots[k % 2]
        window = slot.parts[m]
        self.messages.wait_g(window)
        sweep.backward(window, self.displacement, self.pulls, self.beta)
        self.messages.send_g(window)
        if m + 1 == self.plan.micro_batches:
            self._gradients(slot)
            if self.ahead and self.early and following is not None:
                self._post(slot, following)

    def _gradients(self, slot: Slot) -> None:
        """Compute the gradients of a batch that has come back; each block's sum over shards starts when it is final."""
        assert slot.batch is not None
        _, whole = slot.windows(len(slot.batch.indices), self.plan, self.messages)
        for step in reversed(whole.steps):
            if step.gradients:
                step.gradient()
                slot.total.ready(step.block.name)
        slot.summing = True
        if not self.late_sums:
            self._update(slot)

    def _update(self, slot: Slot) -> None:
        """Apply the slot's gradient, if there is one; the slot's version then looks ahead of the new parameters."""
        if not slot.summing:
            return
        assert slot.batch is not None
        slot.total.wait()
        slot.summing = False
        trained = slot.gradient[: self.stage.layout.trained]
        scale = 1.0 / (self.beta * slot.batch.size)
        self.optimizer(slot.batch.step, scale, trained, slot.version, self.kappa)
