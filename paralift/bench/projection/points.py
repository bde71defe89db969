"""One point of a projection: a grid of ranks, its step by the model and by the simulation, and what is lost.

Weak scaling: every rank has the same blocks and the same rows whatever the number of ranks, so

    efficiency = T(1) / T(P),  T(1) = what one rank alone takes for its blocks and rows, by the model, flushed

layers  every rank is a stage: the network grows. The unflushed schedule wants 4 (P - 1) micro-batches for a lead of 2
        (`Plan.lead`; with shards 6 (P - 1)), so the batch grows where that is more than the given number, under either
        schedule; T(1) is for the same rows
data    every rank is a shard: the batch grows
both    up to the given number of stages, then shards of them

What is simulated of an unflushed wave is half a batch: that is what it goes in. Model and simulation share the seconds of every
task. They differ in this: the simulation's links carry one message after another; a stage's gradient goes around in one ring
once all of it is there, while the model's goes block by block, with a latency each, as far as it can behind the rest of the
gradient; and with a flush the simulation's first stages start the next batch while the last ones update, the model's wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from paralift.bench.projection.blocks import ITEMSIZE, STATES, costs, network
from paralift.bench.simulation import Link, Pipeline, Simulation, simulate
from paralift.lifted.network import Network
from paralift.parallel.cost import BlockCost, Costs
from paralift.parallel.plan import Plan
from paralift.parallel.predict import predict, stage_parts
from paralift.parallel.reduce import BUCKET

KINDS = ("layers", "data", "both")
MANY = 100_000
"""Micro-batches on all ranks over which times that vary are watched, where two batches have fewer."""


@dataclass(frozen=True)
class Setting:
    """What all points of a projection share.

    Parameters
    ----------
    width, blocks : int
        Of a block's square weights; of blocks on a rank.
    rows, micro_batches : int
        Of a micro-batch; of a batch on a shard, at least.
    stages : int
        Of the kind "both".
    cost : BlockCost
        Of every block.
    step, turn : float
        Software once a batch and once a micro-batch, in s.
    link : Link
    jitter : float
    seed : int
    """

    width: int
    blocks: int
    rows: int
    micro_batches: int
    stages: int
    cost: BlockCost
    step: float
    turn: float
    link: Link
    jitter: float = 0.05
    seed: int = 0

    def grid(self, kind: str, ranks: int) -> tuple[int, int]:
        """Return shards and stages of a number of ranks."""
        stages = {"layers": ranks, "data": 1, "both": min(self.stages, ranks)}[kind]
        if ranks % stages:
            raise ValueError(f"{ranks} ranks in {stages} stages each, expected a multiple of {stages}")
        return ranks // stages, stages

    def costs(self, blocks: int) -> Costs:
        """Return the costs of a network of `blocks` blocks."""
        link = self.link
        return costs(self.cost, blocks, link.latency, link.bandwidth, link.overhead, self.step, self.turn)


def pipeline_of(net: Network, plan: Plan, batch_size: int, costs: Costs, link: Link) -> Pipeline:
    """Return what is to be simulated of a plan, once or twice a batch: the numbers of the model's parts, for a chain."""
    parts, rows = stage_parts(net, plan, batch_size, costs, ITEMSIZE), -(-batch_size // plan.shards)
    times = plan.micro_batches // plan.parts
    ranges = list(zip(plan.bounds, plan.bounds[1:], strict=False))
    gradient = np.array([sum(c.gradient(rows / times) for c in costs.blocks[a:b]) for a, b in ranges])
    numbers = [sum(int(np.prod(s)) for block in net.blocks[a:b] for s in block.trained().values()) for a, b in ranges]
    cut = [ITEMSIZE * rows / plan.micro_batches * float(np.prod(net.shapes[v])) for v in plan.cuts]
    return Pipeline(
        parts.forward, parts.back, gradient, parts.rest / times - gradient, cut, cut, [ITEMSIZE * n for n in numbers],
        plan.parts, link, plan.shards, plan.schedule,
        buckets=max(1, min(max(b - a for a, b in ranges), max(numbers) // BUCKET)), lead=plan.lead,
    )  # fmt: skip


def project(setting: Setting, kind: str, ranks: int, schedule: str) -> dict[str, Any]:
    """Return a point: the grid, the model's step, the simulated ones without and with jitter, where the time goes."""
    shards, stages = setting.grid(kind, ranks)
    m = max(setting.micro_batches + setting.micro_batches % 2, (4 if shards == 1 else 6) * (stages - 1))
    net, k = network(setting.width, setting.blocks * stages), setting.blocks
    plan = Plan(shards, stages, tuple(range(0, k * stages + 1, k)), m, schedule)
    all_costs, batch_size = setting.costs(k * stages), shards * m * setting.rows
    alone = _alone(setting, m)
    model = predict(net, plan, batch_size, all_costs, ITEMSIZE, STATES)
    pipeline, times = pipeline_of(net, plan, batch_size, all_costs, setting.link), plan.micro_batches // plan.parts
    still = simulate(pipeline)
    noisy = still
    if setting.jitter:
        batches = int(np.clip(MANY // (ranks * m), 2, 200))  # few tasks vary more than many
        noisy = simulate(pipeline, batches=batches, jitter=setting.jitter, seed=setting.seed)
    return {
        "kind": kind, "schedule": schedule, "ranks": ranks, "shards": shards, "stages": stages, "micro_batches": m,
        "rows": setting.rows, "batch_size": batch_size, "blocks": k * stages, "seconds_alone": alone,
        "model": {
            "seconds": model.seconds, "efficiency": alone / model.seconds, "slowest": model.slowest,
            "exchange": model.exchange, "reduction": model.reduction, "bubble": model.bubble,
        },
        "simulation": _judged(still, alone, times),
        "simulation_with_jitter": _judged(noisy, alone, times),
        "model_below_simulation_percent": 100.0 * (1.0 - model.seconds / (times * still.seconds)),
    }  # fmt: skip


def _alone(setting: Setting, micro_batches: int) -> float:
    """Return the model's seconds of one rank alone, with the work that every rank has."""
    k = setting.blocks
    plan = Plan(1, 1, (0, k), micro_batches, "flush")
    net = network(setting.width, k)
    return predict(net, plan, micro_batches * setting.rows, setting.costs(k), ITEMSIZE, STATES).seconds


def _judged(simulation: Simulation, alone: float, times: int) -> dict[str, Any]:
    """Return the record of a step of so many simulated ones, with its efficiency and what is lost, in shares (sum 1)."""
    seconds = times * simulation.seconds
    efficiency = alone / seconds
    losses = {
        "extra work": float(simulation.busy.mean()) - efficiency,
        "message software": float(simulation.overhead.mean()),
        "waiting for others": float(simulation.bubble.mean()),
        "messages": float(simulation.exposed_communication.mean()),
        "sums": float(simulation.exposed_sum.mean()),
    }
    facts = {"seconds": seconds, "simulated_steps_a_step": times, "efficiency": efficiency, "losses": losses}
    return {**simulation.record(), **facts}


def largest_loss(judged: dict[str, Any]) -> str:
    """Return the name and size of what costs most; empty below one part in a thousand."""
    name = max(judged["losses"], key=judged["losses"].__getitem__)
    share = judged["losses"][name]
    return f"{name} {100 * share:.1f} %" if share >= 1e-3 else ""


