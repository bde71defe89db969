"""A small transformer on Shakespeare's characters: nudges, backpropagation, and PyTorch with the same weights and batches."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import paralift as pl
from paralift.bench import report, torch_reference
from paralift.bench.accuracy import ALL_NUDGES, DEFAULT, TORCH
from paralift.data import Dataset
from paralift.data.builtin import FOLDER_VARIABLE
from paralift.lifted.methods import Method
from paralift.lifted.network import Network
from paralift.training.result import evaluate

FILE = Path("tinyshakespeare") / "input.txt"
RATE = 1e-3
METHODS: Mapping[str, Method] = {k: ALL_NUDGES[k] for k in (DEFAULT, "nudged(beta=1)", "nudged(beta=0.1)", "backprop()")}


def run(quick: bool) -> dict[str, Any]:
    """Train everything; return the record, with every seed's curve, and print the table."""
    length, width, depth, epochs, batch_size = (32, 16, 1, 1, 128) if quick else (64, 128, 4, 4, 32)
    seeds = range(1 if quick else 3)
    data = pl.data.text(file(), length)
    assert data.n_classes is not None
    network = pl.networks.transformer(data.n_classes, length, width, depth)
    settings = {"epochs": epochs, "batch_size": batch_size}
    names = [*METHODS, *([TORCH] if torch_reference.available() else [])]
    results: dict[str, Any] = {name: {"method": repr(METHODS.get(name, name)), "seeds": {}} for name in names}
    results.setdefault(TORCH, {"status": "not installed", "seeds": {}})
    for seed in seeds:
        for name in names:
            found = trained(name, network, data, seed, settings)
            results[name]["seeds"][f"seed {seed}"] = found
            print(f"shakespeare, seed {seed}, {name}: test loss {found['test_loss']:.4f}", flush=True)
    for result in results.values():
        losses = [found["test_loss"] for found in result["seeds"].values()]
        if losses:
            result["mean"] = mean(losses)
        if len(losses) > 1:
            result["standard_error"] = stdev(losses) / len(losses) ** 0.5
    _show(results, f"{network.n_parameters} parameters, {epochs} epochs of {data.train.n_samples} x {length} characters")
    return {"network": network.source, "optimizer": f"Adam({RATE})", **settings, "length": length, "results": results}


def file() -> Path:
    """Return where the text lies."""
    root = os.environ.get(FOLDER_VARIABLE)
    if not root:
        raise FileNotFoundError(f"{FOLDER_VARIABLE} is not set; set it to the folder that holds {FILE} (none is downloaded)")
    return Path(root).expanduser() / FILE


def trained(name: str, network: Network, data: Dataset, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return loss and accuracy of a character of the test after the last epoch, the seconds, and the loss after each epoch."""
    start = time.perf_counter()
    if name == TORCH:
        params = torch_reference.train(network, network.init(seed), data, rate=RATE, seed=seed, **settings)
        seconds = time.perf_counter() - start
        found = evaluate(network, params, pl.losses.CrossEntropy(), data)
        return {"test_loss": found["loss"], "test_accuracy": found["accuracy"], "seconds": seconds}
    result = pl.fit(
        network, data, method=METHODS[name], optimizer=pl.optim.Adam(RATE), seed=seed, comm=None, progress=False, **settings
    )
    last = {k: float(result.history[-1][k]) for k in ("test_loss", "test_accuracy")}
    curve = [float(record["test_loss"]) for record in result.history]
    return {**last, "seconds": result.summary["train_seconds"], "test_losses": curve}


def _show(results: Mapping[str, Any], what: str) -> None:
    rows = []
    for name, result in results.items():
        losses = [f"{found['test_loss']:.4f}" for found in result["seeds"].values()]
        error = result.get("standard_error")
        average = result.get("status") or f"{result['mean']:.4f}" + ("" if error is None else f" ± {error:.4f}")
        rows.append((name, ", ".join(losses), average))
    report.show(f"Shakespeare: test loss of a character (nats), {what}", ("", "seeds", "mean"), rows)
