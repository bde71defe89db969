"""The training loop's own step of ParaLift, on one rank or on those of a launcher, samples gathered from a data set.

Everything is what `fit` uses: the worker with its stage, the sweep, the sums over shards, the optimiser. Rank 0 speaks; the
others sleep between blocks, so that they do not disturb what else is measured.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from loop import N_BATCHES, RATE, arguments, check_parameters, serve

import paralift as pl
from paralift.bench import problems
from paralift.bench.machine import blas
from paralift.data import Sampler
from paralift.lifted.network import Network
from paralift.parallel import plan as plans
from paralift.parallel.batch import Batch
from paralift.parallel.choosing import Option, Question, best
from paralift.parallel.grid import Grid
from paralift.parallel.measure import measure
from paralift.parallel.plan import Plan
from paralift.parallel.world import find_world
from paralift.training.worker import Worker

NAP = 1e-2
"""Seconds between two looks of a waiting rank: rare enough not to disturb what is measured meanwhile."""

METHOD = pl.methods.nudged()


def main() -> None:
    """Build the worker, then answer (rank 0) or follow."""
    parser = arguments()
    parser.add_argument("--stages", type=int, default=1)
    parser.add_argument("--schedule", choices=plans.SCHEDULES, default="flush")
    parser.add_argument("--planned", action="store_true", help="stages and schedule are the plan's choice")
    parser.add_argument("--copies", action="store_true", help="every rank trains alone, all at the same time")
    parser.add_argument("--cores", required=True, help="as many for each rank")
    args = parser.parse_args()
    comm = find_world()
    rank, ranks = (0, 1) if comm is None else (comm.Get_rank(), comm.Get_size())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, own_cores([int(core) for core in args.cores.split(",")], rank, ranks))
    net = network(args)
    whole, together = (None, 1) if args.copies else (comm, ranks)
    stages, schedule = (None, None) if args.planned else (args.stages, args.schedule)
    option = choose(whole, together, net, args.batch, stages, schedule)
    plan = option.plan
    with Grid(comm, ranks // plan.stages, plan.stages) as grid:
        run = build(Grid(None, 1, 1) if args.copies else grid, plan, net, args.batch)
        facts = {"ranks": ranks, "shards": plan.shards, "stages": plan.stages, "bounds": list(plan.bounds),
                 "micro_batches": plan.micro_batches, "schedule": plan.schedule, "method": repr(METHOD),
                 "predicted_s": option.predicted.seconds, "blas": blas()}  # fmt: skip
        if rank == 0:
            serve(lambda n: led(grid, run, n), args.block, facts)
            led(grid, run, 0)
        else:
            follow(grid, run)


def own_cores(cores: list[int], rank: int, ranks: int) -> set[int]:
    """Return a rank's part of the cores."""
    each = len(cores) // ranks
    return set(cores[rank * each : (rank + 1) * each])


def choose(comm: Any, ranks: int, net: Network, batch: int, stages: int | None, schedule: str | None) -> Option:
    """Return the plan for a number of stages and a schedule with its prediction, by costs measured on all ranks."""
    like, rule = np.zeros(1, np.float32), pl.optim.Adam(RATE)
    with Grid(comm, ranks, 1) as everyone:
        costs = measure(net, like, batch, METHOD, pl.losses.CrossEntropy(), rule, everyone)
    return best(Question(net, ranks, batch, stages=stages, schedule=schedule), costs)


def network(args: Any) -> Network:
    """Return the network that the arguments name."""
    net = problems.perceptron(args.widths) if args.widths else problems.find(args.network)[0].network()
    check_parameters(net.n_parameters, args)
    return net


def build(grid: Grid, plan: Plan, net: Network, batch: int) -> Callable[[int], None]:
    """Return a function that takes n steps as the training loop does; 0 ends the training.

    An unflushed wave is not drained between blocks: a block starts and ends with as much in flight, as in the middle of an
    epoch.
    """
    n = N_BATCHES * batch
    data = pl.data.from_arrays(*samples(net, n))
    sampler = Sampler(n, batch, 0, True, grid.shards, grid.shard)
    rule, loss = pl.optim.Adam(RATE), pl.losses.CrossEntropy()
    worker = Worker(grid, plan, net, data, METHOD, rule, loss, sampler, 1, np.zeros(1, np.float32))
    worker.stage.init(0)
    coming = batches(worker)
    current = next(coming)

    def run(n: int) -> None:
        nonlocal current
        total: Any = 0.0
        for _ in range(n):
            following = next(coming)
            total = total + worker.step(current, following)
            current = following
        if n == 0:
            worker.step(current)
            worker.step.drain()
        if not np.isfinite(total):
            raise FloatingPointError("the benchmark's training diverged")

    return run


def samples(net: Network, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return n random samples and their labels: tokens where an embedding reads them."""
    rng = np.random.default_rng(0)
    embeddings = [block.map for block in net.blocks if isinstance(block.map, pl.Embedding)]
    shape, classes = (n, *net.input_shape), net.output_shape[-1]
    x = rng.integers(0, embeddings[0].tokens, shape) if embeddings else rng.standard_normal(shape, np.float32)
    return x, rng.integers(0, classes, (n, *net.output_shape[:-1]))


def batches(worker: Worker) -> Iterator[Batch]:
    """Yield the batches of the first epoch over and over; a new order, drawn once an epoch, is no part of a step."""
    epoch, step = list(worker.batches(0)), 0
    while True:
        for batch in epoch:
            yield replace(batch, step=step)
            step += 1


def led(grid: Grid, run: Callable[[int], None], n: int) -> float:
    """Have all ranks take `n` steps; return the seconds of the slowest. With 0 the others stop following."""
    if grid.world is not None:
        number = np.array([n])
        for other in range(1, grid.size):
            grid.world.Send(number, other)
    return timed(grid, run, n)


def follow(grid: Grid, run: Callable[[int], None]) -> None:
    """Take as many steps as rank 0 says, until it says 0."""
    number = np.zeros(1, int)
    while True:
        request = grid.world.Irecv(number, 0)
        while not request.Test():
            time.sleep(NAP)
        timed(grid, run, int(number[0]))
        if not number[0]:
            return


def timed(grid: Grid, run: Callable[[int], None], n: int) -> float:
    """Return the seconds of `n` steps on the slowest rank, in the middle of many; 0 steps end the training.

    A step behind the barrier is not counted: later stages of a pipeline begin it when the first one hands it on, and a few
    steps would be charged with that delay, which no other step has.
    """
    if grid.world is not None and n:
        grid.world.Barrier()
        run(1)
    start = time.perf_counter()
    run(n)
    seconds = np.zeros(grid.size)
    seconds[grid.rank] = time.perf_counter() - start
    return float(grid.sum(seconds).max())


if __name__ == "__main__":
    main()
