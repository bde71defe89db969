"""One training step of a rank, for each kind of method: from the rows of a batch to moved parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paralift.kernels.arrays import Array, empty, namespace, zeros
from paralift.lifted.gradient import displacement_of
from paralift.lifted.inference import sweep
from paralift.lifted.inference.descend import block_steps, curvatures
from paralift.lifted.inference.estimate import Estimator, state_regularizers
from paralift.lifted.inference.lifted import LiftedWindow
from paralift.lifted.inference.proxgrad import ProximalGradient, iterate, start_forward
from paralift.lifted.losses import Loss
from paralift.lifted.methods import Method
from paralift.lifted.stage import Stage, State, Window, matrix
from paralift.lifted.updates import BlockDescent, Explicit, Implicit
from paralift.parallel.exchange import Messages
from paralift.parallel.plan import Plan
from paralift.parallel.reduce import GradientSum
from paralift.parallel.schedule import FlushedWave


@dataclass(frozen=True)
class Batch:
    """One batch on one rank.

    Attributes
    ----------
    indices : ndarray of shape (n,), intp
        The local samples.
    size : int
        Samples of the batch over all shards.
    epoch, step : int
        From 0; counts batches over the whole run.
    """

    indices: np.ndarray
    size: int
    epoch: int
    step: int


@dataclass(frozen=True)
class Shard:
    """The samples that a rank holds: x on the first stage, y on the last, None elsewhere."""

    x: Array | None
    y: Array | None


def gather(source: Array, indices: Any, out: Array) -> None:
    """Copy the samples `indices` of `source` into `out`, without a temporary where the library can."""
    if isinstance(out, np.ndarray):
        source.take(indices, axis=0, out=out, mode="clip")
    else:
        out[...] = namespace(source).take(source, namespace(source).asarray(indices), axis=0)


def load(state: Any, shard: Shard, indices: np.ndarray, targets: Array | None) -> None:
    """Bring the samples of a batch into a state's input and targets."""
    n = len(indices)
    if shard.x is not None:
        gather(shard.x, indices, state.x[0][:n])
    if targets is not None:
        gather(shard.y, indices, targets[:n])
        state.y = targets


def targets_like(shard: Shard, capacity: int) -> Array | None:
    """Return a buffer for the targets of `capacity` samples, or None where there are none."""
    return None if shard.y is None else empty((capacity, *shard.y.shape[1:]), shard.y)


class OptimizerStep:
    """The stage's optimiser: its rule, its states and the count of its steps."""

    def __init__(self, stage: Stage, rule: Any, total_steps: int) -> None:
        self.stage = stage
        self.rule = rule
        self.total_steps = total_steps
        self.arrays: dict[str, Array] = rule.init(stage.flat)
        trained = slice(0, stage.layout.trained)
        self.theta, self.gradient = stage.flat[trained], stage.gradient[trained]
        self.states = {name: a[trained] for name, a in self.arrays.items()}
        self.segments = [(s.start, s.stop, s.shape) for s in stage.layout.segments]

    def __call__(self, step: int, scale: float) -> None:
        """Move the parameters by the gradient times `scale`; `step` counts from 0."""
        if self.stage.layout.trained:
            self.rule.step(
                self.theta, self.gradient, self.states, self.segments, step + 1, self.total_steps, scale
            )


class SweepStep:
    """Sweeps (or the backpropagation reference) in a flushed wave, then the optimiser."""

    def __init__(
        self, stage: Stage, capacity: int, shard: Shard, method: Method, loss: Loss, messages: Messages, plan: Plan,
        optimizer: OptimizerStep, total: GradientSum,
    ) -> None:  # fmt: skip
        self.stage, self.shard, self.plan = stage, shard, plan
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
            parts = [self.state.window(a, b) for a, b in self.plan.rows(n)]
            self._windows[n] = (parts, self.state.window(0, n))
        return self._windows[n]

    def __call__(self, batch: Batch) -> Array:
        """Train on a batch; return this shard's summed loss (0 on stages without the output)."""
        load(self.state, self.shard, batch.indices, self.targets)
        parts, whole = self.windows(len(batch.indices))
        value = self.wave.run(parts, whole, self.total)
        self.optimizer(batch.step, 1.0 / (self.beta * batch.size))
        return value

    @property
    def persistent(self) -> Mapping[int, Array]:
        """What a checkpoint keeps beside parameters and optimiser: nothing."""
        return {}

    def energy(self, batch: Batch) -> float | None:
        """Return None: after a forward pass every penalty but the output's is zero, and E is the loss."""
        return None


