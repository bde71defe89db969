"""The samples that a rank holds, and one batch of them on its way into a state's buffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from paralift.kernels.arrays import Array, empty, namespace


@dataclass(frozen=True)
class Batch:
    """One batch on one rank.

    Attributes
    ----------
    indices : ndarray of shape (n,), intp
        The local samples.
    size : int
        Samples of the batch over all shards; of outputs with several axes their rows, which have a loss each.
    epoch, step : int
        From 0; counts batches over the whole run.
    """

    indices: np.ndarray
    size: int
    epoch: int
    step: int


@dataclass(frozen=True)
class Shard:
    """The samples that a rank holds: x on the first stage, y on the last, None elsewhere."""

    x: Array | None
    y: Array | None


def gather(source: Array, indices: Any, out: Array) -> None:
    """Copy the samples `indices` of `source` into `out`, without a temporary where the library can."""
    if isinstance(out, np.ndarray):
        source.take(indices, axis=0, out=out, mode="clip")
    else:
        out[...] = namespace(source).take(source, namespace(source).asarray(indices), axis=0)


def load(state: Any, shard: Shard, indices: np.ndarray, targets: Array | None) -> None:
    """Bring the samples of a batch into a state's input and targets."""
    n = len(indices)
    if shard.x is not None:
        gather(shard.x, indices, state.x[0][:n])
    if targets is not None:
        gather(shard.y, indices, targets[:n])
        state.y = targets


def targets_like(shard: Shard, capacity: int) -> Array | None:
    """Return a buffer for the targets of `capacity` samples, or None where there are none."""
    return None if shard.y is None else empty((capacity, *shard.y.shape[1:]), shard.y)
