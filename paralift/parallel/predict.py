"""What a step of a plan should cost: seconds, where they go, and bytes a rank (docs/plan.md has the equations)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from paralift.lifted.network import Network
from paralift.parallel import timeline
from paralift.parallel.cost import Costs, Line, count
from paralift.parallel.crossing import crossing
from paralift.parallel.memory import stage_bytes
from paralift.parallel.reduce import BUCKET

if TYPE_CHECKING:
    from paralift.parallel.plan import Plan

MIN_CAPACITY = 64
"""Rows that buffers have at least."""


@dataclass(frozen=True)
class Prediction:
    """What a plan should cost in one step.

    Attributes
    ----------
    seconds : float
        Of the whole step; the sum of `slowest`, `exchange`, `reduction` and `bubble`.
    stage_seconds : tuple of float
        Of computing and of the package's own software, for each stage.
    exchange : float
        What messages between stages add, hidden parts excepted.
    reduction : float
        What the sum over shards adds on the stage where it adds most.
    bubble : float
        What the slowest stage waits for others.
    memory : tuple of int
        Bytes on a rank of each stage, see `paralift.parallel.memory`.
    """

    seconds: float
    stage_seconds: tuple[float, ...]
    exchange: float
    reduction: float
    bubble: float
    memory: tuple[int, ...]

    @property
    def slowest(self) -> float:
        """Seconds that the slowest stage computes."""
        return max(self.stage_seconds)


@dataclass(frozen=True)
class Parts:
    """Seconds of the stages: arrays of shape (stages,), of messages (stages - 1,).

    Attributes
    ----------
    forward, back : ndarray
        One micro-batch, messages' software excepted.
    rest : ndarray
        Gradients, update, and what is done once a batch.
    reduction : ndarray
        Of the sums over shards, what is not hidden.
    busy_up, busy_down : ndarray
        Software of the messages of one micro-batch in each direction at each cut, on either side.
    up, down : ndarray
        Seconds until they have arrived.
    """

    forward: np.ndarray
    back: np.ndarray
    rest: np.ndarray
    reduction: np.ndarray
    busy_up: np.ndarray
    busy_down: np.ndarray
    up: np.ndarray
    down: np.ndarray


def predict(
    network: Network, plan: Plan, batch_size: int, costs: Costs | None = None, itemsize: int = 4, states: int = 2,
    iterations: int = 0,
) -> Prediction:  # fmt: skip
    """Return what a step of a plan should cost.

    Parameters
    ----------
    network : Network
    plan : Plan
    batch_size : int
        Samples of a batch over all shards.
    costs : Costs, optional
        Counted ones by default.
    itemsize : int
        Bytes of a number.
    states : int
        Arrays of optimiser state.
    iterations : int
        Of proximal gradient inference, each with a halo exchange; 0 for a sweep in a wave.
    """
    costs = count(network, states) if costs is None else costs
    parts = stage_parts(network, plan, batch_size, costs, itemsize)
    memory = rank_bytes(network, plan, batch_size, itemsize, states)
    m = plan.micro_batches
    compute = m * (parts.forward + parts.back) + parts.rest
    summed = bool(parts.reduction.any())
    if iterations:
        compute = iterations * m * (parts.forward + parts.back) + parts.rest
        whole = float(_halo(parts, iterations, m, compute + parts.reduction))
        unsummed = float(_halo(parts, iterations, m, compute))
        alone = float(compute.max())
    else:
        whole = _seconds(plan, parts, parts.reduction)
        unsummed = _seconds(plan, parts, 0.0 * parts.reduction) if summed else whole
        alone = _without_messages(plan, parts)
    exchange, reduction = max(0.0, unsummed - alone), max(0.0, whole - unsummed)
    stage_seconds = tuple(map(float, compute))
    bubble = max(0.0, whole - exchange - reduction - max(stage_seconds))
    return Prediction(whole, stage_seconds, exchange, reduction, bubble, memory)


def _wave(plan: Plan, forward: Any, back: Any, rest: Any, up: Any, down: Any) -> float:
    """Return the seconds of a step in a wave; an unflushed one goes from half to half of the batches."""
    if plan.schedule == "flush":
        return timeline.flushed(forward, back, rest, up, down, plan.parts)
    return 2.0 * timeline.unflushed(forward, back, 0.5 * rest, up, down, plan.parts, plan.lead)


def least_seconds(network: Network, plan: Plan, batch_size: int, costs: Costs, itemsize: int = 4) -> float:
    """Return a lower bound of the seconds of a step in a wave: what the slowest stage computes."""
    parts = stage_parts(network, plan, batch_size, costs, itemsize)
    return float((plan.micro_batches * (parts.forward + parts.back) + parts.rest).max())


def _seconds(plan: Plan, parts: Parts, reduction: np.ndarray) -> float:
    """Return the seconds of a step in a wave, messages' software on both sides included."""
    forward = parts.forward + np.append(parts.busy_up, 0.0) + np.insert(parts.busy_up, 0, 0.0)
    back = parts.back + np.append(parts.busy_down, 0.0) + np.insert(parts.busy_down, 0, 0.0)
    return _wave(plan, forward, back, parts.rest + reduction, parts.up, parts.down)


