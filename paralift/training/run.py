"""The loop over epochs: train, look at the loss, measure, save, record."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from paralift.data import Dataset
from paralift.parallel.batch import Batch
from paralift.parallel.collect import share
from paralift.parallel.grid import AgreedError, PendingSum
from paralift.parallel.traffic import Traffic
from paralift.training import checkpoint, planning
from paralift.training.metrics import RunFolder, peak_memory, versions
from paralift.training.progress import Bar
from paralift.training.result import Reason, Result, scores
from paralift.training.tally import Tally
from paralift.training.worker import Worker

WATCH = 100
"""Batches between two looks at the loss of all ranks; each is judged at the next."""


class DivergedError(AgreedError, FloatingPointError):
    """The loss or the parameters are no longer finite; every rank raises it."""


class Run:
    """The loop over epochs and what it keeps."""

    def __init__(
        self, worker: Worker, data: Dataset, folder: RunFolder | None, attributes: Mapping[str, Any], epochs: int,
        checkpoint_every: int, history: list[dict[str, Any]], tally: Tally,
    ) -> None:  # fmt: skip
        self.worker, self.data, self.folder, self.attributes = worker, data, folder, attributes
        self.epochs, self.checkpoint_every, self.history, self.tally = epochs, checkpoint_every, history, tally
        self.saves = share(worker.grid, folder is not None)
        self.train_seconds, self.trained = 0.0, 0  # of this run, without the epochs that a checkpoint brings
        self.traffic = Traffic()
        self.pending: tuple[PendingSum, int] | None = None
        self.start = time.perf_counter()

    def loop(self, first: int, progress: bool) -> Reason:
        """Train the epochs from `first`; return why it ended."""
        n_batches = self.worker.sampler.n_batches
        shown = progress and self.worker.grid.rank == 0
        with Bar(shown, self.epochs * n_batches, first * n_batches) as bar:
            for epoch in range(first, self.epochs):
                record = self.epoch(epoch, bar)
                self.history.append(record)
                last = epoch + 1 == self.epochs
                if self.saves and (last or (epoch + 1) % self.checkpoint_every == 0):
                    self.save(epoch + 1)
                if self.folder is not None:
                    self.folder.record(record)
                bar.epoch(record, self.epochs)
        return Reason.EPOCHS_DONE if first < self.epochs else Reason.NOTHING_LEFT

    def epoch(self, epoch: int, bar: Bar) -> dict[str, Any]:
        """Train one epoch; return its record."""
        worker, sampler, total, before = self.worker, self.worker.sampler, 0.0, self.worker.step.traffic
        n_batches, began = sampler.n_batches, time.perf_counter()
        batches = self.batches(epoch)
        batch = next(batches)
        for t in range(n_batches):
            following = next(batches, None)
            total = total + worker.step(batch, following)
            if (t + 1) % WATCH == 0 and following is not None:
                self.watch(float(total), epoch, t)
                bar.advance(WATCH)
            batch = following if following is not None else batch
        worker.step.drain()
        if self.pending is not None:
            self.pending[0].wait()
            self.pending = None
        loss = self.judge(worker.grid.sum(self.health(float(total))), epoch, n_batches - 1) / sampler.n_samples
        seconds = time.perf_counter() - began
        self.train_seconds += seconds
        self.traffic = self.traffic.plus(worker.step.traffic.since(before))
        self.trained += 1
        self.tally.look()
        bar.advance((n_batches - 1) % WATCH + 1)
        record = {
            "epoch": epoch + 1,
            "step": (epoch + 1) * n_batches,
            "seconds": round(time.perf_counter() - self.start, 6),
            "loss": loss,
            "energy": worker.energy(batch, loss),
            "samples_per_second": sampler.n_samples / seconds,
        }
        return {**record, **self.measure()}

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        sampler = self.worker.sampler
        order = sampler.epoch(epoch)
        for t in range(sampler.n_batches):
            yield Batch(order[t], sampler.batch_global(t), epoch, epoch * sampler.n_batches + t)

    def health(self, loss_sum: float) -> np.ndarray:
        """Return the loss summed over this rank's samples, NaN if a parameter is not finite."""
        return np.array([loss_sum + self.worker.finite()])

    def watch(self, loss_sum: float, epoch: int, t: int) -> None:
        """Judge the last look at the loss of all ranks and start the next: ranks never wait for one another here."""
        if self.pending is not None:
            total, at = self.pending
            self.judge(total.wait(), epoch, at)
        self.pending = (self.worker.grid.start_sum(self.health(loss_sum)), t)

    def judge(self, total: np.ndarray, epoch: int, t: int) -> float:
        """Return the summed loss; raise on all ranks if it or a parameter is not finite; collective."""
        found = float(total[0])
        if np.isfinite(found):
            return found
        self.worker.step.drain()  # all ranks stand at the same batch: what is in flight arrives
        saved = checkpoint.all_of(self.folder.path) if self.folder is not None else []
        text = f"the checkpoint {saved[-1]} is intact" if saved else "no checkpoint was written"
        saved_text = share(self.worker.grid, text)  # rank 0 alone knows the folder
        raise DivergedError(
            f"the loss became {found} in epoch {epoch + 1}, at or before batch {t + 1}; {saved_text}; "
            f"lower the rate of {self.attributes['optimizer']} or beta of {self.attributes['method']}"
        )

    def measure(self) -> dict[str, float]:
        """Return the scores on training and test samples; collective."""
        train, test = self.worker.evaluate(self.data)
        labels = self.data.target_shape == ()
        kind = "accuracy" if labels else "error"
        found = {f"train_{kind}": scores(train, labels)[kind]}
        if self.data.test is not None:
            value = scores(test, labels)
            found |= {f"test_{kind}": value[kind], "test_loss": value["loss"]}
        return found

    def save(self, epochs_done: int) -> None:
        """Write a checkpoint; collective."""
        path = self.folder.path / "checkpoints" / checkpoint.name(epochs_done) if self.folder is not None else None
        step = epochs_done * self.worker.sampler.n_batches
        plan = planning.to_text(self.worker.plan)
        self.worker.save(path, {**self.attributes, "epoch": epochs_done, "step": step, "plan": plan})

    def result(self, reason: Reason) -> Result:
        """Return the result, after writing the summary; collective."""
        worker, plan = self.worker, self.worker.plan
        steps = max(1, self.trained) * worker.sampler.n_batches
        memory = np.zeros(worker.grid.size)
        memory[worker.grid.rank] = peak_memory()
        last = self.history[-1] if self.history else {}
        seconds = self.train_seconds / steps
        each = Traffic(*(total / steps for total in self.traffic))
        summary = {
            "ranks": worker.grid.size, "shards": plan.shards, "stages": plan.stages,
            "plan": {"bounds": list(plan.bounds), "micro_batches": plan.micro_batches, "schedule": plan.schedule},
            **{k: v for k, v in last.items() if k.startswith(("test", "train", "loss", "energy", "epoch"))},
            "seconds": time.perf_counter() - self.start,
            "train_seconds": self.train_seconds,
            "seconds_per_step": seconds,
            **self.tally.summary(worker.grid, worker.sample_bytes, seconds, each),
            "samples_per_second": last.get("samples_per_second", 0.0),
            "peak_memory_bytes": [int(m) for m in worker.grid.sum(memory)],
            "versions": versions(),
            "reason": str(reason),
            **{k: self.attributes[k] for k in ("network", "method", "optimizer", "loss", "data", "dtype", "seed")},
        }  # fmt: skip
        if "loss" in last:
            summary["train_loss"] = last["loss"]
        summary = share(worker.grid, summary)
        if self.folder is not None:
            self.folder.summary(summary)
        params = worker.params()
        worker.close()
        return Result(worker.network, worker.loss, params, self.history, reason, summary)
