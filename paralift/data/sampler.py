"""Which samples form which batch: a stratified shuffle that does not depend on the number of shards.

The N samples are divided into B contiguous slots of N // B or N // B + 1 samples, B the batch size. In each
epoch every slot has a random permutation of its own, and batch t consists of the t-th sample of every slot's
permutation; the extra samples of the longer slots form the last, short batch. A shard owns a contiguous range
of slots, hence a contiguous range of the data set: it reads nothing else and draws no other permutation, yet
the batches are the same for any number of shards. The price: two samples of one slot never meet in a batch.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


def even_range(n: int, shards: int, shard: int) -> tuple[int, int]:
    """Return the `shard`-th of `shards` contiguous ranges that divide ``range(n)`` evenly.

    Parameters
    ----------
    n : int
        How many items there are, >= 0.
    shards, shard : int
        Number of ranges, >= 1, and the one asked for, 0 <= shard < shards. With shards > n some are empty.

    Returns
    -------
    start, stop : int
        The range ``start <= i < stop``; the lengths of two ranges differ by one at most.

    Raises
    ------
    ValueError
        If a number is outside its range.
    """
    if n < 0 or not 0 <= shard < shards:
        raise ValueError(f"got n={n}, shards={shards}, shard={shard}, expected n >= 0, 0 <= shard < shards")
    return shard * n // shards, (shard + 1) * n // shards


@dataclass(frozen=True, eq=False)
class Epoch:
    """The batches of one epoch as local sample numbers.

    Use it as a sequence: ``len(epoch)``, ``epoch[t]``, ``for rows in epoch``.
    """

    order: np.ndarray
    """All local samples, batch after batch, shape (n_local,), dtype intp."""
    width: int
    """Local slots: the rows of a full batch, and no fewer than the last batch has."""
    n_batches: int
    """Number of batches, the last, short one included."""

    def __len__(self) -> int:
        return self.n_batches

    def __getitem__(self, t: int) -> np.ndarray:
        """Return the local samples of batch `t`, shape (rows,): a view, nothing is copied."""
        _check_batch(t, self.n_batches)
        return self.order[t * self.width : (t + 1) * self.width]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[t] for t in range(self.n_batches))


@dataclass(frozen=True)
class Sampler:
    """The batches that one shard takes part in.

    Parameters
    ----------
    n_samples : int
        Samples of the whole data set, N >= 1.
    batch_size : int
        Rows of a full batch over all shards, B >= 1. With B > N the one batch of an epoch holds all samples.
    seed : int
        Seed of the permutations, >= 0; slot s in epoch e draws from ``SeedSequence([seed, e, s])``.
    shuffle : bool
        False takes the same slots with identity permutations: all epochs are then equal.
    shards, shard : int
        Number of data shards and the one described here, 0 <= shard < shards; it may be empty (shards > B).

    Raises
    ------
    ValueError
        If a number is outside its range.
    TypeError
        If one is no integer.
    """

    n_samples: int
    batch_size: int
    seed: int
    shuffle: bool = True
    shards: int = 1
    shard: int = 0

    def __post_init__(self) -> None:
        for name, least in (("n_samples", 1), ("batch_size", 1), ("seed", 0), ("shards", 1), ("shard", 0)):
            object.__setattr__(self, name, _integer(name, getattr(self, name), least))
        if self.shard >= self.shards:
            raise ValueError(f"Sampler: shard={self.shard} was given, expected shard < shards={self.shards}")

    @property
    def n_batches(self) -> int:
        """Number of batches of an epoch, the last, short one included."""
        return -(-self.n_samples // self.batch_size)

    @property
    def slots(self) -> tuple[int, int]:
        """The range of slots that this shard owns."""
        return even_range(self.batch_size, self.shards, self.shard)

    @property
    def local_range(self) -> tuple[int, int]:
        """The range (start, stop) of the data set that this shard reads."""
        first, last = self.slots
        return first * self.n_samples // self.batch_size, last * self.n_samples // self.batch_size

    def batch_rows(self, t: int) -> int:
        """Return how many rows of batch `t` are local; no batch has more than batch 0."""
        _check_batch(t, self.n_batches)
        first, last = self.slots
        if t < self._n_full:
            return last - first
        start, stop = self.local_range
        return stop - start - self._n_full * (last - first)

    def batch_place(self, t: int) -> int:
        """Return how many rows of batch `t` the shards before this one have."""
        _check_batch(t, self.n_batches)
        first, _ = self.slots
        return first if t < self._n_full else self.local_range[0] - self._n_full * first

    def batch_global(self, t: int) -> int:
        """Return how many rows batch `t` has over all shards."""
        _check_batch(t, self.n_batches)
        return min(self.batch_size, self.n_samples - t * self.batch_size)

    def epoch(self, e: int) -> Epoch:
        """Return the batches of epoch `e` >= 0, as sample numbers counted from the start of `local_range`.

        All permutations are drawn here, once; a batch is then a slice. The batches of all shards, one after
        another in the order of the shards, are the batches of ``shards=1``.
        """
        e = _integer("epoch", e, 0)
        first, last = self.slots
        width, n_full = last - first, self._n_full
        start, stop = self.local_range
        order = np.empty(stop - start, dtype=np.intp)
        full = order[: n_full * width].reshape(n_full, width)
        extra = order[n_full * width :]
        n_extra = 0
        for column in range(width):
            low, high = even_range(self.n_samples, self.batch_size, first + column)
            samples = self._permutation(e, first + column, high - low) + (low - start)
            full[:, column] = samples[:n_full]
            if high - low > n_full:
                extra[n_extra] = samples[n_full]
                n_extra += 1
        return Epoch(order, width, self.n_batches)

    @property
    def _n_full(self) -> int:
        return self.n_samples // self.batch_size

    def _permutation(self, e: int, slot: int, n: int) -> np.ndarray:
        if not self.shuffle or n < 2:
            return np.arange(n)
        sequence = np.random.SeedSequence([self.seed, e, slot])
        return np.random.Generator(np.random.PCG64(sequence)).permutation(n)


def _integer(name: str, value: int, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"Sampler: {name}={value!r} was given, expected an integer") from None
    if number < least:
        raise ValueError(f"Sampler: {name}={number} was given, expected {name} >= {least}")
    return number


def _check_batch(t: int, n_batches: int) -> None:
    if not 0 <= t < n_batches:
        raise IndexError(f"batch {t} was asked for, an epoch has the batches 0 to {n_batches - 1}")
