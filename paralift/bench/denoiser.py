"""Unrolled proximal denoisers: lifted training beside PyTorch, from the same weights on the same batches, and on two ranks.

Trained on patches, tested on whole pictures by the same parameters. Total variation with one weight for all pictures, the
best one, reaches 28.04 dB on Set12 and 27.48 dB on BSD68 with noise made as here.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import paralift as pl
from paralift.bench import report, torch_reference
from paralift.bench.studies import DEFAULT, TORCH
from paralift.data.denoising import pictures
from paralift.launch import LaunchError, mpi_environment, mpirun_command
from paralift.lifted.network import Network, Params
from paralift.parallel.plan import Plan, block_costs
from paralift.parallel.split import split

SIGMA = 25.0
"""Standard deviation of the noise, in grey values of 255; noisy values are not clipped, nor are denoised ones."""
DEPTH, FILTERS, KERNEL, BOUND = 5, 24, 5, 0.03
PATCH, STRIDE = 28, 50
BATCH_SIZE, RATE, EPOCHS, SEEDS = 8, 1e-3, 1, 3
SETS = ("set12", "bsd68")
TWO_RANKS = "nudged(), 2 ranks, unflushed"
CHILD = Path(__file__).parent / "children" / "denoiser_fit.py"
DEADLINE = 3600.0


def run(quick: bool) -> dict[str, Any]:
    """Train all; return the record and print the table. Quick ones have small pictures, and start no other processes."""
    found: dict[str, list[dict[str, Any]]] = {}
    untrained = measure(pl.networks.cosine_filters(network(), 0), quick)
    for seed in range(1 if quick else SEEDS):
        for name in names(ranks=not quick):
            start = time.perf_counter()
            params = on_two_ranks(seed) if name == TWO_RANKS else trained(name, seed, quick)
            seconds = time.perf_counter() - start
            found.setdefault(name, []).append({**measure(params, quick), "train_seconds": seconds})
            values = ", ".join(f"{key} {found[name][-1][key]:.3f} dB" for key in SETS)
            print(f"denoiser, seed {seed}, {name}: {values}, {seconds:.0f} s", flush=True)
    _show(found, untrained)
    settings = {"patch": PATCH, "stride": STRIDE, "batch_size": BATCH_SIZE, "epochs": EPOCHS, "optimizer": f"Adam({_rate()})"}
    record = {"network": network().source, "parameters": network().n_parameters, "sigma": SIGMA, **settings}
    return {**record, "untrained": untrained, "results": {name: _summary(scores) for name, scores in found.items()}}


def names(ranks: bool) -> list[str]:
    """Return what is compared, with or without a run on two ranks."""
    return [DEFAULT, *([TORCH] if torch_reference.available() else []), *([TWO_RANKS] if ranks else [])]


def network(shape: tuple[int, int] = (PATCH, PATCH)) -> Network:
    """Return the denoiser for pictures of a shape."""
    return pl.networks.unrolled((*shape, 1), DEPTH, FILTERS, KERNEL, bound=BOUND)


def trained(name: str, seed: int, quick: bool, comm: Any = None, stages: int = 1) -> Params:
    """Return the parameters after training by a method; on all ranks of `comm`, as many as stages, without a flush."""
    net = network()
    data = pl.data.denoising(patch=PATCH, stride=75 if quick else STRIDE, sigma=SIGMA, seed=seed)
    start = pl.networks.cosine_filters(net, seed)
    if name == TORCH:
        return torch_reference.train(net, start, data, epochs=EPOCHS, batch_size=BATCH_SIZE, rate=_rate(), seed=seed)
    run = pl.fit(
        net, data.train, optimizer=pl.optim.Adam(_rate()), epochs=EPOCHS, batch_size=BATCH_SIZE, seed=seed, params=start,
        comm=comm, plan=Plan(1, stages, split(block_costs(net), stages)), progress=False,
    )  # fmt: skip
    return run.params


def _rate() -> pl.optim.Cosine:
    return pl.optim.Cosine(RATE)


def on_two_ranks(seed: int) -> Params:
    """Return the parameters of an unflushed run on two ranks of this machine."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "params.npz"
        environment = mpi_environment({**os.environ, "OMPI_MCA_mpi_yield_when_idle": "1"})
        try:
            command = [*mpirun_command(2), str(CHILD), str(seed), "0", str(path)]
        except LaunchError as error:
            raise OSError(str(error)) from error
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE)
        if done.returncode or not path.exists():
            raise OSError(f"2 ranks: exit code {done.returncode}; {done.stderr.strip()[-400:]}")
        return read_params(path)


def write_params(path: Path, params: Params) -> None:
    """Write parameters for another process."""
    np.savez(path, **{json.dumps([block, key]): a for block, arrays in params.items() for key, a in arrays.items()})


def read_params(path: Path) -> Params:
    """Return what `write_params` wrote."""
    params: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path) as file:
        for name in file.files:
            block, key = json.loads(name)
            params.setdefault(block, {})[key] = file[name]
    return params


def measure(params: Params, quick: bool = False) -> dict[str, float]:
    """Return the mean over the pictures of each set of the peak signal-to-noise ratio, in dB.

    The noise is that of one generator a set, ``default_rng(0)``, through its pictures in their order: the same for all
    methods.
    """
    found = {}
    for name in SETS:
        rng, ratios = np.random.default_rng(0), []
        for picture in pictures(name)[: 1 if quick else None]:
            clean = (picture[:64, :64] if quick else picture).astype(np.float32) / np.float32(255)
            noisy = clean + np.float32(SIGMA / 255) * rng.standard_normal(clean.shape, np.float32)
            denoised = network(clean.shape).apply(params, noisy[None, ..., None])[0, ..., 0]
            ratios.append(psnr(denoised, clean))
        found[name] = mean(ratios)
    return found


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB of pictures with values in [0, 1]."""
    return -10.0 * math.log10(float(np.mean((a.astype(np.float64) - b) ** 2)))


def _summary(scores: list[dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {"seeds": scores}
    for key in SETS:
        values = [s[key] for s in scores]
        summary[key] = {"mean": mean(values), **({"standard_error": _error(values)} if len(values) > 1 else {})}
    return summary


def _error(values: list[float]) -> float:
    return float(stdev(values) / len(values) ** 0.5)


def _show(found: Mapping[str, list[dict[str, Any]]], untrained: Mapping[str, float]) -> None:
    rows = [("untrained", "", *(f"{untrained[key]:.2f}" for key in SETS))]
    for name, scores in found.items():
        cells = []
        for key in SETS:
            values = [s[key] for s in scores]
            cells.append(f"{mean(values):.3f}" + (f" ± {_error(values):.3f}" if len(values) > 1 else ""))
        rows.append((name, ", ".join(f"{s['bsd68']:.3f}" for s in scores), *cells))
    report.show(f"denoising, sigma {SIGMA:g}: PSNR in dB", ("", "seeds, BSD68", "Set12", "BSD68"), rows)
