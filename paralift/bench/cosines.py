"""How well a sweep's gradient points along the true one: the smallest cosine over all parameters of a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import paralift as pl
from paralift.bench import report, torch_reference
from paralift.lifted.methods import Method
from paralift.lifted.network import Network, Params

BATCH, LARGE_BATCH = 256, 4096
CLASSES = 10


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Return <a, b> / (|a| |b|) in float64; 1 if both vanish, 0 if one does, -inf if a number is not finite."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return -math.inf
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    norms = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if 0.0 in norms:
        return float(norms[0] == norms[1])
    return float(np.clip(a @ b / (norms[0] * norms[1]), -1.0, 1.0))


def smallest(found: Mapping[str, Mapping[str, Any]], expected: Mapping[str, Mapping[str, Any]]) -> tuple[float, str]:
    """Return the smallest cosine over all parameters, and whose it is."""
    return min((cosine(found[b][k], a), f"{b}.{k}") for b, arrays in expected.items() for k, a in arrays.items())


# --- random networks against autograd ---------------------------------------------------------------------------------

KINDS: Mapping[str, Callable[[int, int, int], Network]] = {
    "tanh": lambda n, a, b: _plain(n, a, b, pl.Tanh()),
    "softplus": lambda n, a, b: _plain(n, a, b, pl.Softplus()),
    "ReLU": lambda n, a, b: _plain(n, a, b, pl.ReLU()),
    "LayerNorm": lambda n, a, b: pl.Sequential(
        pl.Linear(n, a), pl.LayerNorm(a), pl.Tanh(), pl.Linear(a, b), pl.LayerNorm(b), pl.Linear(b, CLASSES), pl.Softmax()
    ),
    "softmax hidden": lambda n, a, b: pl.Sequential(
        pl.Linear(n, a), pl.Tanh(), pl.Linear(a, b), pl.Softmax(), pl.Linear(b, CLASSES), pl.Softmax()
    ),
    "residual": lambda n, a, b: pl.Sequential(
        pl.Linear(n, a), pl.Residual(pl.Linear(a, b), pl.ReLU(), pl.Linear(b, a)),
        pl.Residual(pl.Linear(a, b), pl.Tanh(), pl.Linear(b, a)), pl.Linear(a, CLASSES), pl.Softmax(),
    ),
}  # fmt: skip
GRADIENT_METHODS: Mapping[str, Method] = {
    "beta = 0.01": pl.methods.nudged(beta=1e-2),
    "beta = 1": pl.methods.nudged(beta=1.0),
    "relative = 0.01": pl.methods.nudged(relative=0.01),
    "backprop()": pl.methods.backprop(),
}


def _plain(n: int, a: int, b: int, activation: Any) -> Network:
    return pl.Sequential(
        pl.Linear(n, a), activation, pl.Linear(a, b), activation, pl.Linear(b, a), activation,
        pl.Linear(a, CLASSES), pl.Softmax(),
    )  # fmt: skip


def gradients(quick: bool, batch: int = BATCH) -> dict[str, Any]:
    """Compare with PyTorch's autograd (without it: with this package's backpropagation) in float64; return the record."""
    torch = torch_reference.available()
    n_networks = 1 if quick else 10
    results: dict[str, Any] = {}
    for kind, build in KINDS.items():
        results[kind] = {name: {"cosines": [], "where": []} for name in GRADIENT_METHODS}
        for seed in range(n_networks):
            network, params, x, y = _random_case(build, seed, batch)
            reference = torch_reference.gradients if torch else _backprop
            expected = reference(network, params, x, y)
            for name, method in GRADIENT_METHODS.items():
                value, where = smallest(pl.value_and_grad(network, method)(params, x, y)[1], expected)
                results[kind][name]["cosines"].append(value)
                results[kind][name]["where"].append(where)
    for per_method in results.values():
        for found in per_method.values():
            found["min"] = min(found["cosines"])
    least = {name: min(results[kind][name]["min"] for kind in KINDS) for name in GRADIENT_METHODS}
    against = "PyTorch" if torch else "backprop() of this package; PyTorch is not installed"
    rows = [(kind, *(_digits(results[kind][name]["min"]) for name in GRADIENT_METHODS)) for kind in KINDS]
    title = f"smallest cosine over all parameters of {n_networks} random networks, float64, batch {batch}, against {against}"
    report.show(title, ("network", *GRADIENT_METHODS), [*rows, ("all", *map(_digits, least.values()))])
    return {"reference": against, "n_networks": n_networks, "batch": batch, "min": least, "results": results}


def _random_case(
    build: Callable[[int, int, int], Network], seed: int, batch: int = BATCH
) -> tuple[Network, Params, np.ndarray, np.ndarray]:
    """Return a network of random widths with random offsets, and a batch."""
    rng = np.random.default_rng(seed)
    network = build(*(int(n) for n in rng.integers(8, 64, 3)))
    params = network.init(seed, np.float64)
    for arrays in params.values():
        for name in set(arrays) - {"weight"}:
            arrays[name] = arrays[name] + 0.1 * rng.standard_normal(arrays[name].shape)
    x = rng.standard_normal((batch, *network.input_shape))
    return network, params, x, rng.integers(0, CLASSES, batch)


def _backprop(network: Network, params: Params, x: np.ndarray, y: np.ndarray) -> Any:
    return pl.value_and_grad(network, pl.methods.backprop())(params, x, y)[1]


def _digits(value: float) -> str:
    """Show a cosine, or its distance from 1 where that is small."""
    if not math.isfinite(value):
        return "not finite"
    return f"{value:.5f}" if 1.0 - value > 1e-5 else f"1 - {max(0.0, 1.0 - value):.0e}"


# --- deep residual networks -------------------------------------------------------------------------------------------

DEPTH_METHODS: Mapping[str, Method] = {
    **{f"beta = {beta:g}": pl.methods.nudged(beta=beta) for beta in (1.0, 0.1, 0.01, 0.001)},
    **{f"eps = {eps:g}": pl.methods.nudged(relative=eps) for eps in (0.1, 0.01, 0.001)},
}
DEPTH_BATCH, WIDTH, INNER = 128, 64, 128


def depth(quick: bool) -> dict[str, Any]:
    """Compare float32 sweeps with float64 backpropagation in deep residual networks (MNIST-1D, 128 samples)."""
    data = pl.data.mnist1d(1000 if quick else 20000)
    x, y = pl.data.load_shard(data.train, 0, DEPTH_BATCH, np.float64)
    results: dict[str, Any] = {}
    for n in (4,) if quick else (16, 128):
        for name, scale in (("1/sqrt(L)", n**-0.5), ("0.3", 0.3)):
            network = residual(n)
            params = residual_params(network, scale)
            expected = _backprop(network, params, x, y)
            single = {b: {k: a.astype(np.float32) for k, a in arrays.items()} for b, arrays in params.items()}
            results[f"{n}, {name}"] = {
                label: _smallest_record(network, method, single, x.astype(np.float32), y, expected)
                for label, method in DEPTH_METHODS.items()
            }
    rows = [(label, *(_digits(r["min"]) for r in found.values())) for label, found in results.items()]
    title = "smallest cosine over all parameters, float32 sweep against float64 backpropagation"
    report.show(title, ("residual blocks, branch scale", *DEPTH_METHODS), rows)
    return {"batch": DEPTH_BATCH, "width": WIDTH, "inner": INNER, "results": results}


def _smallest_record(
    network: Network, method: Method, params: Params, x: np.ndarray, y: np.ndarray, expected: Any
) -> dict[str, Any]:
    value, where = smallest(pl.value_and_grad(network, method)(params, x, y)[1], expected)
    return {"min": value, "where": where}


def residual(n: int) -> Network:
    """Return 40 -> 64, n residual blocks 64 -> 128 -> 64 with ReLU inside, 64 -> 10, without offsets."""
    branches = [
        pl.Residual(pl.Linear(WIDTH, INNER, bias=False), pl.ReLU(), pl.Linear(INNER, WIDTH, bias=False)) for _ in range(n)
    ]
    first, last = pl.Linear(40, WIDTH, bias=False), pl.Linear(WIDTH, CLASSES, bias=False)
    return pl.Sequential(first, *branches, last, pl.Softmax())


def residual_params(network: Network, scale: float) -> dict[str, dict[str, np.ndarray]]:
    """Return weights that keep the size of a signal in a branch, whose end is scaled by `scale`."""
    rng = np.random.default_rng(0)
    deviation = {(40, WIDTH): 0.15, (WIDTH, INNER): (2 / WIDTH) ** 0.5, (INNER, WIDTH): scale / INNER**0.5,
                 (WIDTH, CLASSES): 0.12}  # fmt: skip
    params = network.init(0, np.float64)
    for arrays in params.values():
        shape = arrays["weight"].shape
        arrays["weight"] = deviation[shape] * rng.standard_normal(shape)
    return params
