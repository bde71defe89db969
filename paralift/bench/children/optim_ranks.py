"""Algorithms on a lasso with a known answer, on ranks of different speed; rank 0 prints a line of JSON for each run."""

from __future__ import annotations

import json
import sys

import numpy as np

from paralift.bench.disturbance import Late, LateTeam
from paralift.bench.optim import ALGORITHMS, Disturbance
from paralift.optim.algorithms.run import Run, Stop
from paralift.optim.problems import AnalyticLasso
from paralift.parallel.grid import Grid
from paralift.parallel.team import MPITeam
from paralift.parallel.watch import guard
from paralift.parallel.world import find_world


def main() -> None:
    """Run the algorithms of the arguments, each as often as asked."""
    names, how = sys.argv[1].split(";"), Disturbance(**json.loads(sys.argv[2]))
    comm = find_world()
    with Grid(comm, comm.Get_size(), 1) as grid, guard(grid):
        for seed in range(how.runs):
            for name in names:
                found = _run(grid, name, how, seed)
                if grid.rank == 0:
                    print(json.dumps({"run": found}), flush=True)


def _run(grid: Grid, name: str, how: Disturbance, seed: int) -> dict[str, object]:
    whole = AnalyticLasso(samples=how.samples * grid.size)
    factor = how.slow if grid.rank == how.slow_rank else 1.0
    part = Late(whole.part(grid.rank, grid.size), how.work * factor, how.spread, seed * grid.size + grid.rank)
    team = LateTeam(MPITeam(grid), how.latency, how.spread, seed)

    def gap(x: np.ndarray) -> float:
        return whole.value(x) + whole.penalty(x) - whole.optimum

    stop = Stop(0.0, 10**6, how.limit, lambda x: gap(x) <= how.target)
    run = Run(part, team, np.zeros(whole.start.shape), stop, every=how.every, seed=seed)  # type: ignore[arg-type]
    ALGORITHMS[name].run(run)
    seconds = run.elapsed
    sent = grid.sum(np.array([float(team.bytes_sent)]))[0] + sum(run.facts.get("letter_bytes", []))
    return {
        "name": name, "seed": seed, "reason": run.reason, "updates": run.updates, "seconds": seconds, "gap": gap(run.x),
        "bytes": sent, "gradients": run.facts.get("gradients"), "longest_delay": run.facts.get("delays", {}).get("longest"),
        "curve": [
            (line["seconds"], line["update"], line["bytes"], line["objective"] - whole.optimum)
            for line in run.history
            if "objective" in line  # of long asynchronous runs only some points are kept
        ],
    }  # fmt: skip


if __name__ == "__main__":
    main()
