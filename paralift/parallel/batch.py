"""The samples that a rank holds, and one batch of them on its way into a state's buffers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from paralift.data.augment import Augmentation
from paralift.kernels.arrays import Array, empty, namespace
from paralift.kernels.draw import fill_keys


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
    seed, first : int
        Of what is drawn for its samples, and the number of the first local sample in the data set.
    place : int
        Of the first local sample in the batch over all shards.
    """

    indices: np.ndarray
    size: int
    epoch: int
    step: int
    seed: int = 0
    first: int = 0
    place: int = 0

    def halves(self, rows: int = 1) -> tuple[Batch, Batch]:
        """Return the samples of even and of odd places as two batches, whatever the number of shards.

        Parameters
        ----------
        rows : int
            Rows of a sample in `size`.
        """
        samples, begin = self.size // rows, self.place % 2
        even, odd = self.indices[begin::2], self.indices[1 - begin :: 2]
        return (replace(self, indices=even, size=rows * ((samples + 1) // 2)),
                replace(self, indices=odd, size=rows * (samples // 2)))  # fmt: skip


@dataclass(frozen=True)
class Shard:
    """The samples that a rank holds, and how they are changed for training.

    Attributes
    ----------
    x, y : array or None
        On the first stage, on the last; None elsewhere.
    augment : sequence of Augmentation
    shape : tuple of int
        Of a sample in their eyes.
    """

    x: Array | None
    y: Array | None
    augment: Sequence[Augmentation] = ()
    shape: tuple[int, ...] = ()


def gather(source: Array, indices: Any, out: Array) -> None:
    """Copy the samples `indices` of `source` into `out`, without a temporary where the library can."""
    if isinstance(out, np.ndarray):
        source.take(indices, axis=0, out=out, mode="clip")
    else:
        out[...] = namespace(source).take(source, namespace(source).asarray(indices), axis=0)


def load(state: Any, shard: Shard, batch: Batch, targets: Array | None) -> None:
    """Bring the samples of a batch into a state's input and targets, and their keys where something is drawn by them."""
    n = len(batch.indices)
    keys = state.keys[:n] if state.keys is not None and (state.stage.draws or shard.augment) else None
    if keys is not None:
        fill_keys(batch.seed, batch.epoch, batch.first, batch.indices, keys)
    if shard.x is not None:
        x = state.x[0][:n]
        gather(shard.x, batch.indices, x)
        if shard.augment:
            x = namespace(x).reshape(x, (n, *shard.shape))
        for k, augmentation in enumerate(shard.augment):
            augmentation.apply(x, keys, -1 - k)
    if targets is not None:
        gather(shard.y, batch.indices, targets[:n])
        state.y = targets


def targets_like(shard: Shard, capacity: int) -> Array | None:
    """Return a buffer for the targets of `capacity` samples, or None where there are none."""
    return None if shard.y is None else empty((capacity, *shard.y.shape[1:]), shard.y)
