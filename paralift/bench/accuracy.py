"""Test accuracies: the nudges of the sweep, backpropagation, and PyTorch with the same weights and the same batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import paralift as pl
from paralift.bench import report, torch_reference
from paralift.data import Dataset
from paralift.lifted.methods import Method
from paralift.training.result import evaluate

BATCH_SIZE = 128
RATE = 1e-3
TORCH = "PyTorch"
"""Name of the reference among the methods."""
DEFAULT = "nudged()"
"""The default method, a relative nudge."""
ALL_NUDGES: Mapping[str, Method] = {
    DEFAULT: pl.methods.nudged(),
    "nudged(beta=1)": pl.methods.nudged(beta=1.0),
    "nudged(beta=0.1)": pl.methods.nudged(beta=0.1),
    "nudged(beta=0.1, symmetric=False)": pl.methods.nudged(beta=0.1, symmetric=False),
    "nudged(beta=1, symmetric=False)": pl.methods.nudged(beta=1.0, symmetric=False),
    "backprop()": pl.methods.backprop(),
}


@dataclass(frozen=True)
class Study:
    """What is trained, and how often.

    Attributes
    ----------
    name : str
    widths : tuple of int
        Of a perceptron with ReLU.
    epochs : int
    columns : mapping of str to (data set, seed)
        The repetitions; a seed gives initial weights and batches.
    methods : mapping of str to Method
    """

    name: str
    widths: tuple[int, ...]
    epochs: int
    columns: Mapping[str, tuple[Callable[[], Dataset], int]]
    methods: Mapping[str, Method]


def mnist1d(quick: bool) -> Study:
    """Return the study on MNIST-1D: 16,000 training samples, five ways to nudge, three seeds."""
    data = pl.data.mnist1d(1000) if quick else pl.data.mnist1d()
    seeds = range(1 if quick else 3)
    columns = {f"seed {s}": (lambda: data, s) for s in seeds}
    return Study("mnist1d", (40, 256, 256, 256, 10), 1 if quick else 15, columns, ALL_NUDGES)


def fashion(quick: bool) -> Study:
    """Return the study on Fashion-MNIST, read from the folder that PARALIFT_DATA names."""
    data = pl.data.fashion_mnist()
    methods = {k: ALL_NUDGES[k] for k in (DEFAULT, "nudged(beta=1)", "backprop()")}
    columns = {f"seed {s}": (lambda: data, s) for s in range(1 if quick else 3)}
    return Study("fashion", (784, 256, 256, 10), 1 if quick else 6, columns, methods)


def digits(quick: bool) -> Study:
    """Return the study on the digits: six splits into training and test samples."""
    methods = {k: ALL_NUDGES[k] for k in (DEFAULT, "nudged(beta=1)", "backprop()")}
    columns = {f"split {k}": (lambda k=k: pl.data.digits(seed=k), 0) for k in range(1 if quick else 6)}
    return Study("digits", (64, 256, 256, 10), 1 if quick else 20, columns, methods)


def perceptron(widths: Sequence[int]) -> pl.Sequential:
    """Return a perceptron with ReLU and a softmax output."""
    layers: list[Any] = []
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [pl.Linear(a, b), pl.ReLU()]
    return pl.Sequential(*layers[:-1], pl.Softmax())


def run(study: Study) -> dict[str, Any]:
    """Train everything; return the record and print the table."""
    network = perceptron(study.widths)
    names = [*study.methods, *([TORCH] if torch_reference.available() else [])]
    results: dict[str, Any] = {name: {"method": repr(study.methods.get(name, name)), "test_accuracy": {}} for name in names}
    results.setdefault(TORCH, {"status": "not installed", "test_accuracy": {}})
    for column, (load, seed) in study.columns.items():
        data = load()
        for name in names:
            accuracy = _trained(study, network, data, name, seed)
            results[name]["test_accuracy"][column] = accuracy
            print(f"{study.name}, {column}, {name}: {accuracy:.4f}", flush=True)
    for result in results.values():
        found = list(result["test_accuracy"].values())
        if found:
            result["mean"] = mean(found)
        if len(found) > 1:
            result["standard_error"] = stdev(found) / len(found) ** 0.5
    record = {"network": network.source, "epochs": study.epochs, "batch_size": BATCH_SIZE, "optimizer": f"Adam({RATE})"}
    _show(study, results)
    return {**record, "results": results}


def _trained(study: Study, network: pl.Sequential, data: Dataset, name: str, seed: int) -> float:
    """Return the test accuracy after the last epoch."""
    if name == TORCH:
        params = torch_reference.train(
            network, network.init(seed), data, epochs=study.epochs, batch_size=BATCH_SIZE, rate=RATE, seed=seed
        )
        return evaluate(network, params, pl.losses.CrossEntropy(), data)["accuracy"]
    result = pl.fit(
        network, data, method=study.methods[name], optimizer=pl.optim.Adam(RATE), epochs=study.epochs,
        batch_size=BATCH_SIZE, seed=seed, comm=None, progress=False,
    )  # fmt: skip
    return float(result.history[-1]["test_accuracy"])


def _show(study: Study, results: Mapping[str, Any]) -> None:
    rows = []
    for name, result in results.items():
        found = [f"{a:.4f}" for a in result["test_accuracy"].values()] or [""] * len(study.columns)
        average = result.get("status") or f"{result['mean']:.4f}"
        rows.append((name, *found, average + (f" ± {e:.4f}" if (e := result.get("standard_error")) is not None else "")))
    title = f"{study.name}: test accuracy, {'-'.join(map(str, study.widths))}, {study.epochs} epochs"
    report.show(title, ("", *study.columns, "mean"), rows)
