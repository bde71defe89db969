"""`fit`: the one driver loop, alone or on any number of ranks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from paralift import optim
from paralift.data import Sampler
from paralift.lifted.inference.estimate import state_regularizers
from paralift.lifted.losses import Loss, default_loss
from paralift.lifted.methods import Method, nudged
from paralift.lifted.network import Network, Params, check_params, float_type
from paralift.parallel.activity import ACTIVITY
from paralift.parallel.budget import ranks_of_node, read_bytes, states_budget
from paralift.parallel.collect import share
from paralift.parallel.grid import Grid
from paralift.parallel.kept import Kept, Shapes, keep
from paralift.parallel.measure import Trial
from paralift.parallel.plan import Plan
from paralift.parallel.stall import StallWatch
from paralift.parallel.versions import read_kappa
from paralift.parallel.watch import guard
from paralift.parallel.world import find_world
from paralift.training.arguments import array_like, as_dataset, check_shapes, expect_counts, expect_patience
from paralift.training.logbook import LOG, Logbook
from paralift.training.opening import checkpoint_path, open_run
from paralift.training.planning import decide, question_of, stored_plan
from paralift.training.result import Result
from paralift.training.run import DivergedError, Run, Saving
from paralift.training.signals import Signals
from paralift.training.tally import Tally
from paralift.training.worker import Worker

__all__ = ["WORLD", "DivergedError", "fit"]


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
    plan: Plan | str | None = None,
    stages: int | None = None,
    micro_batches: int | None = None,
    schedule: str | None = None,
    kappa: float | None = None,
    memory: int | str | None = None,
    threads: int | None = None,
    states_memory: int | str | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    checkpoint_every: int = 1,
    checkpoints: int = 2,
    patience: float = 600.0,
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
    plan : Plan, "measured" or "counted", optional
        Who owns what. By default it is chosen by measured costs: a plan by counted ones, the same on every machine, is
        kept unless another is faster by more than 5 %. A resumed run keeps its plan on the same number of ranks.
    stages, micro_batches : int, optional
        Fixed parts of the plan that is chosen.
    schedule : {"unflushed", "flush"}, optional
        Of sweeps, if the plan is chosen. "unflushed", the default where there are several stages, never empties the pipe
        between batches: every gradient is late by one step. "flush" takes the exact synchronous step.
    kappa : float, optional
        Passes of an unflushed schedule read theta + kappa (theta - theta_previous); the default is the update rule's own.
    memory : int or str, optional
        Bytes that a rank may take, or ``"16GiB"``; plans that need more are not chosen.
    threads : int, optional
        BLAS threads of a rank; by default 1 where several ranks share a machine, else what BLAS takes by itself.
    states_memory : int or str, optional
        Bytes a rank (or ``"4GiB"``) that variables which a method keeps of all samples take in memory; larger ones are
        kept in a file in the run folder, or in the system's folder for temporary files. By default half of a rank's
        share of the memory. The results are the same.
    out : path, optional
        Run folder: config.toml, metrics.jsonl, summary.json, checkpoints/, logs/. Rank 0's counts; all ranks must see it.
    resume : "auto" or path, optional
        A checkpoint to go on from; "auto" takes the newest whole one in `out`, if there is one, and names damaged ones.
        Bit for bit on the same ranks, to rounding on others.
    checkpoint_every : int
        Epochs between checkpoints; the last epoch always writes one. SIGUSR1 asks for one at once, SIGUSR2 and SIGTERM ask
        for one and the end of the run; `reason` says so then.
    checkpoints : int
        The newest ones that stay.
    patience : float
        Seconds that a rank waits for another before the job is ended; the wait is named after a tenth of it.
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
        If an argument is wrong or no plan fits into the memory, on every rank.
    AgreedError
        If a rank cannot read its data or a checkpoint, or has no room for kept variables; every rank raises it and names
        that rank.
    DivergedError
        If the loss or a parameter becomes NaN or infinite; the last checkpoint stays as it is.
    """
    method = nudged() if method is None else method
    rule = optim.Adam(1e-3) if optimizer is None else optimizer
    loss = default_loss(network.blocks[-1].activation) if loss is None else loss
    loss.check(network.blocks[-1].activation)
    state_regularizers(network, method)
    threads_or_one = 1 if threads is None else threads
    expect_counts(epochs=epochs, checkpoint_every=checkpoint_every, checkpoints=checkpoints, threads=threads_or_one)
    expect_patience(patience)
    kappa = rule.kappa if kappa is None else read_kappa(kappa)
    if states_memory is not None:
        read_bytes(states_memory)
    if params is not None:
        check_params(network, params)
    comm = find_world() if comm is WORLD else comm
    ranks = 1 if comm is None else comm.Get_size()
    like = array_like(dtype, device, ranks)
    dataset = as_dataset(data, test)
    check_shapes(network, dataset, loss)
    batch = dataset.train.n_samples if batch_size is None else min(batch_size, dataset.train.n_samples)
    limit = None if memory is None else read_bytes(memory)
    fixed = {"stages": stages, "micro_batches": micro_batches, "schedule": schedule, "memory": limit}
    question = question_of(network, ranks, batch, method, rule, float_type(dtype).itemsize, **fixed)
    trial = Trial(network, like, batch, method, loss, rule)
    with _threads(comm, threads), _quiet():
        decision = decide(plan, question, trial, comm, _stored(comm, out, resume))
    plan = decision.plan
    attributes = {
        "network": network.source, "method": repr(method), "optimizer": repr(rule), "loss": repr(loss),
        "data": dataset.name, "dtype": str(float_type(dtype)), "seed": seed, "batch_size": batch, "shuffle": shuffle,
    }  # fmt: skip
    with (
        Grid(comm, plan.shards, plan.stages) as grid, guard(grid), StallWatch(grid, patience), _threads(comm, threads),
        _quiet(), Signals() as signals, Logbook(grid) as logbook, ExitStack() as stack,
    ):  # fmt: skip
        ACTIVITY.enter("the start, reading data and making buffers")
        sampler = Sampler(dataset.train.n_samples, batch, seed, shuffle, grid.shards, grid.shard)

        def place(shapes: Shapes, n_local: int) -> Kept:
            budget = states_budget(states_memory, grid.world, like)
            return keep(shapes, n_local, like, budget, grid, share(grid, None if out is None else str(out)))

        tally = Tally(decision, progress)
        worker = Worker(grid, plan, network, dataset, method, rule, loss, sampler, epochs, like, kappa, place)
        if params is None:
            worker.stage.init(seed)
        else:
            worker.stage.load(params)
        ACTIVITY.enter("the start, opening the run folder")
        folder, path, position, history = open_run(worker, out, resume, attributes, config)
        if folder is not None:
            stack.callback(folder.close)
        logbook.open(path)
        LOG.info("%s, %s", plan, f"from epoch {position.epoch + 1}, batch {position.batch + 1}")
        tally.show_plan(grid)
        saving = Saving(path, checkpoint_every, checkpoints)
        run = Run(worker, dataset, folder, attributes, epochs, saving, history, tally, signals)
        reason = run.loop(position, progress)
        return run.result(reason)


@contextlib.contextmanager
def _threads(comm: Any, threads: int | None) -> Iterator[None]:
    """Give BLAS so many threads; by default one where several ranks share a machine, else what it takes by itself."""
    if threads is None and ranks_of_node(comm) == 1:
        yield
        return
    with threadpool_limits(limits=1 if threads is None else threads, user_api="blas"):
        yield


def _stored(comm: Any, out: Any, resume: Any) -> Plan | None:
    """Return the plan of the checkpoint that the run goes on from, on rank 0."""
    if resume is None or (comm is not None and comm.Get_rank() > 0):
        return None
    try:
        return stored_plan(checkpoint_path(out, resume))
    except ValueError:  # said to all ranks when the run is opened
        return None


def _quiet() -> Any:
    """Return a context in which overflow says nothing: the loop looks at the loss itself and raises on all ranks."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")
