"""Plans: who owns which blocks and which samples. Which one is best: `choosing`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from paralift.lifted.network import Network

NUMBER_OPERATIONS = 20.0
"""What `block_costs` counts for a number of an activation."""
SCHEDULES = ("unflushed", "flush")


@dataclass(frozen=True)
class Plan:
    """Shards x stages, the cuts between stages, and the micro-batches of a batch.

    Parameters
    ----------
    shards, stages : int
        Their product is the number of ranks.
    bounds : tuple of int
        Stage s owns the blocks ``bounds[s]`` to ``bounds[s + 1]`` (from 0, exclusive); length stages + 1.
    micro_batches : int, optional
        Parts of a shard's share of a batch; more fill the pipeline better, fewer make larger products. By default as few as
        the schedule needs.
    schedule : {"unflushed", "flush"}, optional
        Of sweeps, see `paralift.parallel.schedule`; by default "unflushed" with several stages. Without a flush a batch goes
        through as two halves of at least stages - 1 micro-batches each.
    """

    shards: int
    stages: int
    bounds: tuple[int, ...]
    micro_batches: int = 0
    schedule: str = ""

    def __post_init__(self) -> None:
        if not self.schedule:
            object.__setattr__(self, "schedule", "unflushed" if self.stages > 1 else "flush")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule is {self.schedule!r}, expected one of {SCHEDULES}")
        least = least_micro_batches(self.stages, self.schedule)
        if not self.micro_batches:
            object.__setattr__(self, "micro_batches", least)
        increasing = all(a < b for a, b in zip(self.bounds, self.bounds[1:], strict=False))
        if self.shards < 1 or self.stages < 1 or len(self.bounds) != self.stages + 1 or not increasing:
            raise ValueError(
                f"{self!r}: expected at least one shard and stage, and stages + 1 = {self.stages + 1} increasing bounds"
            )
        if self.micro_batches < least:
            raise ValueError(
                f"{self!r}: expected at least {least} micro-batches for {self.stages} stages; give more, or "
                'schedule="flush"'
            )
        if self.schedule == "unflushed" and self.micro_batches % 2:
            raise ValueError(
                f"{self!r}: expected an even number of micro-batches, half of them for each half of a batch; give one more, or "
                'schedule="flush"'
            )

    @property
    def cuts(self) -> tuple[int, ...]:
        """The cuts between stages, as variable numbers."""
        return self.bounds[1:-1]

    @property
    def parts(self) -> int:
        """The micro-batches that enter together: of a batch, or of half a batch in an unflushed wave."""
        return self.micro_batches // 2 if self.schedule == "unflushed" else self.micro_batches

    @property
    def lead(self) -> int:
        """How many micro-batches a stage of an unflushed wave is ahead of the next one: 2 if there are enough, else 1.

        Two let messages, and stages that are slow for once, hide behind the other micro-batch. Passes know of the same
        gradients as long as no stage is more than half a batch ahead; sums over shards want a part of it to hide behind, too.
        """
        enough = (2 if self.shards == 1 else 3) * (self.stages - 1)
        return 2 if self.schedule == "unflushed" and self.stages > 1 and self.parts >= enough else 1

    def check(self, network: Network, ranks: int) -> None:
        """Raise ValueError unless the plan fits the network and the number of ranks."""
        n = len(network.blocks)
        if self.bounds[0] != 0 or self.bounds[-1] != n:
            raise ValueError(f"plan: bounds are {self.bounds}, expected 0 first and {n} (the network's blocks) last")
        if self.shards * self.stages != ranks:
            raise ValueError(f"plan: {self.shards} shards x {self.stages} stages, expected a product of {ranks} ranks")

    def rows(self, n: int) -> list[tuple[int, int]]:
        """Return the row ranges of the micro-batches of `n` local samples that enter together (`parts`).

        Some are empty if there are fewer samples and the schedule needs all of them.
        """
        parts = self.parts if self.schedule == "unflushed" else max(1, min(self.parts, n))
        return [(k * n // parts, (k + 1) * n // parts) for k in range(parts)]


def least_micro_batches(stages: int, schedule: str) -> int:
    """Return how many micro-batches a schedule needs with so many stages."""
    return 2 * max(1, stages - 1) if schedule == "unflushed" else 1


def block_costs(network: Network) -> np.ndarray:
    """Return the operations of forward, pull and gradient on one sample for each block, shape (n_blocks,).

    A number of an activation, which is moved and not multiplied, counts for `NUMBER_OPERATIONS`.
    """
    return np.array([3.0 * b.flops() + NUMBER_OPERATIONS * float(math.prod(b.shape)) for b in network.blocks])
