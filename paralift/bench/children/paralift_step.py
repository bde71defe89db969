"""The training loop's own step of ParaLift, on one rank or on those of a launcher, samples gathered from a data set.

Everything is what `fit` uses: the worker with its stage, the sweep, the sums over shards, the optimiser. Rank 0 speaks; the
others sleep between blocks, so that they do not disturb what else is measured.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from loop import N_BATCHES, RATE, serve

import paralift as pl
from paralift.bench.machine import blas
from paralift.data import Sampler
from paralift.parallel import plan as plans
from paralift.parallel.grid import Grid
from paralift.parallel.plan import Plan
from paralift.parallel.steps import Batch
from paralift.parallel.world import find_world
from paralift.training.worker import Worker

NAP = 1e-2
"""Seconds between two looks of a waiting rank: rare enough not to disturb what is measured meanwhile."""

METHOD = pl.methods.nudged()


def main() -> None:
    """Build the worker, then answer (rank 0) or follow."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--widths", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--block", type=float, required=True)
    parser.add_argument("--stages", type=int, default=1)
    parser.add_argument("--cores", required=True, help="one for each rank")
    args = parser.parse_args()
    comm = find_world()
    rank, ranks = (0, 1) if comm is None else (comm.Get_rank(), comm.Get_size())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {[int(core) for core in args.cores.split(",")][rank]})
    net = network([int(width) for width in args.widths.split("-")])
    plan = plans.choose(net, ranks, args.batch, stages=args.stages)
    with Grid(comm, plan.shards, plan.stages) as grid:
        run = build(grid, plan, net, args.batch)
        facts = {"ranks": ranks, "shards": plan.shards, "stages": plan.stages, "bounds": list(plan.bounds),
                 "micro_batches": plan.micro_batches, "method": repr(METHOD), "blas": blas()}  # fmt: skip
        if rank == 0:
            serve(lambda n: led(grid, run, n), args.block, facts)
            led(grid, run, 0)
        else:
            follow(grid, run)


def network(widths: list[int]) -> pl.Sequential:
    """Return a perceptron with ReLU between its layers."""
    layers: list[Any] = []
    for a, b in pairwise(widths):
        layers += [pl.Linear(a, b), pl.ReLU()]
    return pl.Sequential(*layers[:-1], pl.Softmax())


def build(grid: Grid, plan: Plan, net: pl.Sequential, batch: int) -> Callable[[int], None]:
    """Return a function that takes n steps as the training loop does."""
    rng = np.random.default_rng(0)
    n, width, classes = N_BATCHES * batch, net.input_shape[0], net.output_shape[0]
    data = pl.data.from_arrays(rng.standard_normal((n, width), np.float32), rng.integers(0, classes, n))
    sampler = Sampler(n, batch, 0, True, grid.shards, grid.shard)
    rule, loss = pl.optim.Adam(RATE), pl.losses.CrossEntropy()
    worker = Worker(grid, plan, net, data, METHOD, rule, loss, sampler, 1, np.zeros(1, np.float32))
    worker.stage.init(0)
    coming = batches(sampler)

    def run(n: int) -> None:
        total: Any = 0.0
        for _ in range(n):
            total = total + worker.step(next(coming))
        if not np.isfinite(total):
            raise FloatingPointError("the benchmark's training diverged")

    return run


def batches(sampler: Sampler) -> Iterator[Batch]:
    """Yield the batches of the first epoch over and over; a new order, drawn once an epoch, is no part of a step."""
    order, step = sampler.epoch(0), 0
    while True:
        for t in range(sampler.n_batches):
            yield Batch(order[t], sampler.batch_global(t), 0, step)
            step += 1


def led(grid: Grid, run: Callable[[int], None], n: int) -> float:
    """Have all ranks take `n` steps; return the seconds of the slowest. With 0 the others stop following."""
    if grid.world is not None:
        number = np.array([n])
        for other in range(1, grid.size):
            grid.world.Send(number, other)
    return timed(grid, run, n) if n else 0.0


def follow(grid: Grid, run: Callable[[int], None]) -> None:
    """Take as many steps as rank 0 says, until it says 0."""
    number = np.zeros(1, int)
    while True:
        request = grid.world.Irecv(number, 0)
        while not request.Test():
            time.sleep(NAP)
        if not number[0]:
            return
        timed(grid, run, int(number[0]))


def timed(grid: Grid, run: Callable[[int], None], n: int) -> float:
    """Return the seconds of `n` steps between barriers."""
    if grid.world is not None:
        grid.world.Barrier()
    start = time.perf_counter()
    run(n)
    if grid.world is not None:
        grid.world.Barrier()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
