"""Accuracies of the study of schedules on as many stages as there are ranks; rank 0 prints them as a line of JSON."""

from __future__ import annotations

import json
import sys

from paralift.bench.lateness import RULES, trained
from paralift.parallel.world import find_world


def main() -> None:
    """Train one network for each seed."""
    schedule, n_seeds, quick = sys.argv[1], int(sys.argv[2]), bool(int(sys.argv[3]))
    comm = find_world()
    stages, rank = (1, 0) if comm is None else (comm.Get_size(), comm.Get_rank())
    rule = RULES["Adam(1e-3)"]
    found = [trained(seed, rule, schedule, comm=comm, stages=stages, quick=quick) for seed in range(n_seeds)]
    if rank == 0:
        print(json.dumps({"accuracies": found}), flush=True)


if __name__ == "__main__":
    main()
