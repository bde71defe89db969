"""What one rank brings to a run: its stage, its samples, its step, and its part of evaluations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from paralift.data import Dataset, Sampler, Source, even_range, load_inputs, load_targets
from paralift.kernels.arrays import Array, from_host, namespace, to_host, zeros
from paralift.lifted.gradient import check_labels
from paralift.lifted.inference.proxgrad import ProximalGradient
from paralift.lifted.losses import Loss
from paralift.lifted.maps import Tied
from paralift.lifted.methods import Method
from paralift.lifted.network import Network, Params, check_values
from paralift.lifted.stage import Stage, Window, matrix
from paralift.parallel.batch import Batch, Shard, load, targets_like
from paralift.parallel.collect import collect_flats
from paralift.parallel.exchange import Messages
from paralift.parallel.grid import Grid
from paralift.parallel.kept import Kept, KeptInMemory, Shapes
from paralift.parallel.lifted_step import LiftedStep
from paralift.parallel.optimizer import OptimizerStep
from paralift.parallel.plan import Plan
from paralift.parallel.reduce import GradientSum
from paralift.parallel.schedule import forward_only
from paralift.parallel.sweep_step import SweepStep
from paralift.parallel.unflushed_step import UnflushedStep
from paralift.training.freezing import still_blocks
from paralift.training.metrics import resident_memory
from paralift.training.result import score
from paralift.training.techniques import Techniques, sample_shape

MIN_CAPACITY = 64
"""Output rows of the buffers at least: evaluation takes samples by their number, however small the batches are."""
TRAIN_ROWS = 8192
"""Output rows of training samples, over all shards, on which the training accuracy of an epoch is measured at most."""
PLAIN = Techniques()


class Worker:
    """One rank of a run.

    Parameters
    ----------
    grid, plan : Grid, Plan
    network : Network
    data : Dataset
    method, rule, loss : Method, update rule, Loss
    sampler : Sampler
        Of this rank's shard.
    epochs : int
    like : array
        Library, device and dtype of all arrays.
    place : callable (shapes, n_local) -> Kept, optional
        Where variables that a method keeps of all samples go, called by all ranks; memory by default.
    techniques : Techniques

    Attributes
    ----------
    best : flat array or None
        What was evaluated at the end of the best epoch so far, for early stopping.
    """

    def __init__(
        self, grid: Grid, plan: Plan, network: Network, data: Dataset, method: Method, rule: Any, loss: Loss,
        sampler: Sampler, epochs: int, like: Array,
        place: Callable[[Shapes, int], Kept] | None = None, techniques: Techniques = PLAIN,
    ) -> None:  # fmt: skip
        self.grid, self.plan, self.network, self.loss, self.sampler = grid, plan, network, loss, sampler
        still, total = still_blocks(network, techniques.options.frozen), grid.sum_shards if grid.shards > 1 else None
        first, last = plan.bounds[grid.stage], plan.bounds[grid.stage + 1]
        self.stage = Stage(network, first, last, like, still=still, sum_shards=total)
        self.messages = Messages(grid)
        before = resident_memory()
        self.train, self.test = self._load(data)
        self.sample_bytes = resident_memory() - before
        self.capacity = max(sampler.batch_rows(0), MIN_CAPACITY // network.rows, 1)
        self.optimizer = OptimizerStep(self.stage, rule, epochs * sampler.n_batches, techniques.options, grid)
        self.best = None if techniques.stop_early is None else zeros(self.stage.flat.shape, like)
        training = replace(self.train, augment=techniques.augment, shape=sample_shape(network))
        parts = (self.stage, self.capacity, training, method, loss, self.messages, plan, self.optimizer)
        self.step: SweepStep | UnflushedStep | LiftedStep
        if isinstance(method.inference, ProximalGradient):
            start, stop = sampler.local_range
            put = place or (lambda shapes, n_local: KeptInMemory(shapes, n_local, like))
            self.step = LiftedStep(*parts, GradientSum(grid, self.stage), lambda shapes: put(shapes, stop - start))
        elif plan.schedule == "unflushed":
            self.step = UnflushedStep(*parts)
        else:
            self.step = SweepStep(*parts, GradientSum(grid, self.stage))
        # samples of an evaluation's pass: as many on a stage that needs a state of its own as on the others
        self.room = self.capacity if isinstance(self.step, LiftedStep) else self.step.state.capacity
        average = self.optimizer.average
        if isinstance(self.step, LiftedStep) or self.stage.tracks or self.stage.draws or average is not None:
            theta = None if average is None else self.stage.layout.views(average, tracked=self.stage.flat)
            self.forward = self.stage.state(self.room, theta, training=False)
        else:
            self.forward = self.step.state
        self._targets = None if self.train.y is None else targets_like(self.train, self.room)

    def _load(self, data: Dataset) -> tuple[Shard, Shard | None]:
        """Read this rank's samples; all ranks raise together if one cannot."""
        error: Exception | None = None
        shards: tuple[Shard, Shard | None] = (Shard(None, None), None)
        try:
            train = self._shard(data.train, *self.sampler.local_range)
            test = None
            if data.test is not None:
                test = self._shard(data.test, *even_range(data.test.n_samples, self.grid.shards, self.grid.shard))
            shards = (train, test)
        except Exception as found:
            error = found
        self.grid.agree(error)
        return shards

    def _shard(self, source: Source, start: int, stop: int) -> Shard:
        dtype, x, y = str(self.stage.like.dtype).rsplit(".", 1)[-1], None, None
        if self.stage.has_input:
            values = np.ascontiguousarray(load_inputs(source, start, stop, dtype))
            check_values(self.network, values, start)
            x = from_host(values, self.stage.like)
        if self.stage.has_output:
            host = np.ascontiguousarray(load_targets(source, start, stop, dtype))
            if host.dtype.kind in "iu" and host.size:
                check_labels(host, self.network.output_shape[-1])
            elif host.dtype.kind == "f":
                self.loss.check_rows(self.network.blocks[-1].activation, host.reshape(-1, host.shape[-1]))
            y = from_host(host, self.stage.like)
        return Shard(x, y)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `first` on."""
        sampler = self.sampler
        order = sampler.epoch(epoch)
        for t in range(first, sampler.n_batches):
            size, step = self.network.rows * sampler.batch_global(t), epoch * sampler.n_batches + t
            yield Batch(order[t], size, epoch, step, sampler.seed, sampler.local_range[0], sampler.batch_place(t))

    def sums(self, shard: Shard | None, start: int, stop: int) -> np.ndarray:
        """Return (loss, correct or squared error, rows) summed over the local samples start to stop of a shard."""
        total = np.zeros(3)
        if shard is None:
            return total
        for first in range(start, stop, self.room):
            indices = np.arange(first, min(stop, first + self.room))
            load(self.forward, shard, Batch(indices, len(indices), 0, 0), self._targets)
            windows = self.forward.windows(self.plan.rows(len(indices)))
            forward_only(self.messages, windows)
            if self.stage.has_output:
                total += sum(self._score(window) for window in windows)
        return total

    def _score(self, window: Window) -> np.ndarray:
        step = window.steps[-1]
        z, x = matrix(step.z), matrix(step.x)
        return score(step.activation, self.loss, z, x, window.y)

    def evaluate(self, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Return the summed scores on (at most `TRAIN_ROWS` rows of) the training set and on the test set; collective."""
        self.average_statistics()
        start, stop = self.sampler.local_range
        some = min(stop - start, -(-TRAIN_ROWS // (self.grid.shards * self.network.rows)))
        train = self.sums(self.train, 0, some)
        test = np.zeros(3)
        if data.test is not None:
            a, b = even_range(data.test.n_samples, self.grid.shards, self.grid.shard)
            test = self.sums(self.test, 0, b - a)
        both = self.grid.sum(np.concatenate([train, test]))
        return both[:3], both[3:]

    def average_statistics(self) -> None:
        """Average the running statistics over the shards; collective over the stage's shards."""
        if self.stage.tracks and self.grid.shards > 1:
            part = self.stage.flat[self.stage.layout.trained :]
            total = self.grid.sum_shards(to_host(part).astype(np.float64)) / self.grid.shards
            part[...] = from_host(total.astype(self.stage.like.dtype), self.stage.like)

    def finite(self) -> float:
        """Return 0, or NaN if a parameter is not finite."""
        flat = self.stage.flat
        return 0.0 * float(namespace(flat).sum(flat)) if self.stage.layout.size else 0.0

    def energy(self, batch: Batch, loss: float) -> float:
        """Return E: penalties on the last batch (after sweeps the epoch's loss) and the regulariser; collective."""
        own = self.step.energy(batch)
        regularizer = self._regularizer() if self.grid.shard == 0 else 0.0
        total = float(self.grid.sum(np.array([regularizer + (own or 0.0)]))[0])
        return total if own is not None else total + loss

    def _regularizer(self) -> float:
        regularizer = getattr(self.optimizer.rule, "regularizer", None)
        if regularizer is None:
            return 0.0
        replicas = {b.name for b in self.stage.blocks if isinstance(b.map, Tied)}  # counted where they are owned
        shared = [s for s in self.stage.layout.segments if s.block not in replicas]
        acts = [s for s in shared if regularizer.on == "all" or len(s.shape) > 1]
        return sum(float(regularizer.value(self.stage.params[s.block][s.name])) for s in acts)

    def keep_best(self) -> None:
        """Keep what was evaluated last as the best so far."""
        assert self.best is not None
        self.best[...] = self.optimizer.evaluated()

    def close(self) -> None:
        """Free requests and kept variables; the stages of a shard wait for the norm that they sum."""
        if self.optimizer.clipping is not None:
            self.optimizer.clipping.finish()
        self.messages.free()
        if isinstance(self.step, LiftedStep):
            self.step.close()

    def params(self, best: bool = False) -> Params:
        """Return the parameters that a run returns, as host arrays, on every rank; collective.

        Those of the best epoch if `best`, else the average where there is one, else what the optimiser left.
        """
        flat = self.best if best else self.optimizer.evaluated()
        found: dict[str, dict[str, np.ndarray]] = {}

        def take(_: str, views: Mapping[str, Mapping[str, np.ndarray]]) -> None:
            found.update({b: {k: a.copy() for k, a in arrays.items()} for b, arrays in views.items()})

        collect_flats(self.grid, self.network, self.plan, self.stage, {"params": flat}, take)
        dtype = np.dtype(str(self.stage.like.dtype).rsplit(".", 1)[-1])
        for block in self.network.blocks:
            for key, shape in (block.trained() | block.tracked()).items():
                own = found.setdefault(block.name, {})
                own.setdefault(key, np.empty(shape, dtype))
                self.grid.broadcast(own[key])
        return found
