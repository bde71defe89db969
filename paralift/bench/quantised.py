"""Activations of few bits, trained by differences over their steps, beside a straight-through estimator in PyTorch.

No surrogate gradient: a nudge that is about as wide as a step of the staircase sees across it. The estimator gets the same
initial weights and the same batches; its gradient is that of a clip to the range of the levels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import paralift as pl
from paralift.bench import accuracy, report, studies
from paralift.bench.studies import TORCH, Study, Way
from paralift.data import Dataset
from paralift.lifted.activations.base import Activation
from paralift.lifted.methods import Method

BETAS = (1.0, 2.0, 3.0, 4.0, 8.0, 16.0)
SHARES = (0.1, 0.3, 0.5, 1.0)
CHOSEN: Mapping[int, tuple[str, float]] = {
    1: ("relative", 1.0), 2: ("beta", 3.0), **{n: ("relative", 0.5) for n in (3, 4, 6, 8)},
}  # fmt: skip
"""The nudge that is taken for so many bits."""
CHOSEN_FOR_SIGN = ("relative", 1.5)
RATE = pl.optim.Cosine(2e-3)
"""Of Adam. It ends at 0: at a constant rate so few levels make the last epoch's accuracy a matter of chance, by a point."""
STE = "straight-through (PyTorch)"
FULL = "full precision"
FULL_METHODS: Mapping[str, Method] = {"nudged()": pl.methods.nudged()}


@dataclass(frozen=True)
class Task:
    """Data, a perceptron's widths, epochs, seeds, and the bits that are tried."""

    data: Callable[[], Dataset]
    widths: tuple[int, ...]
    epochs: int
    seeds: int
    bits: tuple[int, ...] = (2,)
    betas: tuple[float, ...] = BETAS
    shares: tuple[float, ...] = SHARES


def _images() -> Dataset:
    return studies.first_images(pl.data.fashion_mnist(), "fashion")


def tasks(quick: bool) -> dict[str, Task]:
    """Return the tasks by name: MNIST-1D, and 10,000 images of Fashion-MNIST (in the folder PARALIFT_DATA)."""
    if quick:
        return {"digits": Task(pl.data.digits, (64, 32, 10), 2, 1, (2, 3), (4.0,), (0.5,))}
    return {
        "mnist1d": Task(pl.data.mnist1d, (40, 256, 256, 256, 10), 15, 3, tuple(CHOSEN)),
        "fashion": Task(_images, (784, 256, 256, 10), 10, 3, betas=(1.0, 4.0, 8.0), shares=(0.5,)),
    }


def run(quick: bool, chosen: Mapping[str, Task] | None = None) -> dict[str, Any]:
    """Train everything; return the record and print the tables."""
    found = {name: _task(name, task) for name, task in (tasks(quick) if chosen is None else chosen).items()}
    for name, results in found.items():
        rows = [(kind, _mean(methods, ours(kind)), _mean(methods, TORCH)) for kind, methods in results.items()]
        report.show(f"{name}: mean test accuracy", ("", "nudged", STE), rows)
    return {"tasks": found}


def ours(kind: str) -> str:
    """Return the name of the method that stands for this project at so many bits."""
    if kind == FULL:
        return next(iter(FULL_METHODS))
    return _name(*(CHOSEN_FOR_SIGN if kind == "sign" else CHOSEN[int(kind.split()[0])]))


def _task(name: str, task: Task) -> dict[str, Any]:
    """Return the results of each kind of activation, by method."""
    results = {}
    for bits in task.bits:
        methods = _nudges(task) if bits == 2 else {}
        methods |= _nudge(*CHOSEN[bits])
        results[_kind(bits)] = _trained(name, task, pl.Quantizer(2**bits), _kind(bits), methods)
    results["sign"] = _trained(name, task, pl.Sign(), "sign", _nudges(task) | _nudge(*CHOSEN_FOR_SIGN))
    results[FULL] = _trained(name, task, pl.Hardtanh(0.0, 1.0), "clipped to [0, 1]", FULL_METHODS)
    return results


