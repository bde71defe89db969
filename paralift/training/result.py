"""What a run returns: values, history, timings, and the reason why it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from paralift.data import Dataset, Source, load_shard
from paralift.kernels.arrays import to_host
from paralift.lifted.activations.base import Activation
from paralift.lifted.inference.sweep import rows_of
from paralift.lifted.losses import Loss
from paralift.lifted.network import Network, Params
from paralift.lifted.stage import matrix
from paralift.training.arguments import as_source

CHUNK = 1024
"""Output rows that are evaluated at once."""


class Reason(Enum):
    """Why a run ended, as a sentence."""

    EPOCHS_DONE = "All epochs were done."
    STOPPED_EARLY = "Stopped early: the figure that was watched had stopped improving."
    NOTHING_LEFT = "The checkpoint had all epochs done already."
    STOPPED = "Stopped by a signal, after a checkpoint."
    STOPPED_UNSAVED = "Stopped by a signal; without a run folder nothing was saved."

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Result:
    """The outcome of `fit`, the same on every rank.

    Attributes
    ----------
    network : Network
    loss : Loss
    params : mapping
        Trained parameters, NumPy arrays in the structure of ``network.init()``.
    history : list of dict
        One record an epoch, as in ``metrics.jsonl``.
    reason : Reason
    summary : dict
        What ``summary.json`` holds.
    """

    network: Network
    loss: Loss
    params: Params
    history: Sequence[Mapping[str, Any]]
    reason: Reason
    summary: Mapping[str, Any]

    def evaluate(self, data: Dataset | Source | tuple[Any, Any]) -> dict[str, float]:
        """Return the mean loss and the accuracy (or the root mean squared error) on samples, computed on this rank.

        Where tokens have labels of their own, both are means over tokens.

        Parameters
        ----------
        data : Source, Dataset (its test part), a pair of arrays (x, y), or PyTorch's Dataset or DataLoader
        """
        return evaluate(self.network, self.params, self.loss, data)


def evaluate(network: Network, params: Params, loss: Loss, data: Any) -> dict[str, float]:
    """Return ``{"loss", "accuracy" or "error"}`` of a network on samples; see `Result.evaluate`."""
    dtype = next((a.dtype for b in params.values() for a in b.values()), np.dtype(np.float32))
    source = data.test if isinstance(data, Dataset) else data if isinstance(data, tuple) else as_source("data", data)
    if source is None:
        raise ValueError("the data set has no test part: pass its train source or a pair (x, y)")
    n = len(source[0]) if isinstance(source, tuple) else source.n_samples
    total, labels = np.zeros(3), True
    chunk = max(1, CHUNK // network.rows)
    for start in range(0, n, chunk):
        stop = min(n, start + chunk)
        x, y = _chunk(source, start, stop, dtype)
        labels = not np.issubdtype(y.dtype, np.floating)
        z_last, x_last = outputs(network, params, x)
        total += score(network.blocks[-1].activation, loss, z_last, x_last, y)
    return scores(total, labels)


def _chunk(source: Any, start: int, stop: int, dtype: np.dtype) -> tuple[Any, Any]:
    if isinstance(source, tuple):
        return source[0][start:stop].astype(dtype), source[1][start:stop]
    return load_shard(source, start, stop, dtype)


def outputs(network: Network, params: Params, x: Any) -> tuple[Any, Any]:
    """Return z and x of the output block for the samples `x`."""
    block = network.blocks[-1]
    values = network.variables(params, x)
    z = values[-1]
    theta = params.get(block.name, {})
    block.map.apply(theta, [values[p] for p in block.parents], z)
    if block.map.offset:
        z += theta[block.map.offset]
    return matrix(z), block.activation.sigma(matrix(z))


def score(activation: Activation, loss: Loss, z: Any, x: Any, y: Any) -> np.ndarray:
    """Return (summed loss, correct labels or summed squared error, rows counted) of an output."""
    rows = rows_of(y, x)
    value = float(loss.value(activation, z, x, rows)) if len(rows) else 0.0
    if rows.ndim == 1:
        return np.array([value, float((to_host(x).argmax(axis=1) == to_host(rows)).sum()), len(rows)])
    expected = loss.whole(activation, rows)
    return np.array([value, float(((to_host(x) - to_host(expected)) ** 2).mean(axis=1).sum()), len(rows)])


def scores(total: np.ndarray, labels: bool) -> dict[str, float]:
    """Turn summed scores into means: loss and accuracy, or loss and root mean squared error."""
    n = max(total[2], 1.0)
    if labels:
        return {"loss": float(total[0] / n), "accuracy": float(total[1] / n)}
    return {"loss": float(total[0] / n), "error": float(np.sqrt(total[1] / n))}


