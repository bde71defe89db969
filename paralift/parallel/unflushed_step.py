"""Training steps without a flush: batches go through as two halves, whose passes read parameters that know of all but one half.

A gradient is complete only when its last micro-batch has come back to the first stage, and by then the next batch has entered.
So the first half of batch k reads a forecast, its second half the parameters themselves:

    theta_hat_(k+1) = what step(theta_k, ·) would give with the gradient of the first half of batch k alone
    theta_(k+1)     = step(theta_k, gradient of both halves)

Each half has buffers of its own, used by every batch in turn: rows, targets, gradient, requests. While stage s goes through one
half, its passes back still belong, for the first lead (S - s - 1) micro-batches, to the half before. The story of each:

1. the gradient of its last batch becomes the forecast (first half) or, with that of the other half, the update (second half);
2. rows are loaded, micro-batches go forward and come back through the same parameters;
3. the weight gradients, one product a block over all its rows; their sum over shards starts;
4. receives for the next batch are posted: its rows are free.

Gradients are used at once; those whose sums over shards or replicas travel, when their half is entered again. One rank alone
does the same, and gives the same result to rounding: which samples form which half depends on neither stages nor shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paralift.kernels.arrays import Array, zeros
from paralift.lifted.gradient import displacement_of
from paralift.lifted.inference import sweep
from paralift.lifted.inference.estimate import state_regularizers
from paralift.lifted.losses import Loss
from paralift.lifted.maps.combine import add
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


class Half:
    """The first or the second half of every batch: its buffers, and where it stands."""

    def __init__(self, state: State, gradient: Array, total: GradientSum, targets: Array | None) -> None:
        self.state, self.total, self.targets = state, total, targets
        self.gradient = gradient[: state.stage.layout.trained]
        self.batch: Batch | None = None
        self.scale = 0.0  # makes its gradient that of a mean
        self.parts: Sequence[Window] = ()
        self.posted = False  # whether the receives of the coming batch have been started
        self.summing = False  # whether the gradient waits to be used
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

    Attributes
    ----------
    forecast : flat array
        The trained parameters that the first half of the next batch reads.
    """

    def __init__(
        self, stage: Stage, capacity: int, shard: Shard, method: Method, loss: Loss, messages: Messages, plan: Plan,
        optimizer: OptimizerStep,
    ) -> None:  # fmt: skip
        self.stage, self.shard, self.messages, self.plan = stage, shard, messages, plan
        self.optimizer, self.loss = optimizer, loss
        self.displacement, self.pulls = displacement_of(method), state_regularizers(stage.network, method)
        self.beta = method.clamp.beta
        self.ahead = plan.lead * (plan.stages - messages.grid.stage - 1)
        self.theta = stage.flat[: stage.layout.trained]
        self.forecast: Array = zeros(self.theta.shape, stage.like)
        room = (capacity + 1) // 2
        hat = stage.layout.views(self.forecast, tracked=stage.flat)
        own = zeros(stage.gradient.shape, stage.like)
        self.halves = (self._half(room, hat, own), self._half(room, stage.params, stage.gradient))
        self.travels = self.halves[0].total.travels
        # Passes back of the next batch already write their parts of the first gradient while the second one's sum travels.
        self.first: Array = zeros(self.theta.shape, stage.like) if self.travels else self.halves[0].gradient
        self.count, self.resumed = 0, False
        # What passes through is received into the rows that it is sent from: not before it has left.
        self.early = not set(stage.inputs) & set(stage.outputs)

    def _half(self, room: int, theta: Params, gradient: Array) -> Half:
        state = self.stage.state(room, theta, apart=self.pulls, gradients=self.stage.gradients_in(gradient))
        total = GradientSum(self.messages.grid, self.stage, gradient)
        return Half(state, gradient, total, targets_like(self.shard, room))

    @property
    def state(self) -> State:
        """A state for passes with the true parameters, while the pipe is empty."""
        return self.halves[1].state

    @property
    def traffic(self) -> Traffic:
        """What this rank sent and waited for so far."""
        return traffic(self.messages, [half.total.waited for half in self.halves])

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
        if self.count == 0 and not self.resumed:
            self.forecast[...] = self.theta  # nothing is under way: they are known
        rows = self.stage.network.rows
        first, second = batch.halves(rows)
        after = None if following is None else following.halves(rows)[0]
        # the forecast is made of the first half's gradient, the update of both
        value = self._take(first, 1.0 / (self.beta * first.size), second)
        return value + self._take(second, 1.0 / (self.beta * batch.size), after)

    def _take(self, batch: Batch, scale: float, following: Batch | None) -> Any:
        """Take half a batch forward, and back what comes back meanwhile.

        Parameters
        ----------
        batch : Batch
            The half.
        scale : float
            Of the gradient that is used once the half has come back.
        following : Batch, optional
            The half behind it.
        """
        k, parts = self.count, self.plan.parts
        half, other = self.halves[k % 2], self.halves[1 - k % 2]
        self._use(half)
        self._load(half, batch, scale)
        if self.ahead == 0 and following is not None:
            self._post(other, following)
        value: Any = 0.0
        for is_forward, i in one_in_one_out(self.ahead, k * parts, (k + 1) * parts):
            if is_forward:
                value = value + self._forward(half.parts[i % parts])
            else:
                self._back(i, following)
            for each in self.halves:
                if each.summing:
                    each.total.advance()
        self.count += 1
        return value

    def drain(self) -> None:
        """Take back what is in flight and apply every gradient: the parameters are up to date, the pipe is empty."""
        self.pause()
        self.resumed = False

    def pause(self) -> None:
        """Drain in the middle of an epoch: the batches behind it read what they would have read without the pause.

        A forecast is complete when the first half of the batch before has come back, which needs nothing of later batches; a
        batch whose `following` was given must come next.
        """
        n = self.count * self.plan.parts
        for i in range(max(0, n - self.ahead), n):
            self._back(i, None)
        for half in self.halves:
            self._use(half)
        self.messages.finish()
        self.resumed, self.count = self.resumed or self.count > 0, 0

    def in_flight(self) -> Params:
        """Return what the first half of the next batch will read, after a pause: views of the trained parameters, by block."""
        views = self.stage.layout.views(self.forecast, tracked=self.stage.flat)
        return {b.name: {key: views[b.name][key] for key in b.trained()} for b in self.stage.blocks if b.trained()}

    def resume(self) -> None:
        """Go on behind a pause: `in_flight` has been filled from outside."""
        self.resumed = True

    def _load(self, half: Half, batch: Batch, scale: float) -> None:
        """Bring samples into their half, once what was sent from there has left, and see that its receives are posted."""
        for window in half.parts:
            self.messages.sent(window)
        half.batch, half.scale = batch, scale
        half.parts, _ = half.windows(len(batch.indices), self.plan, self.messages)
        load(half.state, self.shard, batch, half.targets)
        if not half.posted:
            self._post(half, batch)
        half.posted = False

    def _post(self, half: Half, batch: Batch) -> None:
        """Start the receives of a half; its rows are free."""
        parts, _ = half.windows(len(batch.indices), self.plan, self.messages)
        for window in parts:
            self.messages.receive_x(window)
            self.messages.receive_g(window)
        half.posted = True

    def _forward(self, window: Window) -> Any:
        self.messages.wait_x(window)
        sweep.forward(window)
        self.messages.send_x(window)
        return sweep.clamp(window, self.loss, self.beta) if self.stage.has_output else 0.0

    def _back(self, i: int, following: Batch | None) -> None:
        """Take micro-batch `i` back; after the last one of a half come the weight gradients."""
        k, m = divmod(i, self.plan.parts)
        half = self.halves[k % 2]
        window = half.parts[m]
        self.messages.wait_g(window)
        sweep.backward(window, self.displacement, self.pulls, self.beta)
        self.messages.send_g(window)
        if m + 1 == self.plan.parts:
            self._gradients(half)
            if self.ahead and self.early and following is not None:
                self._post(half, following)

    def _gradients(self, half: Half) -> None:
        """Compute the gradients of a half that has come back; each block's sum over shards starts when it is final."""
        assert half.batch is not None
        _, whole = half.windows(len(half.batch.indices), self.plan, self.messages)
        for step in reversed(whole.steps):
            if step.gradients:
                step.gradient()
                half.total.ready(step.block.name)
        half.total.complete()
        half.summing = True
        if not self.travels:
            self._use(half)

    def _use(self, half: Half) -> None:
        """Use a half's gradient, if there is one: forecast the parameters by the first, move them by the sum of both."""
        if not half.summing:
            return
        assert half.batch is not None
        half.total.wait()
        half.summing = False
        first, second = self.halves
        if half is first:
            self.optimizer.forecast(half.batch.step, half.scale, half.gradient, self.forecast)
            if self.travels:
                self.first[...] = half.gradient
        else:
            add(second.gradient, self.first, second.gradient)
            self.optimizer(half.batch.step, half.scale, second.gradient)
