"""What forecast parameters cost in accuracy: for each update rule on one rank, and schedules on P stages.

The network is deep and residual (40-64, 16 branches 64-128-64 with ReLU, 64-10), the data MNIST-1D. Forecasts on one rank are
those on any number of ranks, so that most of this needs one rank only.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import paralift as pl
from paralift.bench import report
from paralift.data import Dataset
from paralift.launch import mpi_environment, mpirun_command
from paralift.lifted.network import Network, Params
from paralift.parallel.plan import Plan, block_costs
from paralift.parallel.split import split
from paralift.training.fit import DivergedError

BRANCHES, WIDTH, INNER = 16, 64, 128
EPOCHS, BATCH_SIZE = 10, 128
CHANCE = 0.1
RULES: Mapping[str, Any] = {
    "Adam(1e-3)": pl.optim.Adam(1e-3),
    "SGD(0.003)": pl.optim.SGD(0.003),
    "SGD(0.003, momentum=0.9)": pl.optim.SGD(0.003, momentum=0.9),
    "SGD(0.003, momentum=0.9, nesterov=True)": pl.optim.SGD(0.003, momentum=0.9, nesterov=True),
    "SGD(0.001, momentum=0.9)": pl.optim.SGD(0.001, momentum=0.9),
    "SGD(0.001, momentum=0.9, nesterov=True)": pl.optim.SGD(0.001, momentum=0.9, nesterov=True),
}
"""0.003 is near the largest stable rate of momentum."""
STAGES = (1, 2, 4, 8)
SEEDS = 5
CHILD = Path(__file__).parent / "children" / "stages_fit.py"
DEADLINE = 3600.0


def network() -> Network:
    """Return the residual network."""
    branches = [pl.Residual(pl.Linear(WIDTH, INNER), pl.ReLU(), pl.Linear(INNER, WIDTH)) for _ in range(BRANCHES)]
    return pl.Sequential(pl.Linear(40, WIDTH), *branches, pl.Linear(WIDTH, 10), pl.Softmax())


def initial(net: Network, seed: int) -> Params:
    """Return initial parameters; the ends of the branches are smaller by the root of their number."""
    params = net.init(seed)
    for arrays in params.values():
        if arrays.get("weight", np.empty(0)).shape == (INNER, WIDTH):
            arrays["weight"] *= np.float32(BRANCHES**-0.5)
    return params


@cache
def samples(n: int) -> Dataset:
    """Return the data, made once a process."""
    return pl.data.mnist1d(n)


def trained(
    seed: int, rule: Any, schedule: str, comm: Any = None, stages: int = 1, quick: bool = False
) -> float:
    """Return the test accuracy after the last epoch; that of guessing, if the run diverged."""
    net, data = network(), samples(1000 if quick else 20000)
    plan = Plan(1, stages, split(block_costs(net), stages), schedule=schedule)
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            result = pl.fit(
                net, data, optimizer=rule, epochs=1 if quick else EPOCHS, batch_size=BATCH_SIZE, seed=seed,
                params=initial(net, seed), comm=comm, plan=plan, progress=False,
            )  # fmt: skip
    except DivergedError:
        return CHANCE
    return float(result.history[-1]["test_accuracy"])


def forecasts(quick: bool) -> dict[str, Any]:
    """Train by each rule with exact steps and with forecasts, on one rank; return the record and print the table."""
    seeds, results = range(1 if quick else SEEDS), {}
    for name, rule in list(RULES.items())[:1] if quick else RULES.items():
        found = {schedule: [trained(s, rule, schedule, quick=quick) for s in seeds] for schedule in ("flush", "unflushed")}
        results[name] = {label: summary(values) for label, values in found.items()}
        results[name]["difference"] = {"mean": mean(found["unflushed"]) - mean(found["flush"])}
        print(f"{name}: {', '.join(f'{k} {_text(results[name][k])}' for k in found)}", flush=True)
    report.show("test accuracy on one rank", ("", "flush", "unflushed", "difference"), _rows(results))
    return {"network": network().source, "epochs": EPOCHS, "batch_size": BATCH_SIZE, "results": results}


def stages(quick: bool) -> dict[str, Any]:
    """Train on 1, 2, 4 and 8 ranks, flushed and unflushed; return the record and print the table."""
    n_seeds, results = 1 if quick else SEEDS, {}
    for ranks in (1, 2) if quick else STAGES:
        found = {schedule: summary(_on_ranks(ranks, schedule, n_seeds, quick)) for schedule in ("flush", "unflushed")}
        found["difference"] = {"mean": found["unflushed"]["mean"] - found["flush"]["mean"]}
        results[str(ranks)] = found
        print(f"{ranks} stages: flush {_text(found['flush'])}, unflushed {_text(found['unflushed'])}", flush=True)
    report.show("test accuracy on P stages", ("stages", "flush", "unflushed", "difference"), _rows(results))
    return {"network": network().source, "epochs": EPOCHS, "batch_size": BATCH_SIZE, "optimizer": "Adam(1e-3)",
            "results": results}  # fmt: skip


def _rows(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [(k, _text(f["flush"]), _text(f["unflushed"]), f"{f['difference']['mean']:+.4f}") for k, f in results.items()]


def _on_ranks(ranks: int, schedule: str, n_seeds: int, quick: bool) -> list[float]:
    """Return the accuracies of runs on `ranks` ranks of this machine, which may be more than its cores."""
    command = [*mpirun_command(ranks), str(CHILD), schedule, str(n_seeds), str(int(quick))]
    environment = mpi_environment({**os.environ, "OMPI_MCA_mpi_yield_when_idle": "1"})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"accuracies"')]
    if done.returncode or not lines:
        raise OSError(f"{ranks} ranks, {schedule}: exit code {done.returncode}; {done.stderr.strip()[-400:]}")
    return list(json.loads(lines[-1])["accuracies"])


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Return mean and standard error of accuracies, and themselves."""
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return {"mean": mean(values), "standard_error": error, "test_accuracy": list(values)}


def _text(found: Mapping[str, Any]) -> str:
    return f"{found['mean']:.4f} ± {found['standard_error']:.4f}"

