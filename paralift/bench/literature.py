"""The methods of the literature on MNIST (in the folder PARALIFT_DATA), and block coordinate descent's published settings.

Each method has its own batches and passes: those that fit parameters by Gram matrices take few and large ones. Seconds are of
training, without evaluations; what is compared is the accuracy at the end, and the best on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np

import paralift as pl
from paralift import methods
from paralift.bench import bcd_reference, report
from paralift.bench.studies import perceptron
from paralift.data import Dataset, load_shard
from paralift.lifted.methods import Method
from paralift.training.compare import curve

RATE = 1e-3
FULL = None
"""The whole training set as one batch."""
QUICK = 1000
"""Training and test samples of a quick run."""
REFERENCE = "BCD (Zeng et al.), NumPy"


@dataclass(frozen=True)
class Way:
    """A method with its batches and its passes over the data.

    Attributes
    ----------
    method : Method
    batch_size : int or None
    passes : int
    """

    method: Method
    batch_size: int | None = 128
    passes: int = 10


WAYS: Mapping[str, Way] = {
    "nudged()": Way(methods.nudged()),
    "backprop()": Way(methods.backprop()),
    "dual_propagation()": Way(methods.dual_propagation()),
    "dual_propagation(alpha=1, transposed)": Way(methods.dual_propagation(0.1, 1.0, True)),
    "equilibrium_propagation()": Way(methods.equilibrium_propagation()),
    "predictive_coding()": Way(methods.predictive_coding()),
    "lifted_bregman()": Way(methods.lifted_bregman()),
    "fenchel(), batches": Way(methods.fenchel(iterations=3, persistent=False)),
    "mac(), batches": Way(methods.mac(iterations=3, persistent=False), 1000),
    "askari(), batches": Way(methods.askari(iterations=3, persistent=False), 1000),
    "lpom(), batches": Way(methods.lpom(iterations=3, persistent=False), 1000),
    "mac(tau=None), full": Way(methods.mac(iterations=3, tau=None), FULL, 50),
    "askari(tau=None), full": Way(methods.askari(iterations=3, tau=None), FULL, 50),
    "lpom(tau=None), full": Way(methods.lpom(iterations=3, tau=None), FULL, 50),
    "lifted_bregman_bcd(), full": Way(methods.lifted_bregman_bcd(iterations=3), FULL, 50),
}
"""What is compared: those by an optimiser take batches of 128, as elsewhere."""


def shallow(quick: bool) -> dict[str, Any]:
    """Compare all methods on 784-300-10."""
    return _all("literature", (784, 300, 10), quick)


def deep(quick: bool) -> dict[str, Any]:
    """Compare all methods on 784-256x4-10."""
    return _all("literature-deep", (784, 256, 256, 256, 256, 10), quick)


def bcd(quick: bool) -> dict[str, Any]:
    """Repeat block coordinate descent's 784-1500x3-10 in 50 passes (published: 94.4 to 94.9 %), and pass it."""
    return _published("literature-bcd", (784, 1500, 1500, 1500, 10), 50, 5.0, 3, ("nudged()",), quick)


def bcd_deep(quick: bool) -> dict[str, Any]:
    """Repeat its ten hidden layers of 600 in 300 passes (published: 85.6 to 87.2 %), and pass it."""
    return _published("literature-bcd-deep", (784, *(600,) * 10, 10), 300, 1.0, 1, ("nudged()", "lpom(), batches"), quick)


def _all(name: str, widths: Sequence[int], quick: bool) -> dict[str, Any]:
    data = _mnist(quick)
    results = {
        way_name: [_trained(name, way_name, way, widths, data, seed, quick) for seed in range(1 if quick else 3)]
        for way_name, way in WAYS.items()
    }
    _show(name, widths, results)
    return {"widths": widths, "optimizer": f"Adam({RATE})", "results": results}


def _published(
    name: str, widths: Sequence[int], passes: int, alpha: float, n_seeds: int, others: Sequence[str], quick: bool
) -> dict[str, Any]:
    """Repeat the published descent in as many passes, and train by methods of this package in a few."""
    data = _mnist(quick)
    seeds = range(1 if quick else n_seeds)
    results = {REFERENCE: [_reference(name, widths, data, passes, alpha, seed, quick) for seed in seeds]}
    results |= {n: [_trained(name, n, WAYS[n], widths, data, seed, quick) for seed in seeds] for n in others}
    _show(name, widths, results)
    weights = {"gamma": bcd_reference.GAMMA, "rho": bcd_reference.RHO, "alpha": alpha}
    return {"widths": widths, "passes": passes, "reference": weights, "results": results}


def _mnist(quick: bool) -> Dataset:
    """Return MNIST in memory."""
    whole = pl.data.mnist()
    assert whole.test is not None
    n = QUICK if quick else whole.train.n_samples
    train, test = (load_shard(s, 0, min(n, s.n_samples), np.float32) for s in (whole.train, whole.test))
    return pl.data.from_arrays(*train, test=test, name="mnist", n_classes=10)


def _passes(wanted: int, quick: bool) -> int:
    return min(wanted, 2) if quick else wanted


def _trained(
    study: str, name: str, way: Way, widths: Sequence[int], data: Dataset, seed: int, quick: bool
) -> dict[str, Any]:
    run = pl.fit(
        perceptron(widths), data, method=way.method, optimizer=pl.optim.Adam(RATE), epochs=_passes(way.passes, quick),
        batch_size=way.batch_size, seed=seed, comm=None, progress=False,
    )  # fmt: skip
    return _told(study, name, seed, list(curve(run.history, data.train.n_samples)))


def _reference(
    study: str, widths: Sequence[int], data: Dataset, passes: int, alpha: float, seed: int, quick: bool
) -> dict[str, Any]:
    assert data.test is not None
    (x, y), test = (load_shard(s, 0, s.n_samples, np.float32) for s in (data.train, data.test))
    points = bcd_reference.train(x, y, test, widths, _passes(passes, quick), seed, alpha)
    return _told(study, REFERENCE, seed, list(points))


def _told(study: str, name: str, seed: int, points: list[dict[str, float]]) -> dict[str, Any]:
    """Return the record of one run, after printing a line of it."""
    accuracy, seconds = points[-1]["test_accuracy"], points[-1]["seconds"]
    print(f"{study}, seed {seed}, {name}: {accuracy:.4f} after {len(points)} passes, {seconds:.1f} s", flush=True)
    rises = max((b["energy"] - a["energy"] for a, b in zip(points, points[1:], strict=False)), default=0.0)
    return {"seed": seed, "accuracy": accuracy, "seconds": seconds, "largest_rise_of_energy": rises, "curve": points}


def _show(name: str, widths: Sequence[int], results: Mapping[str, Any]) -> None:
    rows = []
    for way, runs in results.items():
        found = [run["accuracy"] for run in runs]
        spread = f" ± {stdev(found) / len(found) ** 0.5:.4f}" if len(found) > 1 else ""
        best = mean(max(point["test_accuracy"] for point in run["curve"]) for run in runs)
        seconds, passes = mean(run["seconds"] for run in runs), len(runs[0]["curve"])
        rows.append((way, f"{mean(found):.4f}{spread}", f"{best:.4f}", f"{seconds:.1f}", f"{passes}"))
    title = f"{name}: test accuracy on MNIST, {'-'.join(map(str, widths))}"
    report.show(title, ("", "at the end", "best", "seconds", "passes"), rows)
