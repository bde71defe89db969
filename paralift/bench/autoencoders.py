"""Sparse and denoising autoencoders: lifted training beside PyTorch, from the same weights on the same batches.

Five dense layers of width 784 with soft thresholding, a regulariser alpha |x_3|_1 on the code; few images, so that what is
learned beyond them shows. Compared is the objective on the test images, |x_5 - y|^2 / 2 + alpha |x_3|_1 a picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean, stdev
from typing import Any

import numpy as np

import paralift as pl
from paralift.bench import report, torch_reference
from paralift.data import Sampler, load_inputs
from paralift.lifted.network import Params

ALPHA, THRESHOLD = 0.05, 0.05
"""Of the code, and of the activations."""
NOISE = 0.5
"""Standard deviation of the noise of the denoising autoencoder; pixels have one of 1."""
RATE, BATCH_SIZE = 3e-4, 100
TESTS = 2000
CODE = "linear3"
TORCH, NUDGED, BACKPROP = "PyTorch", "nudged()", "backprop()"
EPOCHS: Mapping[int, int] = {1000: 40, 10000: 6}
"""Epochs by the number of images."""


def run(quick: bool) -> dict[str, Any]:
    """Train all; return the record and print the table."""
    width, sizes, seeds = (784, {100: 2}, 1) if quick else (784, EPOCHS, 3)
    network = pl.networks.autoencoder((width,) * 6, pl.SoftThreshold(THRESHOLD))
    names = [NUDGED, BACKPROP, *([TORCH] if torch_reference.available() else [])]
    images = pl.data.fashion_mnist()
    tests = load_inputs(images.test, 0, 100 if quick else TESTS, np.float32)  # type: ignore[arg-type]
    results: dict[str, Any] = {}
    for kind, noise in (("sparse", 0.0), ("denoising", NOISE)):
        for n, epochs in sizes.items():
            clean = load_inputs(images.train, 0, n, np.float32)
            found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                x, test = (y + np.float32(noise) * rng.standard_normal(y.shape, np.float32) for y in (clean, tests))
                for name in names:
                    scores = measure(network, trained(name, network, x, clean, epochs, seed), test, tests)
                    found[name].append(scores)
                    print(f"{kind}, {n} images, seed {seed}, {name}: {scores['objective']:.4f}", flush=True)
            results[f"{kind}, {n} images"] = {"epochs": epochs, "noise": noise, "scores": found}
    _show(results)
    settings = {"alpha": ALPHA, "threshold": THRESHOLD, "rate": RATE, "batch_size": BATCH_SIZE, "tests": len(tests)}
    return {"network": network.source, **settings, "results": results}


def trained(name: str, network: pl.Sequential, x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> Params:
    """Return the parameters after training by a method."""
    if name == TORCH:
        return _by_torch(network, x, y, epochs, seed)
    states = {CODE: pl.optim.L1(ALPHA)}
    method = pl.methods.nudged(states=states)
    if name == BACKPROP:
        method = pl.methods.nudged(penalty="quadratic", states=states)  # the same pulls, by sigma'
    run = pl.fit(
        network, (x, y), method=method, optimizer=pl.optim.Adam(RATE), epochs=epochs, batch_size=BATCH_SIZE, seed=seed,
        comm=None, progress=False,
    )  # fmt: skip
    return run.params


def measure(network: pl.Sequential, params: Params, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the objective a picture, its error part, and how much of the code is not zero."""
    code = [b.name for b in network.blocks].index(CODE) + 1
    values = network.variables(params, x)
    error = 0.5 * float(np.mean(np.sum((values[-1] - y) ** 2, axis=1)))
    penalty = ALPHA * float(np.mean(np.sum(np.abs(values[code]), axis=1)))
    return {"objective": error + penalty, "error": error, "active": float(np.mean(values[code] != 0.0))}


def _by_torch(network: pl.Sequential, x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> Params:
    """Train by autograd on the same objective."""
    import torch

    theta = torch_reference.leaves(network, network.init(seed))
    optimizer = torch.optim.Adam([t for arrays in theta.values() for t in arrays.values()], RATE)
    inputs, targets, sampler = torch.from_numpy(x), torch.from_numpy(y), Sampler(len(x), BATCH_SIZE, seed)
    for epoch in range(epochs):
        for rows in sampler.epoch(epoch):
            chosen = torch.from_numpy(rows)
            out, penalty = inputs[chosen], torch.zeros(())
            for block in network.blocks:
                out = out @ theta[block.name]["weight"] + theta[block.name]["bias"]
                if block is not network.blocks[-1]:
                    out = torch.nn.functional.softshrink(out, THRESHOLD)
                if block.name == CODE:
                    penalty = ALPHA * out.abs().sum()
            optimizer.zero_grad()
            ((0.5 * ((out - targets[chosen]) ** 2).sum() + penalty) / len(rows)).backward()
            optimizer.step()
    return {b: {k: t.detach().numpy() for k, t in arrays.items()} for b, arrays in theta.items()}


def _show(results: Mapping[str, Any]) -> None:
    rows = []
    for case, result in results.items():
        for name, scores in result["scores"].items():
            values = [s["objective"] for s in scores]
            spread = f" ± {stdev(values) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""
            parts = (f"{mean(s[key] for s in scores):.3f}" for key in ("error", "active"))
            rows.append((f"{case}, {name}", *(f"{v:.3f}" for v in values), f"{mean(values):.3f}{spread}", *parts))
    seeds = max(len(s) for r in results.values() for s in r["scores"].values())
    columns = ("", *(f"seed {k}" for k in range(seeds)), "mean", "error", "code not zero")
    report.show("autoencoders: objective on test images", columns, rows)
