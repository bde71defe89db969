"""`fit`: the one driver loop, alone or on any number of ranks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from paralift import data as data_room
from paralift import optim
from paralift.data import Dataset, Sampler
from paralift.kernels.arrays import Array
from paralift.lifted.inference.estimate import state_regularizers
from paralift.lifted.losses import Loss, default_loss
from paralift.lifted.methods import Method, nudged
from paralift.lifted.network import Network, Params, check_params, float_type
from paralift.parallel import plan as plans
from paralift.parallel.collect import share
from paralift.parallel.grid import AgreedError, Grid
from paralift.parallel.plan import Plan
from paralift.parallel.steps import Batch
from paralift.parallel.watch import guard
from paralift.parallel.world import find_world
from paralift.training import checkpoint
from paralift.training.metrics import RunFolder, peak_memory, versions
from paralift.training.progress import Bar
from paralift.training.result import Reason, Result, scores
from paralift.training.worker import Worker

WATCH = 100
"""Batches between two looks at the loss of all ranks."""


class DivergedError(AgreedError, FloatingPointError):
    """The loss or the parameters are no longer finite; every rank raises it."""


class _World:
    def __repr__(self) -> str:
        return "WORLD"


WORLD = _World()
"""Default of ``comm``: the world of the MPI launcher that started the process, alone if there is none."""


def fit(
    network: Network,
    data: Any,
    *,
    method: Method | None = None,
    optimizer: Any = None,
    loss: Loss | None = None,
    epochs: int = 20,
    batch_size: int | None = 128,
    seed: int = 0,
    dtype: Any = "float32",
    shuffle: bool = True,
    test: Any = None,
    params: Params | None = None,
    comm: Any = WORLD,
    plan: Plan | None = None,
    stages: int | None = None,
    micro_batches: int | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    checkpoint_every: int = 1,
    progress: bool = True,
    device: str = "cpu",
    config: str | None = None,
) -> Result:
    """Train a network by a lifted method, on one rank or on all ranks of a communicator.

    Parameters
    ----------
    network : Network
    data : Dataset, Source, or a pair of arrays (x, y)
        x of shape (n, *input_shape); y integer labels (n, ...) or floats of the output's shape.
    method : Method, optional
        From `paralift.methods`; `nudged()` by default.
    optimizer : update rule, optional
        From `paralift.optim`; ``Adam(1e-3)`` by default. Methods that move the parameters themselves use its
        regulariser only.
    loss : Loss, optional
        From `paralift.losses`; by default the one that belongs to the last activation.
    epochs : int
    batch_size : int or None
        Samples of a batch over all shards; None takes all samples as one batch.
    seed : int
        Of the initial parameters and of the shuffles. Same seed and ranks: same bits.
    dtype : float32 or float64
    shuffle : bool
    test : Source or pair of arrays, optional
        With `data` a pair or a source.
    params : mapping, optional
        Initial parameters instead of ``network.init(seed)``.
    comm : mpi4py.MPI.Comm or None
        Duplicated, never used otherwise. By default the world of the MPI launcher, if one started the process; None
        trains alone.
    plan : Plan, optional
        Who owns what; chosen by `plan.choose` otherwise.
    stages, micro_batches : int, optional
        Fixed parts of the plan that is chosen.
    out : path, optional
        Run folder: config.toml, metrics.jsonl, summary.json, checkpoints/. Rank 0's counts.
    resume : "auto" or path, optional
        A checkpoint to go on from; "auto" takes the newest in `out`, if there is one. Bit for bit on the same ranks.
    checkpoint_every : int
        Epochs between checkpoints; the last epoch always writes one.
    progress : bool
        Whether rank 0 shows a bar.
    device : {"cpu", "gpu"}
        "gpu" trains with CuPy, on one rank.
    config : str, optional
        Text for config.toml.

    Returns
    -------
    Result
        The same on every rank.

    Raises
    ------
    ValueError, TypeError
        If an argument is wrong, on every rank.
    AgreedError
        If a rank cannot read its data or a checkpoint; every rank raises it and names that rank.
    DivergedError
        If the loss or a parameter becomes NaN or infinite; the last checkpoint stays as it is.
    """
    method = nudged() if method is None else method
    rule = optim.Adam(1e-3) if optimizer is None else optimizer
    loss = default_loss(network.blocks[-1].activation) if loss is None else loss
    loss.check(network.blocks[-1].activation)
    state_regularizers(network, method)
    _expect_counts(epochs=epochs, checkpoint_every=checkpoint_every)
    if params is not None:
        check_params(network, params)
    comm = find_world() if comm is WORLD else comm
    ranks = 1 if comm is None else comm.Get_size()
    like = _like(dtype, device, ranks)
    dataset = _dataset(data, test)
    _check_shapes(network, dataset, loss)
    batch = dataset.train.n_samples if batch_size is None else min(batch_size, dataset.train.n_samples)
    if plan is None:
        itemsize = float_type(dtype).itemsize
        plan = plans.choose(network, ranks, batch, stages=stages, micro_batches=micro_batches, itemsize=itemsize)
    plan.check(network, ranks)
    attributes = {
        "network": network.source, "method": repr(method), "optimizer": repr(rule), "loss": repr(loss),
        "data": dataset.name, "dtype": str(float_type(dtype)), "seed": seed, "batch_size": batch, "shuffle": shuffle,
    }  # fmt: skip
    with Grid(comm, plan.shards, plan.stages) as grid, guard(grid, "training"), _threads(ranks), _quiet():
        sampler = Sampler(dataset.train.n_samples, batch, seed, shuffle, grid.shards, grid.shard)
        worker = Worker(grid, plan, network, dataset, method, rule, loss, sampler, epochs, like)
        if params is None:
            worker.stage.init(seed)
        else:
            worker.stage.load(params)
        folder, first, history = _open_run(worker, out, resume, attributes, config)
        run = _Run(worker, dataset, folder, attributes, epochs, checkpoint_every, history)
        reason = run.loop(first, progress)
        return run.result(reason)


class _Run:
    """The loop over epochs and what it keeps."""

    def __init__(
        self, worker: Worker, data: Dataset, folder: RunFolder | None, attributes: Mapping[str, Any], epochs: int,
        checkpoint_every: int, history: list[dict[str, Any]],
    ) -> None:  # fmt: skip
        self.worker, self.data, self.folder, self.attributes = worker, data, folder, attributes
        self.epochs, self.checkpoint_every, self.history = epochs, checkpoint_every, history
        self.saves = share(worker.grid, folder is not None)
        self.train_seconds = 0.0
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
        worker, sampler, total = self.worker, self.worker.sampler, 0.0
        n_batches, began = sampler.n_batches, time.perf_counter()
        order = sampler.epoch(epoch)
        for t in range(n_batches):
            batch = Batch(order[t], sampler.batch_global(t), epoch, epoch * n_batches + t)
            total = total + worker.step(batch)
            if (t + 1) % WATCH == 0 and t + 1 < n_batches:
                self.look(float(total), epoch, t)
                bar.advance(WATCH)
        loss = self.look(float(total), epoch, n_batches - 1) / sampler.n_samples
        seconds = time.perf_counter() - began
        self.train_seconds += seconds
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

    def look(self, loss_sum: float, epoch: int, t: int) -> float:
        """Return the loss summed over all ranks; raise on all ranks if it or a parameter is not finite; collective."""
        total = float(self.worker.grid.sum(np.array([loss_sum + self.worker.finite()]))[0])
        if np.isfinite(total):
            return total
        saved = checkpoint.all_of(self.folder.path) if self.folder is not None else []
        saved_text = f"the checkpoint {saved[-1]} is intact" if saved else "no checkpoint was written"
        raise DivergedError(
            f"the loss became {total} in epoch {epoch + 1}, at or before batch {t + 1}; {saved_text}; "
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
        self.worker.save(path, {**self.attributes, "epoch": epochs_done, "step": step})

    def result(self, reason: Reason) -> Result:
        """Return the result, after writing the summary; collective."""
        worker, plan = self.worker, self.worker.plan
        steps = max(1, sum(1 for _ in self.history)) * worker.sampler.n_batches
        memory = np.zeros(worker.grid.size)
        memory[worker.grid.rank] = peak_memory()
        last = self.history[-1] if self.history else {}
        summary = {
            "ranks": worker.grid.size, "shards": plan.shards, "stages": plan.stages,
            "plan": {"bounds": list(plan.bounds), "micro_batches": plan.micro_batches},
            **{k: v for k, v in last.items() if k.startswith(("test", "train", "loss", "energy", "epoch"))},
            "seconds": time.perf_counter() - self.start,
            "train_seconds": self.train_seconds,
            "seconds_per_step": self.train_seconds / steps,
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
        worker.messages.free()
        return Result(worker.network, worker.loss, params, self.history, reason, summary)


def _open_run(
    worker: Worker, out: Any, resume: Any, attributes: Mapping[str, Any], config: str | None
) -> tuple[RunFolder | None, int, list[dict[str, Any]]]:
    """Return the run folder (rank 0), the first epoch and the history, after restoring a checkpoint if asked; collective."""
    grid, error, folder = worker.grid, None, None
    path, first, history = None, 0, []
    if grid.rank == 0:
        try:
            path = _checkpoint_path(out, resume)
            if out is not None:
                _expect_new(out, path)
                text = config if config is not None else _config_text(attributes)
                folder = RunFolder(out, text, append=path is not None)
            if path is not None:
                _, found = checkpoint.load_params(path)
                checkpoint.expect_same(path, found, attributes)
                first = int(found["epoch"])
                history = folder.drop_after(first) if folder is not None else []
        except Exception as failure:
            error = failure
    grid.agree(error)
    path, first, history = share(grid, (path, first, history))
    if path is not None:
        try:
            worker.restore(path)
        except Exception as failure:
            error = failure
        grid.agree(error)
    return folder, first, history


def _expect_new(out: Any, path: Path | None) -> None:
    """Raise ValueError rather than mix a new run with the checkpoints of an old one."""
    if path is None and checkpoint.all_of(out):
        raise ValueError(f'{out} holds the checkpoints of a run: pass resume="auto" to go on, or another folder')


def _checkpoint_path(out: Any, resume: Any) -> Path | None:
    if resume is None:
        return None
    if resume != "auto":
        return Path(resume)
    if out is None:
        raise ValueError('resume="auto" needs a run folder: pass out="runs/name"')
    found = checkpoint.all_of(out)
    return found[-1] if found else None


def _config_text(attributes: Mapping[str, Any]) -> str:
    """Return a configuration for runs started from Python, in the command line's syntax."""
    lines = [f"{key} = '''{attributes[key]}'''" for key in ("data", "network", "method", "optimizer", "loss")]
    lines += ["", "[training]", f"batch_size = {attributes['batch_size']}", f"seed = {attributes['seed']}"]
    return "\n".join([*lines, f'dtype = "{attributes["dtype"]}"']) + "\n"