def _without_messages(plan: Plan, parts: Parts) -> float:
    """Return the seconds of a step in a wave whose messages cost nothing."""
    free = np.zeros(plan.stages - 1)
    return _wave(plan, parts.forward, parts.back, parts.rest, free, free)


def _halo(parts: Parts, iterations: int, m: int, work: np.ndarray) -> float:
    """Return the seconds of iterations that exchange halos: a forward pass through all stages, then all work at once."""
    busy = np.append(parts.busy_up + parts.busy_down, 0.0) + np.insert(parts.busy_up + parts.busy_down, 0, 0.0)
    start = m * (parts.forward.sum() + parts.up.sum()) if len(parts.up) else 0.0
    return float((work + iterations * m * busy).max() + start)


def stage_parts(network: Network, plan: Plan, batch_size: int, costs: Costs, itemsize: int = 4) -> Parts:
    """Return the seconds of each stage's parts under a plan; see `Parts`."""
    rows = -(-batch_size // plan.shards)
    part, halved, m = rows / plan.micro_batches, plan.schedule == "unflushed", plan.micro_batches
    forward, back, rest = block_seconds(costs, rows, m, halved)
    firsts = list(plan.bounds[:-1])
    forward, back, rest = (np.add.reduceat(a, firsts) for a in (forward, back, rest))
    forward, back, rest = forward + 0.5 * costs.turn, back + 0.5 * costs.turn, rest + costs.step
    rest[0] += costs.load(rows * itemsize * math.prod(network.input_shape))
    sums = 2 if halved else 1  # one each half, behind the next one
    ahead = plan.lead * (plan.stages - 1 - np.arange(plan.stages))  # so far into the next half a sum starts
    hiding = 0.5 * (1.0 - ahead / plan.parts) if halved else np.zeros(plan.stages)
    behind = hiding * (m * (forward + back) + rest)
    reduction = [
        sums * _exposed_sum(network, plan, s, itemsize, costs, rows / sums, behind[s]) for s in range(plan.stages)
    ]
    cuts = list(plan.cuts)
    up, down = (seconds[cuts] for seconds in message_seconds(network, part, itemsize, costs.message))
    busy_up, busy_down = (seconds[cuts] for seconds in message_seconds(network, part, itemsize, costs.busy_message))
    return Parts(forward, back, rest, np.array(reduction), busy_up, busy_down, up, down)


def block_seconds(costs: Costs, rows: int, micro_batches: int, halved: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the seconds of each block: one micro-batch forward, one back, and gradient and update of all `rows` rows."""
    part = rows / micro_batches
    forward = np.array([c.forward(part) for c in costs.blocks])
    back = np.array([c.back(part) for c in costs.blocks])
    if halved:
        return forward, back, np.array([2.0 * c.gradient(0.5 * rows) + c.update + c.forecast for c in costs.blocks])
    return forward, back, np.array([c.gradient(rows) + c.update for c in costs.blocks])


def message_seconds(network: Network, rows: float, itemsize: int, link: Line) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds of the messages of `rows` rows at every cut: x upwards, pulls downwards; shape (n_blocks + 1,)."""
    across = crossing(network)
    bytes_ = rows * itemsize * link.each
    return across.n_up * link.start + across.width_up * bytes_, across.n_down * link.start + across.width_down * bytes_


def _exposed_sum(
    network: Network, plan: Plan, stage: int, itemsize: int, costs: Costs, rows: float, behind: float
) -> float:
    """Return the seconds of the sum over shards that nothing hides.

    It starts bucket by bucket: all but the last travel while further gradients are computed, and without a flush all of them
    while what is left of the next half batch (`behind` seconds) is; what the processor has to do for them is never hidden.
    """
    if plan.shards == 1:
        return 0.0
    blocks = network.blocks[plan.bounds[stage] : plan.bounds[stage + 1]]
    numbers = sum(math.prod(shape) for b in blocks for shape in b.trained().values())
    if not numbers:
        return 0.0
    buckets = max(1, min(len(blocks), numbers // BUCKET))
    hops, bytes_ = 2 * (plan.shards - 1), numbers * itemsize / plan.shards
    whole = hops * (buckets * costs.sum.start + costs.sum.each * bytes_)
    busy = hops * (buckets * costs.busy_sum.start + costs.busy_sum.each * bytes_)
    gradient = sum(c.gradient(rows) for c in costs.blocks[plan.bounds[stage] : plan.bounds[stage + 1]])
    return max(busy, whole - gradient * (buckets - 1) / buckets - behind)


def buffers(network: Network, plan: Plan, batch_size: int) -> tuple[int, bool, bool]:
    """Return the samples that a rank has room for, whether batches are halved, and whether sums of halves may travel."""
    rows, halved = max(-(-batch_size // plan.shards), MIN_CAPACITY // network.rows, 1), plan.schedule == "unflushed"
    travels = halved and (plan.shards > 1 or (plan.stages > 1 and bool(network.ties)))
    return rows + (rows % 2 if halved else 0), halved, travels


def rank_bytes(network: Network, plan: Plan, batch_size: int, itemsize: int = 4, states: int = 2) -> tuple[int, ...]:
    """Return the bytes on a rank of each stage."""
    rows, halved, travels = buffers(network, plan, batch_size)
    return tuple(
        stage_bytes(network, a, b, rows, itemsize, states, halved, travels)
        for a, b in zip(plan.bounds, plan.bounds[1:], strict=False)
    )
