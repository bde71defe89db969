"""The loop over epochs: train, look at the loss and at signals, measure, save, record."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paralift.data import Dataset
from paralift.parallel.activity import ACTIVITY
from paralift.parallel.batch import Batch
from paralift.parallel.collect import share
from paralift.parallel.grid import AgreedError
from paralift.parallel.traffic import Traffic
from paralift.training import checkpoints, planning, saving
from paralift.training.callbacks import Calls
from paralift.training.copies import Copies
from paralift.training.looks import Look, Looks
from paralift.training.metrics import RunFolder, peak_memory, versions
from paralift.training.position import Position
from paralift.training.progress import Bar
from paralift.training.result import Reason, Result, scores
from paralift.training.signals import Signals
from paralift.training.stopping import Best, EarlyStopping
from paralift.training.tally import Tally
from paralift.training.worker import Worker

LOG = logging.getLogger("paralift")
NOTHING = Look(0.0, False, False, 0)


class DivergedError(AgreedError, FloatingPointError):
    """The loss or the parameters are no longer finite; every rank raises it."""


@dataclass(frozen=True)
class Saving:
    """When and where checkpoints are written.

    Parameters
    ----------
    run : path or None
        The run folder, on all ranks; None writes none.
    every : int
        Epochs between two.
    keep : int
        The newest ones that stay.
    """

    run: Path | None
    every: int
    keep: int


class Run:
    """The loop over epochs and what it keeps."""

    def __init__(
        self, worker: Worker, data: Dataset, folder: RunFolder | None, attributes: Mapping[str, Any], epochs: int,
        saving: Saving, history: list[dict[str, Any]], tally: Tally, signals: Signals,
        copies: Copies | None = None, lost: int = 0, stop_early: EarlyStopping | None = None,
        calls: Calls | None = None,
    ) -> None:  # fmt: skip
        self.worker, self.data, self.folder, self.attributes = worker, data, folder, attributes
        self.epochs, self.saving, self.history, self.tally = epochs, saving, history, tally
        self.looks, self.copies, self.lost = Looks(worker.grid, signals), copies, lost
        self.stop_early = stop_early
        self.calls = Calls(worker.grid, ()) if calls is None else calls
        self.best: Best | None = None
        self.train_seconds, self.save_seconds, self.steps = 0.0, 0.0, 0  # of this run, without what a checkpoint brings
        self.traffic = Traffic()
        self.start = time.perf_counter()

    def loop(self, position: Position, progress: bool) -> Reason:
        """Train from a position; return why it ended."""
        first, n_batches = position.epoch, self.worker.sampler.n_batches
        shown = progress and self.worker.grid.rank == 0
        self.best = Best(position.best_epoch, position.best_value) if position.best_epoch else None
        if not position.batch and self.is_over(first):
            return Reason.STOPPED_EARLY
        with Bar(shown, self.epochs * n_batches, first * n_batches + position.batch) as bar:
            for epoch in range(first, self.epochs):
                if self.epoch(position if epoch == first else self.at(epoch), bar):
                    return Reason.STOPPED if self.saving.run is not None else Reason.STOPPED_UNSAVED
                if self.is_over(epoch + 1):
                    return Reason.STOPPED_EARLY
        return Reason.EPOCHS_DONE if first < self.epochs else Reason.NOTHING_LEFT

    def at(self, epoch: int, batch: int = 0, loss_sum: float = 0.0) -> Position:
        """Return a position of this run."""
        return Position(epoch, batch, loss_sum) if self.best is None else Position(epoch, batch, loss_sum, *astuple(self.best))

    def is_over(self, epochs: int) -> bool:
        """Return whether early stopping ends the run after so many epochs."""
        return self.stop_early is not None and self.stop_early.is_over(epochs, self.best)

    def epoch(self, position: Position, bar: Bar) -> bool:
        """Train one epoch, or what is left of it; return whether a signal ends the run."""
        worker, epoch, n_batches = self.worker, position.epoch, self.worker.sampler.n_batches
        self.copy(position)
        began, before, saved = time.perf_counter(), worker.step.traffic, self.save_seconds
        batches, wish = worker.batches(epoch, position.batch), NOTHING
        batch, total = next(batches), position.loss_sum if worker.grid.rank == 0 else 0.0
        self.looks.start_epoch(position.batch)
        ACTIVITY.enter(f"training, epoch {epoch + 1}")
        for done in range(position.batch + 1, n_batches + 1):
            ACTIVITY.batch = done
            pause = self.due(wish)  # what follows a pause must not be under way then
            following = None if pause else next(batches, None)
            total = total + worker.step(batch, following)
            if done == n_batches:
                break
            if pause:
                worker.step.pause()
                now = self.obey(self.looks.now(self.health(total), done), epoch)  # what diverged replaces no checkpoint
                here = self.at(epoch, done, now.loss)
                if wish.save or wish.stop:
                    self.save(here)
                if wish.stop:
                    return True
                self.copy(here)
                wish, following = NOTHING, next(batches)
            elif self.looks.due(done):
                wish = self.obey(self.looks.next(self.health(total), done), epoch)
                bar.at(epoch * n_batches + done)
            assert following is not None
            batch = following
        worker.step.drain()
        last = self.obey(self.looks.last(), epoch)
        now = self.obey(self.looks.now(self.health(total), n_batches), epoch)
        seconds = time.perf_counter() - began - (self.save_seconds - saved)
        self.steps += n_batches - position.batch
        self.train_seconds += seconds
        self.traffic = self.traffic.plus(worker.step.traffic.since(before))
        self.tally.look()
        ACTIVITY.enter(f"the evaluation after epoch {epoch + 1}")
        self.record(epoch, now.loss, batch, (n_batches - position.batch) / seconds)
        over = self.is_over(epoch + 1) or epoch + 1 == self.epochs
        stop = any(look.stop for look in (wish, last, now)) and not over
        asked = any(look.save for look in (wish, last, now))
        if stop or asked or over or (epoch + 1) % self.saving.every == 0:
            self.save(self.at(epoch + 1))
        bar.epoch(self.history[-1], (epoch + 1) * n_batches, self.epochs)
        return stop

    def due(self, wish: Look) -> bool:
        """Return whether the run pauses behind a look: without a run folder there is nothing to save."""
        return wish.stop or (wish.save and self.saving.run is not None) or (self.copies is not None and wish is not NOTHING)

    def copy(self, position: Position) -> None:
        """Take copies for the case that a rank dies, if it is wanted; collective."""
        if self.copies is not None:
            self.copies.take(self.worker, position, self.history)

    def health(self, loss_sum: Any) -> float:
        """Return the loss summed over this rank's samples, NaN if a parameter is not finite."""
        return float(loss_sum) + self.worker.finite()

    def obey(self, look: Look | None, epoch: int) -> Look:
        """Return what a look asks for; raise on all ranks if the loss or a parameter is not finite; collective."""
        if look is None or np.isfinite(look.loss):
            return NOTHING if look is None else look
        self.worker.step.drain()  # all ranks stand at the same batch: what is in flight arrives,
        self.looks.last()  # and so does the next look, before its communicator goes
        saved = checkpoints.all_of(self.saving.run) if self.saving.run is not None else []
        text = f"the checkpoint {saved[-1]} is intact" if saved else "no checkpoint was written"
        saved_text = share(self.worker.grid, text)  # in rank 0's eyes
        self.worker.close()
        raise DivergedError(
            f"the loss became {look.loss} in epoch {epoch + 1}, at or before batch {look.batch}; {saved_text}; "
            f"lower the rate of {self.attributes['optimizer']} or beta of {self.attributes['method']}"
        )

    def record(self, epoch: int, loss_sum: float, batch: Batch, steps_per_second: float) -> None:
        """Measure, and write the epoch down; collective."""
        sampler = self.worker.sampler
        loss = loss_sum / (sampler.n_samples * self.worker.network.rows)
        record = {
            "epoch": epoch + 1,
            "step": (epoch + 1) * sampler.n_batches,
            "seconds": round(time.perf_counter() - self.start, 6),
            "loss": loss,
            "energy": self.worker.energy(batch, loss),
            "samples_per_second": sampler.n_samples / sampler.n_batches * steps_per_second,
            **self.measure(),
        }
        self.history.append(record)
        folder = self.folder
        self.worker.grid.together(None if folder is None else lambda: folder.record(record))
        LOG.info("%s", "  ".join(f"{key} {value:.6g}" for key, value in record.items()))
        if self.stop_early is not None:
            best = self.stop_early.after(record, self.best)
            if best != self.best:
                self.worker.keep_best()
            self.best = best
        self.calls.epoch(record)

    def measure(self) -> dict[str, float]:
        """Return the scores on training and test samples; collective."""
        train, test = self.worker.evaluate(self.data)
        labels = self.data.labels
        kind = "accuracy" if labels else "error"
        found = {f"train_{kind}": scores(train, labels)[kind]}
        if self.data.test is not None:
            value = scores(test, labels)
            found |= {f"test_{kind}": value[kind], "test_loss": value["loss"]}
        return found

    def save(self, position: Position) -> None:
        """Write a checkpoint, if there is a run folder; collective."""
        if self.saving.run is None:
            return
        phase = ACTIVITY.phase
        ACTIVITY.enter(f"writing the checkpoint of epoch {position.epoch}, batch {position.batch}")
        began, step = time.perf_counter(), position.epoch * self.worker.sampler.n_batches + position.batch
        folder = self.saving.run / "checkpoints" / checkpoints.name(step)
        attributes = {**self.attributes, **asdict(position), "step": step, "plan": planning.to_text(self.worker.plan)}
        if position.batch:
            self.worker.average_statistics()
        saving.save(self.worker, folder, attributes, self.saving.keep, flight=position.batch > 0)
        seconds = time.perf_counter() - began
        self.save_seconds += seconds
        LOG.info("checkpoint %s in %.3g s", folder, seconds)
        ACTIVITY.enter(phase)

    def result(self, reason: Reason) -> Result:
        """Return the result, after writing the summary; collective."""
        worker, plan = self.worker, self.worker.plan
        steps = max(1, self.steps)
        memory = np.zeros(worker.grid.size)
        memory[worker.grid.rank] = peak_memory()
        last = self.history[-1] if self.history else {}
        best = {} if self.best is None else {"best_epoch": self.best.epoch}
        if self.best is not None:  # whose parameters are the result
            last = next((record for record in self.history if record["epoch"] == self.best.epoch), last)
        seconds = self.train_seconds / steps
        each = Traffic(*(total / steps for total in self.traffic))
        summary = {
            "ranks": worker.grid.size, "ranks_lost": self.lost, "shards": plan.shards, "stages": plan.stages,
            "plan": {"bounds": list(plan.bounds), "micro_batches": plan.micro_batches, "schedule": plan.schedule},
            **best,
            **{k: v for k, v in last.items() if k.startswith(("test", "train", "loss", "energy", "epoch"))},
            "seconds": time.perf_counter() - self.start,
            "train_seconds": self.train_seconds,
            "save_seconds": self.save_seconds,
            "seconds_per_step": seconds,
            **self.tally.summary(worker.grid, worker.sample_bytes, seconds, each),
            "samples_per_second": last.get("samples_per_second", 0.0),
            "peak_memory_bytes": [int(m) for m in worker.grid.sum(memory)],
            "versions": dict(versions()),
            "reason": str(reason),
            **{k: self.attributes[k] for k in ("network", "method", "optimizer", "loss", "data", "dtype", "seed")},
        }  # fmt: skip
        if "loss" in last:
            summary["train_loss"] = last["loss"]
        summary = share(worker.grid, summary)
        folder = self.folder
        worker.grid.together(None if folder is None else lambda: folder.summary(summary))
        self.calls.end(summary)
        params = worker.params(best=self.best is not None)
        worker.close()
        return Result(worker.network, worker.loss, params, self.history, reason, summary)