def _dataset(data: Any, test: Any) -> Dataset:
    """Return `data` as a data set."""
    if isinstance(data, Dataset):
        return data
    if isinstance(data, tuple | list) and len(data) == 2:
        return data_room.from_arrays(data[0], data[1], test=test)
    if isinstance(data, data_room.Source):
        return Dataset(data.name, data, test)
    raise TypeError(f"data is {type(data).__name__}, expected a data set, a source or a pair of arrays (x, y)")


def _check_shapes(network: Network, data: Dataset, loss: Loss) -> None:
    if data.sample_shape != network.input_shape:
        raise ValueError(
            f"{data.name}: samples have shape {data.sample_shape}, the network reads {network.input_shape}"
        )
    expected = () if data.target_shape == () else network.output_shape
    if data.target_shape != expected:
        raise ValueError(f"{data.name}: targets have shape {data.target_shape}, the network gives {expected}")
    if data.target_shape == () and not loss.takes_labels():
        raise ValueError(f"{data.name}: class labels, but {loss!r} takes floats: end the network with Softmax()")
    classes, width = data.n_classes, network.output_shape[-1]
    if data.target_shape == () and classes is not None and classes > width:
        raise ValueError(f"{data.name}: {classes} classes, the network has {width} outputs")


def _like(dtype: Any, device: str, ranks: int) -> Array:
    """Return an array of the library and type of the run."""
    if device == "cpu":
        return np.zeros(1, float_type(dtype))
    if device != "gpu":
        raise ValueError(f"device is {device!r}, expected 'cpu' or 'gpu'")
    if ranks > 1:
        raise ValueError(f"device='gpu' runs on one rank, {ranks} given")
    try:
        import cupy
    except ImportError as error:
        raise ImportError("device='gpu' needs CuPy: pip install 'paralift[gpu]'") from error
    return cupy.zeros(1, float_type(dtype))


def _expect_counts(**counts: int) -> None:
    for name, value in counts.items():
        if not isinstance(value, int) or value < (0 if name == "epochs" else 1):
            raise ValueError(f"{name} is {value!r}, expected a whole number, at least {0 if name == 'epochs' else 1}")


@contextlib.contextmanager
def _threads(ranks: int) -> Iterator[None]:
    """One BLAS thread a rank where several ranks share a machine."""
    if ranks == 1:
        yield
        return
    with threadpool_limits(limits=1, user_api="blas"):
        yield


def _quiet() -> Any:
    """Return a context in which overflow says nothing: the loop looks at the loss itself and raises on all ranks."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")