class LiftedStep:
    """Proximal gradient iterations with a halo exchange each, then the method's own way to move the parameters."""

    def __init__(
        self, stage: Stage, capacity: int, shard: Shard, method: Method, loss: Loss, messages: Messages, plan: Plan,
        optimizer: OptimizerStep, total: GradientSum, n_local: int,
    ) -> None:  # fmt: skip
        assert isinstance(method.inference, ProximalGradient)
        self.stage, self.shard, self.messages = stage, shard, messages
        self.update = method.update
        self.settings = method.inference
        self.optimizer, self.total = optimizer, total
        self.estimator = Estimator(stage, capacity, method, loss, messages, plan.cuts)
        self.targets = targets_like(shard, capacity)
        self.epoch = -1
        self.kept: dict[int, Array] = {}
        if self.settings.persistent:
            hidden = [b for b in stage.blocks if b.index != len(stage.network.blocks)]
            self.kept = {b.index: empty((n_local, *b.shape), stage.like) for b in hidden}
        self.previous, self.anchor = zeros(stage.flat.shape, stage.flat), zeros(stage.flat.shape, stage.flat)
        if isinstance(self.update, BlockDescent):
            optimizer.arrays = {"previous": self.previous}
        elif isinstance(self.update, Implicit):
            optimizer.arrays = {}
        self.regularizer = getattr(optimizer.rule, "regularizer", None)

    @property
    def persistent(self) -> Mapping[int, Array]:
        """The lifted variables of all local samples, for a checkpoint."""
        return self.kept

    def energy(self, batch: Batch) -> float:
        """Return this rank's part of E on the last batch, a mean over the samples of all shards."""
        window = self.estimator.state.window(len(batch.indices))
        window.stale.update(window.own)  # the parameters have moved
        return float(window.energy()) / batch.size

    def __call__(self, batch: Batch) -> Array:
        """Train on a batch; return this shard's summed loss (0 on stages without the output)."""
        n = len(batch.indices)
        if batch.epoch != self.epoch:  # power iterations start anew, so that a resumed run repeats them bit for bit
            self.estimator.norms.vectors.clear()
            self.epoch = batch.epoch
        load(self.estimator.state, self.shard, batch.indices, self.targets)
        start = self._start(batch)
        if isinstance(self.update, Explicit):
            value = self.estimator.gradient(n, start)
            self._sum()
            self.optimizer(batch.step, 1.0 / batch.size)
        else:
            value = self._minimise(self.estimator.state.window(n), batch, start)
        self._keep(batch)
        return value

    def _start(self, batch: Batch) -> Any:
        """Return how the variables start: from the forward pass, or where their samples left them."""
        if not self.kept or batch.epoch == 0:
            return start_forward

        def from_kept(window: LiftedWindow, messages: Messages) -> None:
            for v, array in self.kept.items():
                gather(array, batch.indices, window.x[v])
            if self.settings.geometry == "dual":
                self._from_dual(window)
            window.stale.update(window.own)
            messages.swap(window)

        return from_kept

    def _from_dual(self, window: LiftedWindow) -> None:
        # What is kept in the dual geometry is p; x = sigma(p).
        for v in self.kept:
            block = window.own[v]
            window.p[v][...] = window.x[v]
            block.activation.activate(matrix(window.x[v]), None, matrix(window.x[v]))

    def _keep(self, batch: Batch) -> None:
        window = self.estimator.state.window(len(batch.indices))
        for v, array in self.kept.items():
            array[batch.indices] = window.p[v] if self.settings.geometry == "dual" else window.x[v]

    def _sum(self) -> None:
        for block in reversed(self.stage.blocks):
            if block.name in self.stage.params:
                self.total.ready(block.name)
        self.total.wait()

    def _minimise(self, window: LiftedWindow, batch: Batch, start: Any) -> Array:
        """Lower E over variables and parameters in turn (`Implicit`, `BlockDescent`)."""
        ((_, beta),) = self.estimator.method.clamp.phases
        window.roles = self.estimator.roles(beta)
        theta = self.anchor
        theta[...] = self.stage.flat
        self._extrapolate(batch.step)
        start(window, self.messages)
        value = self.estimator.loss_sum(window)
        implicit = self.update if isinstance(self.update, Implicit) else None
        for _ in range(implicit.steps if implicit else 1):
            iterate(window, self.messages, self.settings, self.estimator.lipschitz(), self.estimator.cuts)
            window.gradients()
            self._sum()
            constants = curvatures(window, self.messages, batch.size)
            anchor, tau = (theta, implicit.tau) if implicit else (None, np.inf)
            block_steps(window, constants, batch.size, self.regularizer, anchor, tau)
        self._heavy_ball(theta, batch.step)
        self.previous[...] = theta
        return value

    def _extrapolate(self, step: int) -> None:
        if isinstance(self.update, BlockDescent) and self.update.acceleration == "nesterov" and step:
            theta = self.optimizer.theta  # the trained part: running statistics are not extrapolated
            weight = min(step / (step + 3.0), self.update.momentum)
            theta[...] = theta + weight * (theta - self.previous[: theta.shape[0]])

    def _heavy_ball(self, theta: Array, step: int) -> None:
        if isinstance(self.update, BlockDescent) and self.update.acceleration == "heavy_ball" and step:
            n = self.optimizer.theta.shape[0]
            change = self.update.momentum * (theta[:n] - self.previous[:n])
            self.optimizer.theta[...] = self.optimizer.theta + change
