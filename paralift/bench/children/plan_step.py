"""The training loop's own step with what its plan predicts: `paralift_step`, started by costs that all ranks measure first."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import paralift_step as step
from loop import N_BATCHES, RATE, WARM_UP, arguments, serve

import paralift as pl
from paralift.bench.machine import blas
from paralift.lifted.network import Network
from paralift.parallel.choosing import Question, best
from paralift.parallel.grid import Grid
from paralift.parallel.measure import measure
from paralift.parallel.world import find_world
from paralift.training.metrics import release_memory, resident_memory

MEASUREMENTS = 3
"""Of costs; the first gives the plan, as in a run, and all are recorded."""


def main() -> None:
    """Predict, build the worker, then answer (rank 0) or follow."""
    parser = arguments()
    parser.add_argument("--stages", type=int, default=1)
    parser.add_argument("--schedule", choices=("unflushed", "flush"), default=None)
    parser.add_argument("--cores", required=True, help="one for each rank")
    args = parser.parse_args()
    comm = find_world()
    rank, ranks = (0, 1) if comm is None else (comm.Get_rank(), comm.Get_size())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {[int(core) for core in args.cores.split(",")][rank]})
    net = step.network(args)
    question = Question(net, ranks, args.batch, stages=args.stages, schedule=args.schedule)
    options = []
    for _ in range(MEASUREMENTS):
        with Grid(comm, ranks, 1) as everyone:
            like, rule = np.zeros(1, np.float32), pl.optim.Adam(RATE)
            costs = measure(net, like, args.batch, step.METHOD, pl.losses.CrossEntropy(), rule, everyone)
        options.append(best(question, costs))
    plan, predicted = options[0].plan, options[0].predicted
    with Grid(comm, plan.shards, plan.stages) as grid:
        release_memory()
        before = resident_memory()
        run = step.build(grid, plan, net, args.batch)
        run(WARM_UP)
        release_memory()
        memory = np.zeros(ranks)
        memory[rank] = resident_memory() - before - samples(grid, net, args.batch)
        facts: dict[str, Any] = {
            "ranks": ranks, "shards": plan.shards, "stages": plan.stages, "bounds": list(plan.bounds),
            "micro_batches": plan.micro_batches, "schedule": plan.schedule, "blas": blas(),
            "predicted_s": predicted.seconds, "predictions_s": [o.predicted.seconds for o in options],
            "stage_s": list(predicted.stage_seconds), "exchange_s": predicted.exchange,
            "reduction_s": predicted.reduction, "bubble_s": predicted.bubble,
            "predicted_bytes": [predicted.memory[r % plan.stages] for r in range(ranks)],
            "bytes": [int(m) for m in grid.sum(memory)],
        }  # fmt: skip
        if rank == 0:
            serve(lambda n: step.led(grid, run, n), args.block, facts)
            step.led(grid, run, 0)
        else:
            step.follow(grid, run)


def samples(grid: Grid, net: Network, batch: int) -> int:
    """Return the bytes of the samples that this rank keeps: they are no part of what is predicted."""
    n = N_BATCHES * batch
    x = n * math.prod(net.input_shape) * 4 if grid.stage == 0 else 0
    return x + (n * 8 if grid.stage + 1 == grid.stages else 0)


if __name__ == "__main__":
    main()
