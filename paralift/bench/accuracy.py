"""Run a study: every way to train it, from the same initial weights and on the same batches, and what the test says."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from threadpoolctl import threadpool_limits

import paralift as pl
from paralift.bench import report, torch_reference
from paralift.bench.studies import STUDIES, Study
from paralift.data import Dataset
from paralift.launch import LaunchError, mpi_environment, mpirun_command
from paralift.training.result import Reason, evaluate

CHILD = Path(__file__).parent / "children" / "study_fit.py"
DEADLINE = 7200.0
SCORES = ("accuracy", "loss")

Score = Mapping[str, float]


def run(name: str, quick: bool) -> dict[str, Any]:
    """Train everything of a known study; return the record and print the table."""
    return run_study(STUDIES[name][1](quick), quick)


def run_study(study: Study, quick: bool = False) -> dict[str, Any]:
    """Train everything; return the record and print the table."""
    record: dict[str, Any] = {}
    for way, chosen in study.ways.items():
        scores: dict[str, Any] = {f"test_{score}": {} for score in SCORES}
        record[way] = {"method": repr(chosen.method or way), "ranks": chosen.ranks, **scores, "seconds": {}}
        if chosen.method is None and not torch_reference.available():
            record[way]["status"] = "not installed"
    for column, (load, _) in study.columns.items():
        data = load()
        for way, result in record.items():
            if "status" in result:
                continue
            start = time.perf_counter()
            found = trained(study, data, column, way, quick)
            result["seconds"][column] = time.perf_counter() - start
            for score in SCORES:
                result[f"test_{score}"][column] = found[score]
            print(f"{study.name}, {column}, {way}: {study.score} {found[study.score]:.4f}", flush=True)
    for result in record.values():
        values = list(result[f"test_{study.score}"].values())
        if values:
            result["mean"] = mean(values)
        if len(values) > 1:
            result["standard_error"] = stdev(values) / len(values) ** 0.5
    _show(study, record)
    settings = {"epochs": study.epochs, "batch_size": study.batch_size, "optimizer": f"Adam({study.rate})"}
    return {"network": study.network.source, **settings, "score": study.score, "results": record}


def trained(study: Study, data: Dataset, column: str, way: str, quick: bool) -> Score:
    """Return accuracy and loss of the test after the last epoch."""
    chosen, seed = study.ways[way], study.columns[column][1]
    if chosen.method is None:
        params = torch_reference.train(
            study.network, study.network.init(seed), data, epochs=study.epochs, batch_size=study.batch_size,
            rate=study.rate, seed=seed,
        )  # fmt: skip
        return evaluate(study.network, params, pl.losses.CrossEntropy(), data)
    if chosen.ranks > 1:
        return _on_ranks(chosen.ranks, study.name, column, way, quick)
    return fit(study, data, column, way)


def fit(study: Study, data: Dataset, column: str, way: str, comm: Any = None) -> Score:
    """Train by ParaLift, on the ranks of a communicator a stage each; collective."""
    chosen, seed = study.ways[way], study.columns[column][1]
    with threadpool_limits(limits=1 if chosen.ranks > 1 else None, user_api="blas"):
        result = pl.fit(
            study.network, data, method=chosen.method, optimizer=pl.optim.Adam(study.rate), epochs=study.epochs,
            batch_size=study.batch_size, seed=seed, comm=comm, stages=chosen.ranks,
            schedule=chosen.schedule, progress=False,
        )  # fmt: skip
    if result.reason is not Reason.EPOCHS_DONE:
        raise OSError(f"{study.name}, {column}, {way}: {result.reason}")
    last = result.history[-1]
    return {score: float(last[f"test_{score}"]) for score in SCORES}


def _on_ranks(ranks: int, *arguments: Any) -> Score:
    """Return what `fit` finds on ranks of this machine, which may be more than its cores."""
    try:
        command = [*mpirun_command(ranks), str(CHILD), *map(str, arguments)]
    except LaunchError as error:
        raise OSError(str(error)) from error
    environment = mpi_environment({**os.environ, "OMPI_MCA_mpi_yield_when_idle": "1"})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"accuracy"')]
    if done.returncode or not lines:
        raise OSError(f"{ranks} ranks, {arguments}: exit code {done.returncode}; {done.stderr.strip()[-400:]}")
    found: Score = json.loads(lines[-1])
    return found


def _show(study: Study, results: Mapping[str, Any]) -> None:
    rows = []
    for way, result in results.items():
        found = [f"{a:.4f}" for a in result[f"test_{study.score}"].values()] or [""] * len(study.columns)
        average = result.get("status") or f"{result['mean']:.4f}"
        rows.append((way, *found, average + (f" ± {e:.4f}" if (e := result.get("standard_error")) is not None else "")))
    title = f"{study.name}: test {study.score}, {study.shown}, {study.epochs} epochs"
    report.show(title, ("", *study.columns, "mean"), rows)
