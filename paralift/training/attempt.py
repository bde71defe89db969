"""One attempt at a run on a number of ranks: the plan, the parts of every rank, the loop. A run whose ranks die has several."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from paralift.data import Dataset, Sampler
from paralift.kernels.arrays import Array
from paralift.kernels.precision import products
from paralift.lifted.inference.proxgrad import ProximalGradient
from paralift.lifted.initial import Scheme
from paralift.lifted.losses import Loss
from paralift.lifted.methods import Method
from paralift.lifted.network import Network, Params
from paralift.parallel.activity import ACTIVITY
from paralift.parallel.budget import ranks_of_node, states_budget
from paralift.parallel.choosing import Question
from paralift.parallel.collect import share
from paralift.parallel.grid import Grid
from paralift.parallel.kept import Kept, Shapes, keep
from paralift.parallel.measure import Trial
from paralift.parallel.plan import Plan
from paralift.parallel.stall import StallWatch
from paralift.parallel.survival import RankLost, leave_without_finalize, surviving
from paralift.parallel.watch import guard
from paralift.training.callbacks import Calls
from paralift.training.copies import Copies
from paralift.training.logbook import LOG, Logbook
from paralift.training.opening import open_run, stored
from paralift.training.planning import Decision, decide
from paralift.training.result import Result
from paralift.training.run import Run, Saving
from paralift.training.signals import Signals
from paralift.training.tally import Tally
from paralift.training.techniques import Techniques
from paralift.training.worker import Worker


@dataclass(frozen=True)
class Task:
    """A run without its ranks; the parameters are those of `fit`, checked and resolved.

    Parameters
    ----------
    question : Question
        What the plan is wanted for.
    wanted : Plan, "measured", "counted" or None
    attributes : mapping
        What a checkpoint must have in common with the run.
    lost : int
        Ranks that died so far.
    """

    network: Network
    data: Dataset
    method: Method
    rule: Any
    loss: Loss
    epochs: int
    batch_size: int
    seed: int
    shuffle: bool
    params: Params | None
    like: Array
    question: Question
    wanted: Plan | str | None
    threads: int | None
    states_memory: int | str | None
    attributes: Mapping[str, Any]
    out: str | Path | None
    resume: str | Path | None
    checkpoint_every: int
    checkpoints: int
    patience: float
    survive: bool
    progress: bool
    config: str | None
    techniques: Techniques = Techniques()
    init: Scheme = None
    precision: str = "full"
    callbacks: tuple[Any, ...] = ()
    lost: int = 0

    def on_survivors(self, ranks: int, plan: Plan) -> Task:
        """Return the task for those that are left: the schedule stays, who owns what is chosen anew."""
        stages = self.question.stages
        fitting = stages if stages is not None and ranks % stages == 0 else None
        micro_batches = self.question.micro_batches if fitting else None
        question = replace(
            self.question, ranks=ranks, stages=fitting, micro_batches=micro_batches, schedule=plan.schedule
        )
        wanted = None if isinstance(self.wanted, Plan) else self.wanted
        resume, lost = None if self.out is None else "auto", self.lost + self.question.ranks - ranks
        return replace(self, question=question, wanted=wanted, resume=resume, lost=lost)


def train(task: Task, comm: Any) -> Result:
    """Run a task on the ranks of a communicator; with `survive`, on those that are left when ranks die."""
    copies: Copies | None = None
    while True:
        try:
            with products(task.precision, task.like):
                return _attempt(task, comm, copies)
        except _Left as left:
            comm, copies = left.lost.survivors, left.copies
            leave_without_finalize()
            task = task.on_survivors(comm.Get_size(), left.plan)
            if comm.Get_rank() == 0:
                LOG.warning("%s; %d go on", left.lost, comm.Get_size())


class _Left(Exception):  # noqa: N818
    """What an attempt leaves behind that lost ranks."""

    def __init__(self, lost: RankLost, copies: Copies | None, plan: Plan) -> None:
        super().__init__(str(lost))
        self.lost, self.copies, self.plan = lost, copies, plan


def _attempt(task: Task, comm: Any, past: Copies | None) -> Result:
    with Logbook(0 if comm is None else comm.Get_rank()) as logbook, StallWatch(comm, task.patience):
        ACTIVITY.enter("the start, measuring the plan")
        decision = _decision(task, comm)
        ACTIVITY.enter("the start, reading data and making buffers")
        return _planned(task, comm, past, decision, logbook)


def _decision(task: Task, comm: Any) -> Decision:
    trial = Trial(task.network, task.like, task.batch_size, task.method, task.loss, task.rule)
    old = stored(comm, task.out, task.resume)
    question = task.question
    if question.schedule is None and old is not None:  # a resumed run goes on as it was
        question = replace(question, schedule=old.schedule)
    with threads(comm, task.threads), quiet():
        return decide(task.wanted, question, trial, comm, old)


def _planned(task: Task, comm: Any, past: Copies | None, decision: Decision, logbook: Logbook) -> Result:
    """Run the task by a plan."""
    plan = decision.plan
    copied = task.survive and not isinstance(task.method.inference, ProximalGradient)
    copies = Copies() if copied and comm is not None and comm.Get_size() > 1 else None
    with Grid(comm, plan.shards, plan.stages) as grid:
        logbook.place(grid)
        try:
            with (
                guard(grid), surviving(grid, task.survive), threads(comm, task.threads), quiet(),
                Signals() as signals, ExitStack() as stack,
            ):  # fmt: skip
                tally = Tally(decision, task.progress)
                worker = worker_of(task, grid, plan)
                ACTIVITY.enter("the start, opening the run folder")
                opened = open_run(worker, task.out, task.resume, task.attributes, task.config, past)
                if opened.folder is not None:
                    stack.callback(opened.folder.close)
                logbook.open(opened.run)
                position = opened.position
                LOG.info("%s, from epoch %d, batch %d", plan, position.epoch + 1, position.batch + 1)
                tally.show_plan(grid)
                saving = Saving(opened.run, task.checkpoint_every, task.checkpoints)
                parts = (worker, task.data, opened.folder, task.attributes, task.epochs, saving, opened.history)
                calls = Calls(grid, task.callbacks)
                stack.callback(calls.abandon)
                calls.start(task.attributes, opened.history)
                run = Run(*parts, tally, signals, copies, task.lost, task.techniques.stop_early, calls)
                return run.result(run.loop(position, task.progress))
        except RankLost as lost:
            raise _Left(lost, copies if copies is not None and copies.kept else past, plan) from lost


def worker_of(task: Task, grid: Grid, plan: Plan) -> Worker:
    """Return what this rank brings to the run, with its initial parameters."""
    sampler = Sampler(task.data.train.n_samples, task.batch_size, task.seed, task.shuffle, grid.shards, grid.shard)

    def place(shapes: Shapes, n_local: int) -> Kept:
        budget = states_budget(task.states_memory, grid.world, task.like)
        return keep(shapes, n_local, task.like, budget, grid, share(grid, None if task.out is None else str(task.out)))

    parts = (task.network, task.data, task.method, task.rule, task.loss, sampler, task.epochs, task.like)
    worker = Worker(grid, plan, *parts, place, task.techniques)
    if task.params is None:
        worker.stage.init(task.seed, task.init)
    else:
        worker.stage.load(task.params)
    worker.optimizer.begin()
    return worker


@contextlib.contextmanager
def threads(comm: Any, wanted: int | None) -> Iterator[None]:
    """Give BLAS so many threads; by default one where several ranks share a machine, else what it takes by itself."""
    if wanted is None and ranks_of_node(comm) == 1:
        yield
        return
    with threadpool_limits(limits=1 if wanted is None else wanted, user_api="blas"):
        yield


def quiet() -> Any:
    """Return a context in which overflow says nothing: the loop looks at the loss itself and raises on all ranks."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")