def _trained(name: str, task: Task, activation: Activation, shown: str, methods: Mapping[str, Method]) -> dict[str, Any]:
    data = task.data()
    columns = {f"seed {s}": (lambda: data, s) for s in range(task.seeds)}
    network = perceptron(task.widths, activation)
    widths = "-".join(map(str, task.widths))
    ways = {way: Way(method) for way, method in methods.items()}
    if not isinstance(activation, pl.Hardtanh):
        ways[TORCH] = Way(None)
    study = Study(f"{name}, {shown}", network, f"{widths}, {activation!r}", task.epochs, columns, ways, RATE)
    return accuracy.run_study(study)["results"]


def perceptron(widths: tuple[int, ...], activation: Activation) -> pl.Sequential:
    """Return a perceptron with `activation` and a softmax output."""
    layers: list[Any] = []
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [pl.Linear(a, b), activation]
    return pl.Sequential(*layers[:-1], pl.Softmax())


def _nudges(task: Task) -> dict[str, Method]:
    found: dict[str, Method] = {}
    for key, sizes in (("beta", task.betas), ("relative", task.shares)):
        for size in sizes:
            found |= _nudge(key, size)
    return found


def _nudge(key: str, size: float) -> dict[str, Method]:
    return {_name(key, size): pl.methods.nudged(beta=size) if key == "beta" else pl.methods.nudged(relative=size)}


def _name(key: str, size: float) -> str:
    return f"nudged({key}={size:g})"


def _kind(bits: int) -> str:
    return f"{bits} bit" + "s" * (bits > 1)


def _mean(methods: Mapping[str, Any], name: str) -> str:
    found = methods.get(name, {}).get("mean")
    return "" if found is None else f"{found:.4f}"


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Draw test accuracy over bits, and over beta at two bits, for every task."""
    found = record["tasks"]
    figure = Figure(figsize=(9.6, 3.6 * len(found)), layout="constrained")
    FigureCanvasAgg(figure)
    for row, (name, results) in enumerate(found.items()):
        left, right = (figure.add_subplot(len(found), 2, 2 * row + k) for k in (1, 2))
        _over_bits(left, name, results)
        _over_nudges(right, name, results["2 bits"])
    figure.savefig(path, dpi=150)
    print(f"written: {path}")


def _over_bits(axes: Any, name: str, results: Mapping[str, Any]) -> None:
    bits = [kind for kind in results if kind.split()[0].isdigit()]
    for label, colour, of in (("nudged", "#0072b2", ours), (STE, "#d55e00", lambda kind: TORCH)):
        points = [(int(k.split()[0]), results[k][of(k)]) for k in bits if "mean" in results[k].get(of(k), {})]
        errors = [p.get("standard_error", 0.0) for _, p in points]
        means = [p["mean"] for _, p in points]
        axes.errorbar([b for b, _ in points], means, errors, color=colour, label=label, marker="o", markersize=3, capsize=2)
    full = results[FULL][ours(FULL)]["mean"]
    axes.axhline(full, color="0.5", linewidth=1, linestyle="--", label=FULL)
    axes.set(title=name, xlabel="bits of an activation", ylabel="test accuracy")
    axes.legend(frameon=False)


def _over_nudges(axes: Any, name: str, methods: Mapping[str, Any]) -> None:
    for key, label, colour in (("beta", "nudged(beta)", "#0072b2"), ("relative", "nudged(relative)", "#009e73")):
        points = sorted((float(m.split("=")[1][:-1]), r["mean"]) for m, r in methods.items() if m.startswith(f"nudged({key}="))
        axes.plot(*zip(*points, strict=True), color=colour, label=label, marker="o", markersize=3)
    if "mean" in methods.get(TORCH, {}):
        axes.axhline(methods[TORCH]["mean"], color="#d55e00", linewidth=1, linestyle="--", label=STE)
    axes.set(title=f"{name}, 2 bits", xlabel="beta, or the share of a relative nudge", xscale="log")
    axes.legend(frameon=False)
