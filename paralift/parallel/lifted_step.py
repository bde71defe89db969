"""One training step of a rank by iterations over lifted variables: from the rows of a batch to moved parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from paralift.kernels.arrays import Array, zeros
from paralift.lifted.inference.descend import block_steps, curvatures
from paralift.lifted.inference.estimate import Estimator
from paralift.lifted.inference.least_squares import least_squares
from paralift.lifted.inference.lifted import LiftedWindow
from paralift.lifted.inference.multipliers import Multipliers
from paralift.lifted.inference.proxgrad import ProximalGradient, iterate, start_forward
from paralift.lifted.losses import Loss
from paralift.lifted.methods import Method
from paralift.lifted.penalties import Fenchel
from paralift.lifted.stage import Stage, matrix
from paralift.lifted.updates import BlockDescent, Explicit, Implicit, LeastSquares
from paralift.parallel.batch import Batch, Shard, load, targets_like
from paralift.parallel.exchange import Messages
from paralift.parallel.halo import Halo
from paralift.parallel.kept import Kept
from paralift.parallel.optimizer import OptimizerStep
from paralift.parallel.plan import Plan
from paralift.parallel.reduce import GradientSum
from paralift.parallel.traffic import Traffic, traffic


class LiftedStep:
    """Proximal gradient iterations in the halo schedule, then the method's own way to move the parameters.

    Attributes
    ----------
    halo : Halo
        Its messages, and the seconds waited for them.
    kept : Kept or None
        The lifted variables of all local samples, of persistent methods: where ``place(shapes)`` puts them. In the dual
        geometry p is kept, x = sigma(p).
    """

    def __init__(
        self, stage: Stage, capacity: int, shard: Shard, method: Method, loss: Loss, messages: Messages, plan: Plan,
        optimizer: OptimizerStep, total: GradientSum, place: Callable[[Mapping[int, tuple[int, ...]]], Kept],
    ) -> None:  # fmt: skip
        assert isinstance(method.inference, ProximalGradient)
        self.stage, self.shard, self.halo = stage, shard, Halo(messages.grid)
        self.update = method.update
        self.settings = method.inference
        self.optimizer, self.total = optimizer, total
        self.estimator = Estimator(stage, capacity, method, loss, self.halo, plan.cuts)
        self.targets = targets_like(shard, capacity)
        self.epoch = -1
        self.everything = tuple(range(len(stage.network.shapes)))
        hidden = [b for b in stage.blocks if b.index != len(stage.network.blocks)]
        self.kept = place({b.index: b.shape for b in hidden}) if self.settings.persistent else None
        self.previous, self.anchor = zeros(stage.flat.shape, stage.flat), zeros(stage.flat.shape, stage.flat)
        if isinstance(self.update, BlockDescent):
            optimizer.arrays = {"previous": self.previous}
        elif isinstance(self.update, Implicit | LeastSquares):
            optimizer.arrays = {}
        self.regularizer = getattr(optimizer.rule, "regularizer", None)
        self.multipliers = None
        if isinstance(method.measure, Fenchel):
            self.multipliers = Multipliers(stage, method.measure, self.estimator.weights)
            optimizer.arrays = {**optimizer.arrays, "multipliers": self.multipliers.flat}

    def energy(self, batch: Batch) -> float:
        """Return this rank's part of E on the last batch, a mean over the samples of all shards."""
        window = self.estimator.state.window(len(batch.indices))
        window.stale.update(window.own)  # the parameters have moved
        return float(window.energy()) / batch.size

    @property
    def traffic(self) -> Traffic:
        """What this rank sent and waited for so far."""
        return traffic(self.halo, [self.total.waited])

    def drain(self) -> None:
        """Wait until the last batch's messages have left."""
        self.halo.finish()

    def pause(self) -> None:
        """Do the same in the middle of an epoch."""
        self.halo.finish()

    def close(self) -> None:
        """Free the messages' requests and the room of kept variables; local."""
        self.halo.free()
        if self.kept is not None:
            self.kept.close()

    def __call__(self, batch: Batch, following: Batch | None = None) -> Array:
        """Train on a batch; return this shard's summed loss (0 on stages without the output)."""
        n = len(batch.indices)
        if batch.epoch != self.epoch:  # power iterations start anew, so that a resumed run repeats them bit for bit
            self.estimator.norms.vectors.clear()
            self.epoch = batch.epoch
        self.halo.finish()  # what was sent of the last batch must have left before the next is loaded
        load(self.estimator.state, self.shard, batch, self.targets)
        start = self._start(batch)
        if self.multipliers is not None:
            self.multipliers.read()
        if isinstance(self.update, Explicit):
            value = self.estimator.gradient(n, start)
            self._sum()
            self.optimizer(batch.step, 1.0 / batch.size)
        else:
            value = self._minimise(self.estimator.state.window(n), batch, start)
        if self.multipliers is not None:
            window = self.estimator.state.window(n)
            window.stale.update(window.own)  # the parameters have moved
            self.multipliers.ascend(window, self.halo, batch.size)
        self._keep(batch)
        return value

    def _start(self, batch: Batch) -> Any:
        """Return how the variables start: from the forward pass, or where their samples left them."""
        kept = self.kept
        if kept is None or batch.epoch == 0:
            return start_forward

        def from_kept(window: LiftedWindow, halo: Halo) -> None:
            halo.finish()
            dual = self.settings.geometry == "dual"
            for v in kept.shapes:
                kept.read(v, batch.indices, window.p[v] if dual else window.x[v])
                if dual:
                    window.own[v].activation.activate(matrix(window.p[v]), None, matrix(window.x[v]))
            window.stale.update(window.own)
            halo.start(window, self.everything, ())
            halo.wait()

        return from_kept

    def _keep(self, batch: Batch) -> None:
        if self.kept is not None:
            window = self.estimator.state.window(len(batch.indices))
            for v in self.kept.shapes:
                self.kept.write(v, batch.indices, window.p[v] if self.settings.geometry == "dual" else window.x[v])

    def _sum(self) -> None:
        for block in reversed(self.stage.blocks):
            if block.name in self.stage.params:
                self.total.ready(block.name)
        self.total.wait()

    def _minimise(self, window: LiftedWindow, batch: Batch, start: Any) -> Array:
        """Lower E over variables and parameters in turn (`Implicit`, `BlockDescent`, `LeastSquares`)."""
        ((_, beta),) = self.estimator.method.clamp.phases
        window.roles = self.estimator.roles(beta)
        theta = self.anchor
        theta[...] = self.stage.flat
        self._extrapolate(batch.step)
        start(window, self.halo)
        value = self.estimator.loss_sum(window)
        for _ in range(self.update.steps if isinstance(self.update, Implicit) else 1):
            iterate(window, self.halo, self.settings, self.estimator.lipschitz(), self.estimator.cuts)
            window.gradients()
            self._sum()
            self._descend(window, batch.size, theta)
        self._heavy_ball(theta, batch.step)
        self.optimizer.follow(batch.step)
        self.previous[...] = theta
        return value

    def _descend(self, window: LiftedWindow, size: int, anchor: Array) -> None:
        """Lower E over the parameters, given its gradient; `anchor` is what they were before the step."""
        frozen = self.optimizer.options.frozen
        if isinstance(self.update, LeastSquares):
            least_squares(window, self.halo, size, self.regularizer, anchor, self.update.tau or np.inf, frozen)
            return
        constants = curvatures(window, self.halo, size)
        tau = self.update.tau if isinstance(self.update, Implicit) else np.inf
        block_steps(window, constants, size, self.regularizer, anchor, tau, frozen)

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
