"""Plans: who owns which blocks and which samples, and what that should cost.

The cost of a step on the slowest rank is a model in four constants, so that the same network and ranks always give the same
plan, on any machine:

    seconds = max_stage(flops) (1 + thin M / rows) (M + stages - 1) / M / (shards rate) + messages + sum over shards

with M micro-batches through `stages` stages (the flushed wave), thin = `FULL_SPEED_ROWS`, and latency + bytes / bandwidth for
every message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paralift.lifted.network import Network

FLOP_RATE = 5e10
"""Operations a second of one rank; a round figure for one core."""
BANDWIDTH = 5e9
"""Bytes a second between two ranks."""
LATENCY = 5e-6
"""Seconds a message."""
SAMPLE_COST = 2e3
"""Operations that one number of an activation counts for: bytes moved, not products."""
FULL_SPEED_ROWS = 24
"""Rows r of a micro-batch cost as much as r + FULL_SPEED_ROWS rows of a large one: thin products are slow, calls cost."""
MIN_ROWS = 16
"""Rows of a micro-batch at least."""


@dataclass(frozen=True)
class Plan:
    """Shards x stages, the cuts between stages, and the micro-batches of a batch.

    Parameters
    ----------
    shards, stages : int
        Their product is the number of ranks.
    bounds : tuple of int
        Stage s owns the blocks ``bounds[s]`` to ``bounds[s + 1]`` (from 0, exclusive); length stages + 1.
    micro_batches : int
        Parts of a shard's share of a batch; more fill the pipeline better, fewer make larger products.
    """

    shards: int
    stages: int
    bounds: tuple[int, ...]
    micro_batches: int = 1

    def __post_init__(self) -> None:
        increasing = all(a < b for a, b in zip(self.bounds, self.bounds[1:], strict=False))
        if self.shards < 1 or self.stages < 1 or len(self.bounds) != self.stages + 1 or not increasing:
            raise ValueError(
                f"{self!r}: expected at least one shard and stage, and stages + 1 = {self.stages + 1} increasing bounds"
            )
        if self.micro_batches < 1:
            raise ValueError(f"{self!r}: expected at least one micro-batch")

    @property
    def cuts(self) -> tuple[int, ...]:
        """The cuts between stages, as variable numbers."""
        return self.bounds[1:-1]

    def check(self, network: Network, ranks: int) -> None:
        """Raise ValueError unless the plan fits the network and the number of ranks."""
        n = len(network.blocks)
        if self.bounds[0] != 0 or self.bounds[-1] != n:
            raise ValueError(f"plan: bounds are {self.bounds}, expected 0 first and {n} (the network's blocks) last")
        if self.shards * self.stages != ranks:
            raise ValueError(f"plan: {self.shards} shards x {self.stages} stages, expected a product of {ranks} ranks")

    def rows(self, n: int) -> list[tuple[int, int]]:
        """Return the row ranges of the micro-batches of `n` local samples; never none, possibly one empty."""
        parts = max(1, min(self.micro_batches, n))
        return [(k * n // parts, (k + 1) * n // parts) for k in range(parts)]


def block_costs(network: Network) -> np.ndarray:
    """Return the operations of forward, pull and gradient on one sample for each block, shape (n_blocks,)."""
    return np.array([3.0 * b.flops() + SAMPLE_COST * float(np.prod(b.shape)) / 100 for b in network.blocks])


def split(costs: Sequence[float] | np.ndarray, stages: int) -> tuple[int, ...]:
    """Return the bounds of the contiguous split of `costs` with the least slowest stage, by dynamic programming.

    Parameters
    ----------
    costs : sequence of float
        One for each block.
    stages : int
        At most ``len(costs)``.
    """
    n = len(costs)
    total = np.concatenate([[0.0], np.cumsum(costs)])
    best = np.full((stages + 1, n + 1), np.inf)
    cut = np.zeros((stages + 1, n + 1), dtype=int)
    best[0, 0] = 0.0
    for s in range(1, stages + 1):
        for stop in range(s, n + 1):
            for start in range(s - 1, stop):
                slowest = max(best[s - 1, start], total[stop] - total[start])
                if slowest < best[s, stop]:
                    best[s, stop], cut[s, stop] = slowest, start
    bounds = [n]
    for s in range(stages, 0, -1):
        bounds.append(int(cut[s, bounds[-1]]))
    return tuple(reversed(bounds))


@dataclass(frozen=True)
class Prediction:
    """What a plan should cost in one step.

    Attributes
    ----------
    seconds : float
        Of the whole step.
    stage_seconds : tuple of float
        Of computation, for each stage.
    memory : tuple of int
        Bytes of parameters, optimiser states and lifted variables on a rank of each stage.
    """

    seconds: float
    stage_seconds: tuple[float, ...]
    memory: tuple[int, ...]


def predict(network: Network, plan: Plan, batch_size: int, itemsize: int = 4, states: int = 2) -> Prediction:
    """Return the model's seconds a step and bytes a rank for a plan; `states` arrays of optimiser state."""
    costs, rows = block_costs(network), -(-batch_size // plan.shards)
    stage_seconds, memory, exchange, parameters = [], [], 0.0, 0
    for s in range(plan.stages):
        blocks = network.blocks[plan.bounds[s] : plan.bounds[s + 1]]
        stage_seconds.append(float(costs[plan.bounds[s] : plan.bounds[s + 1]].sum()) * rows / FLOP_RATE)
        own = sum(int(np.prod(shape)) for b in blocks for shape in b.trained().values())
        live = network.live(plan.bounds[s + 1]) if s + 1 < plan.stages else ()
        width = sum(float(np.prod(network.shapes[v])) for v in live)
        exchange = max(exchange, 2 * (len(live) * plan.micro_batches * LATENCY + width * rows * itemsize / BANDWIDTH))
        lifted = sum(3 * int(np.prod(b.shape)) for b in blocks)
        lifted += sum(2 * int(np.prod(network.shapes[v])) for v in network.live(plan.bounds[s]))
        memory.append(itemsize * (own * (2 + states) + lifted * rows))
        parameters = max(parameters, own)
    bubble = (plan.micro_batches + plan.stages - 1) / plan.micro_batches
    reduction = 0.0
    if plan.shards > 1:
        hops = 2 * (plan.shards - 1)
        reduction = hops * LATENCY + hops / plan.shards * parameters * itemsize / BANDWIDTH
    thin = 1.0 + FULL_SPEED_ROWS * plan.micro_batches / rows
    seconds = max(stage_seconds) * bubble * thin + (exchange if plan.stages > 1 else 0.0) + reduction
    return Prediction(seconds, tuple(stage_seconds), tuple(memory))


def choose(
    network: Network,
    ranks: int,
    batch_size: int,
    *,
    stages: int | None = None,
    micro_batches: int | None = None,
    itemsize: int = 4,
) -> Plan:
    """Return the plan with the least predicted step among all grids of `ranks` ranks.

    Parameters
    ----------
    network : Network
    ranks : int
    batch_size : int
        Samples of a batch over all shards.
    stages, micro_batches : int, optional
        Fixed instead of chosen. With more ranks than blocks the rest become shards.
    itemsize : int
        Bytes of a number.

    Raises
    ------
    ValueError
        If `stages` does not divide the ranks or exceeds the number of blocks.
    """
    n_blocks = len(network.blocks)
    possible = [s for s in range(1, min(ranks, n_blocks) + 1) if ranks % s == 0]
    if stages is not None:
        if stages not in possible:
            raise ValueError(
                f"stages is {stages}, expected one of {possible}: a divisor of {ranks} ranks, at most {n_blocks} blocks"
            )
        possible = [stages]
    costs = block_costs(network)
    plans = []
    for s in possible:
        shards = ranks // s
        most = max(1, -(-batch_size // shards) // MIN_ROWS)
        counts = [micro_batches] if micro_batches else sorted({min(most, m) for m in (1, s, 2 * s, 4 * s) if s > 1 or m == 1})
        plans += [Plan(shards, s, split(costs, s), m) for m in counts]
    return min(plans, key=lambda p: (predict(network, p, batch_size, itemsize).seconds, p.stages))
