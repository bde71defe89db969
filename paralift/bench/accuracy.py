"""Test accuracies: the nudges of the sweep, backpropagation, and PyTorch with the same weights and the same batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Any

import numpy as np

import paralift as pl
from paralift.bench import report, torch_reference
from paralift.data import Dataset, load_shard
from paralift.lifted.methods import Method
from paralift.lifted.network import Network
from paralift.optim.schedules import Schedule
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
    network : Network
    shown : str
        The network, for people.
    epochs : int
    columns : mapping of str to (data set, seed)
        The repetitions; a seed gives initial weights and batches.
    methods : mapping of str to Method
    rate : float or schedule
        Of Adam.
    """

    name: str
    network: Network
    shown: str
    epochs: int
    columns: Mapping[str, tuple[Callable[[], Dataset], int]]
    methods: Mapping[str, Method]
    rate: float | Schedule = RATE


def mnist1d(quick: bool) -> Study:
    """Return the study on MNIST-1D: 16,000 training samples, five ways to nudge, three seeds."""
    data = pl.data.mnist1d(1000) if quick else pl.data.mnist1d()
    seeds = range(1 if quick else 3)
    columns = {f"seed {s}": (lambda: data, s) for s in seeds}
    return _perceptron_study("mnist1d", (40, 256, 256, 256, 10), 1 if quick else 15, columns, ALL_NUDGES)


def fashion(quick: bool) -> Study:
    """Return the study on Fashion-MNIST, read from the folder that PARALIFT_DATA names."""
    data = pl.data.fashion_mnist()
    methods = {k: ALL_NUDGES[k] for k in (DEFAULT, "nudged(beta=1)", "backprop()")}
    columns = {f"seed {s}": (lambda: data, s) for s in range(1 if quick else 3)}
    return _perceptron_study("fashion", (784, 256, 256, 10), 1 if quick else 6, columns, methods)


def fashion_cnn(quick: bool) -> Study:
    """Return the study of LeNet on 10,000 images of Fashion-MNIST."""
    return _images_study("fashion-cnn", pl.networks.lenet(flat=True), "lenet", quick, 10)


def fashion_resnet(quick: bool) -> Study:
    """Return the study of a residual network with batch normalisation on the same images."""
    network = pl.networks.resnet(8 if quick else 14, (28, 28, 1), flat=True)
    return replace(_images_study("fashion-resnet", network, "resnet(14)", quick, 5), rate=pl.optim.Cosine(3e-3))


IMAGES = 10_000
"""Images of Fashion-MNIST that convolutional networks are trained with."""


def _images_study(name: str, network: Network, shown: str, quick: bool, epochs: int) -> Study:
    whole = pl.data.fashion_mnist()
    assert whole.test is not None
    n = 512 if quick else IMAGES
    parts = [load_shard(source, 0, min(n, source.n_samples), np.float32) for source in (whole.train, whole.test)]
    data = pl.data.from_arrays(*parts[0], test=parts[1], name=name, n_classes=10)
    methods = {k: ALL_NUDGES[k] for k in (DEFAULT, "backprop()")}
    columns = {f"seed {s}": (lambda: data, s) for s in range(1 if quick else 3)}
    return Study(name, network, shown, 1 if quick else epochs, columns, methods)


def _perceptron_study(name: str, widths: tuple[int, ...], epochs: int, columns: Any, methods: Mapping[str, Method]) -> Study:
    return Study(name, perceptron(widths), "-".join(map(str, widths)), epochs, columns, methods)


def digits(quick: bool) -> Study:
    """Return the study on the digits: six splits into training and test samples."""
    methods = {k: ALL_NUDGES[k] for k in (DEFAULT, "nudged(beta=1)", "backprop()")}
    columns = {f"split {k}": (lambda k=k: pl.data.digits(seed=k), 0) for k in range(1 if quick else 6)}
    return _perceptron_study("digits", (64, 256, 256, 10), 1 if quick else 20, columns, methods)


def perceptron(widths: Sequence[int]) -> pl.Sequential:
    """Return a perceptron with ReLU and a softmax output."""
    layers: list[Any] = []
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [pl.Linear(a, b), pl.ReLU()]
    return pl.Sequential(*layers[:-1], pl.Softmax())


def run(study: Study) -> dict[str, Any]:
    """Train everything; return the record and print the table."""
    network = study.network
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
    record = {"network": network.source, "epochs": study.epochs, "batch_size": BATCH_SIZE, "optimizer": f"Adam({study.rate})"}
    _show(study, results)
    return {**record, "results": results}


def _trained(study: Study, network: Network, data: Dataset, name: str, seed: int) -> float:
    """Return the test accuracy after the last epoch."""
    if name == TORCH:
        params = torch_reference.train(
            network, network.init(seed), data, epochs=study.epochs, batch_size=BATCH_SIZE, rate=study.rate, seed=seed
        )
        return evaluate(network, params, pl.losses.CrossEntropy(), data)["accuracy"]
    result = pl.fit(
        network, data, method=study.methods[name], optimizer=pl.optim.Adam(study.rate), epochs=study.epochs,
        batch_size=BATCH_SIZE, seed=seed, comm=None, progress=False,
    )  # fmt: skip
    return float(result.history[-1]["test_accuracy"])


def _show(study: Study, results: Mapping[str, Any]) -> None:
    rows = []
    for name, result in results.items():
        found = [f"{a:.4f}" for a in result["test_accuracy"].values()] or [""] * len(study.columns)
        average = result.get("status") or f"{result['mean']:.4f}"
        rows.append((name, *found, average + (f" ± {e:.4f}" if (e := result.get("standard_error")) is not None else "")))
    title = f"{study.name}: test accuracy, {study.shown}, {study.epochs} epochs"
    report.show(title, ("", *study.columns, "mean"), rows)
