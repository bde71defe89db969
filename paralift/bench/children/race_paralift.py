"""The race's run of ParaLift by `fit`, on one rank or on a stage for each rank of a launcher."""

from __future__ import annotations

import json
import os
import sys

import paralift as pl
from paralift.bench.lateness import BATCH_SIZE, initial, network, samples
from paralift.parallel.world import find_world


def main() -> None:
    """Train once with a warm start of the compiler, then with a clock."""
    seed, epochs, n_samples, cores = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].split(",")
    comm = find_world()
    rank, ranks = (0, 1) if comm is None else (comm.Get_rank(), comm.Get_size())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(cores[rank])})
    net, data = network(), samples(n_samples)
    for n in (1, epochs):  # the first run compiles
        result = pl.fit(
            net, data, optimizer=pl.optim.Adam(1e-3), epochs=n, batch_size=BATCH_SIZE, seed=seed, params=initial(net, seed),
            comm=comm, stages=ranks, progress=False,
        )  # fmt: skip
    n = data.train.n_samples
    found = [{"seconds": n / r["samples_per_second"], "accuracy": r["test_accuracy"]} for r in result.history]
    if rank == 0:
        print(json.dumps({"epochs": found}), flush=True)


if __name__ == "__main__":
    main()
