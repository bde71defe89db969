"""What helps lifted Bregman training with implicit stochastic gradients (ISGM), beside the sweep.

4,000 training samples of MNIST-1D, 40-256-256-256-10. Each way changes one thing of the method: the clamp, where variables
start, their order and geometry, tau, the number of inner steps, the metric of the step on the parameters. That of `Implicit`
has one number for each block, Lipschitz; `LeastSquares` takes the Gram matrix of the block's input; an optimiser's is diagonal.
Accuracy is told after equal passes, and after as many seconds as the sweep took for all its passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

from threadpoolctl import threadpool_limits

import paralift as pl
from paralift.bench import report
from paralift.bench.studies import perceptron
from paralift.data import Dataset
from paralift.lifted.clamps import Hard, Nudge
from paralift.lifted.inference.proxgrad import ProximalGradient
from paralift.lifted.methods import Method
from paralift.lifted.updates import Explicit, Implicit, LeastSquares
from paralift.training.compare import curve

WIDTHS = (40, 256, 256, 256, 10)
SAMPLES, EPOCHS, BATCH_SIZE, RATE, SEEDS = 5000, 15, 128, 1e-3, 3
SWEEP = "nudged(), Adam"
ISGM = pl.methods.lifted_bregman()
VISITS = ProximalGradient(1)
SOFT = Nudge(0.1, symmetric=False)
WAYS: Mapping[str, Method] = {
    SWEEP: pl.methods.nudged(),
    "ISGM: hard clamp, tau 1, 3 inner steps": ISGM,
    "tau 0.1": pl.methods.lifted_bregman(tau=0.1),
    "tau 10": pl.methods.lifted_bregman(tau=10.0),
    "tau 100": pl.methods.lifted_bregman(tau=100.0),
    "1 inner step": pl.methods.lifted_bregman(steps=1),
    "10 inner steps": pl.methods.lifted_bregman(steps=10),
    "3 visits before each inner step": pl.methods.lifted_bregman(iterations=3),
    "two colours": pl.methods.lifted_bregman(order="two_colour"),
    "Jacobi": pl.methods.lifted_bregman(order="jacobi"),
    "dual geometry": pl.methods.lifted_bregman(geometry="dual"),
    "start where the sample was left": replace(ISGM, inference=replace(VISITS, persistent=True)),
    "nudge of 0.1, one-sided": replace(ISGM, clamp=SOFT),
    "nudge of 0.1, tau 100": replace(ISGM, clamp=SOFT, update=Implicit(100.0, 3)),
    "Gram metric, tau 0.1": replace(ISGM, update=LeastSquares(0.1)),
    "Gram metric, tau 1": replace(ISGM, update=LeastSquares(1.0)),
    "Gram metric, nudge of 0.1, tau 10": replace(ISGM, clamp=SOFT, update=LeastSquares(10.0)),
    "Adam, 1 visit": Method("bregman", Hard(), VISITS, Explicit()),
    "Adam, 1 visit, symmetric nudge of 0.1": Method("bregman", Nudge(0.1), VISITS, Explicit()),
    "Adam, 1 visit, dual geometry, symmetric nudge of 0.1": Method(
        "bregman", Nudge(0.1), replace(VISITS, geometry="dual"), Explicit()
    ),
}
"""From the second on, what is not named is as in ISGM."""


def run(quick: bool) -> dict[str, Any]:
    """Train by every way; return the record and print the table."""
    data, epochs = pl.data.mnist1d(1000 if quick else SAMPLES), 1 if quick else EPOCHS
    curves: dict[str, list[list[dict[str, float]]]] = {way: [] for way in WAYS}
    for seed in range(1 if quick else SEEDS):
        for way, method in WAYS.items():
            curves[way].append(_trained(data, method, epochs, seed))
            last = curves[way][-1][-1]
            print(f"seed {seed}, {way}: {last['test_accuracy']:.4f} in {last['seconds']:.2f} s", flush=True)
    results = {way: judged(found, curves[SWEEP]) for way, found in curves.items()}
    rows = [
        (way, _text(r["accuracy"]), _text(r["accuracy_at_equal_seconds"]), f"{mean(r['seconds']):.1f}")
        for way, r in results.items()
    ]
    title = f"MNIST-1D, {'-'.join(map(str, WIDTHS))}, {epochs} passes, batches of {BATCH_SIZE}"
    report.show(title, ("", "after all passes", "after the sweep's seconds", "seconds"), rows)
    settings = {"widths": WIDTHS, "samples": data.train.n_samples, "epochs": epochs, "batch_size": BATCH_SIZE}
    return {**settings, "optimizer": f"Adam({RATE})", "results": results}


def _trained(data: Dataset, method: Method, epochs: int, seed: int) -> list[dict[str, float]]:
    """Return the test accuracy and the seconds of training after each pass."""
    with threadpool_limits(limits=1, user_api="blas"):
        found = pl.fit(
            perceptron(WIDTHS), data, method=method, optimizer=pl.optim.Adam(RATE), epochs=epochs, batch_size=BATCH_SIZE,
            seed=seed, comm=None, progress=False,
        )  # fmt: skip
    return list(curve(found.history, data.train.n_samples))


def judged(found: list[list[dict[str, float]]], sweep: list[list[dict[str, float]]]) -> dict[str, Any]:
    """Return accuracies at the end and after the seconds that the sweep of the same seed took; before a first pass, 0."""
    at_equal = []
    for own, other in zip(found, sweep, strict=True):
        in_time = [point["test_accuracy"] for point in own if point["seconds"] <= other[-1]["seconds"]]
        at_equal.append(in_time[-1] if in_time else 0.0)
    return {
        "accuracy": [own[-1]["test_accuracy"] for own in found], "accuracy_at_equal_seconds": at_equal,
        "seconds": [own[-1]["seconds"] for own in found], "curves": found,
    }  # fmt: skip


def _text(values: list[float]) -> str:
    spread = f" ± {stdev(values) / len(values) ** 0.5:.4f}" if len(values) > 1 else ""
    return f"{mean(values):.4f}{spread}"
