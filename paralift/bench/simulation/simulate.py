"""Simulate a pipeline over several batches and say where the time of a steady step goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from paralift.bench.simulation.events import RING, Run, play
from paralift.bench.simulation.orders import BACK, FORWARD, GRADIENT, UPDATE, orders
from paralift.bench.simulation.pipeline import Pipeline

WARM_UP = 2
"""Batches until the pipe is full and its pace found."""
MEASURED = 2


@dataclass(frozen=True)
class Simulation:
    """What a steady step of a simulated pipeline looks like.

    Attributes
    ----------
    seconds : float
        Of a step, mean over the ranks and the measured batches.
    steps : (measured,) array
        Of each measured batch, mean over the ranks.
    busy, overhead, bubble, exposed_communication, exposed_sum : (ranks,) arrays
        Shares of the time that add up to 1: computation; the processor's part of messages; idle because what comes next
        was not yet computed elsewhere; idle while it was on its way; idle while the sum over shards was on its way.
    events : int
        How many there were.
    run : Run
        The record of the run.
    """

    seconds: float
    steps: np.ndarray
    busy: np.ndarray
    overhead: np.ndarray
    bubble: np.ndarray
    exposed_communication: np.ndarray
    exposed_sum: np.ndarray
    events: int
    run: Run

    def record(self) -> dict[str, Any]:
        """Return the seconds, and the mean and extreme shares of the ranks, for a JSON file."""
        found: dict[str, Any] = {"seconds": self.seconds, "steps": self.steps.tolist(), "events": self.events}
        for name in ("busy", "overhead", "bubble", "exposed_communication", "exposed_sum"):
            share = getattr(self, name)
            found[name] = {"mean": float(share.mean()), "min": float(share.min()), "max": float(share.max())}
        return found


def simulate(
    pipeline: Pipeline,
    *,
    batches: int = MEASURED,
    warm_up: int = WARM_UP,
    jitter: float = 0.0,
    seed: int = 0,
    log: bool = False,
) -> Simulation:
    """Simulate `warm_up` + `batches` + 1 batches, of which `batches` are measured.

    Parameters
    ----------
    pipeline : Pipeline
    batches, warm_up : int
        At least 1 each. The last batch of all is not measured, because the pipe empties behind it.
    jitter : float
        Standard deviation of the logarithm of a task's computation, all independent, mean kept.
    seed : int
    log : bool
        Whether to keep the departure and arrival of every message.

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    if batches < 1 or warm_up < 1 or not 0 <= jitter < 1:
        raise ValueError(
            f"simulate: {batches} batches, {warm_up} to warm up, jitter {jitter}; expected at least 1 of each, and 0 to 1"
        )
    run = prepare(pipeline, warm_up + batches + 1, jitter, seed, log)
    events = int(play(run))
    if not (run.at == run.tasks.shape[1]).all():
        rank = int(run.at.argmin())
        raise RuntimeError(f"simulate: rank {rank} waits for ever before task {run.at[rank]} of {run.tasks.shape[1]}")
    return _judge(pipeline, run, warm_up, batches, events)


def prepare(pipeline: Pipeline, batches: int, jitter: float, seed: int, log: bool) -> Run:
    """Return a run at time 0."""
    link, stages, shards = pipeline.link, pipeline.stages, pipeline.shards
    ranks, n_micro = pipeline.ranks, batches * pipeline.micro_batches
    tasks, lanes = orders(pipeline, batches), 1 if link.shared else 3
    wire = np.zeros((3, stages))
    wire[0, :-1], wire[1, 1:] = pipeline.up, pipeline.down
    wire[RING] = np.asarray(pipeline.sum_bytes, float) / shards
    n_messages = max(n_micro, batches * pipeline.hops()) if log else 0
    return Run(
        tasks=tasks,
        seconds=_seconds(pipeline, tasks, jitter, seed),
        wire=wire / link.bandwidth,
        delay=np.array([link.latency, link.latency, link.latency + 2 * link.overhead * pipeline.buckets]),
        lanes=lanes,
        stages=stages,
        shards=shards,
        leaves=np.zeros(ranks * lanes),
        comes=np.zeros(ranks * lanes),
        at=np.zeros(ranks, np.int64),
        busy=np.zeros(ranks, np.bool_),
        here=np.zeros((2, ranks), np.int64),
        ready=np.zeros((ranks, batches), np.int64),
        passed=np.zeros((ranks, batches), np.int64),
        received=np.zeros((ranks, batches), np.int64),
        made=np.full((2, ranks, n_micro), -1.0),
        own=np.full((ranks, batches), -1.0),
        start=np.full((ranks, tasks.shape[1]), -1.0),
        late=np.zeros((ranks, tasks.shape[1]), np.float32),
        sent=np.full((3, ranks, n_messages), -1.0),
        arrived=np.full((3, ranks, n_messages), -1.0),
    )


def _seconds(pipeline: Pipeline, tasks: np.ndarray, jitter: float, seed: int) -> np.ndarray:
    """Return the seconds of every task, shape (ranks, n)."""
    work = np.array([pipeline.forward, pipeline.back, pipeline.gradient, pipeline.update], float)
    seconds = np.tile(work[tasks % 4, np.arange(pipeline.stages)[:, None]], (pipeline.shards, 1))
    if jitter:
        noise = np.random.default_rng(seed).standard_normal(seconds.shape, np.float32)
        noise *= jitter
        noise -= 0.5 * jitter**2
        seconds *= np.exp(noise, out=noise)
    if pipeline.link.overhead:
        seconds += np.tile(_overhead(pipeline, tasks), (pipeline.shards, 1))
    return seconds


def _overhead(pipeline: Pipeline, tasks: np.ndarray) -> np.ndarray:
    """Return the seconds of every task that messages take, shape (stages, n)."""
    is_pass = (tasks % 4 == FORWARD) | (tasks % 4 == BACK)
    sums = pipeline.buckets * pipeline.hops() if pipeline.schedule == "unflushed" else 0
    return pipeline.link.overhead * (is_pass * pipeline.messages()[:, None] + (tasks % 4 == UPDATE) * sums)


def _judge(pipeline: Pipeline, run: Run, warm_up: int, batches: int, events: int) -> Simulation:
    """Take apart the time from the end of the last gradient before the measured batches to the end of their last one."""
    rows, stage = np.arange(pipeline.ranks)[:, None], np.arange(pipeline.ranks) % pipeline.stages
    at = np.stack([_places(run.tasks, t) for t in range(warm_up - 1, warm_up + batches)], axis=1)[stage]
    marks = run.start[rows, at] + run.seconds[rows, at]
    whole = marks[:, -1] - marks[:, 0]
    n = np.arange(run.tasks.shape[1])
    overhead = _overhead(pipeline, run.tasks)
    shares: dict[str, np.ndarray] = {name: np.zeros(pipeline.ranks) for name in ("busy", "overhead", "communication", "sum")}
    for rank in range(pipeline.ranks):
        s = stage[rank]
        inside = slice(int(at[rank, 0]) + 1, int(at[rank, -1]) + 1)
        is_sum = run.tasks[s, n[inside]] % 4 == UPDATE
        late = run.late[rank, inside].astype(float)
        shares["overhead"][rank] = overhead[s, inside].sum()
        shares["busy"][rank] = run.seconds[rank, inside].sum() - shares["overhead"][rank]
        shares["communication"][rank], shares["sum"][rank] = late[~is_sum].sum(), late[is_sum].sum()
    shares = {name: np.divide(part, whole, out=np.zeros_like(part), where=whole > 0) for name, part in shares.items()}
    return Simulation(
        seconds=float(whole.mean()) / batches,
        steps=np.diff(marks, axis=1).mean(axis=0),
        busy=shares["busy"],
        overhead=shares["overhead"],
        bubble=1.0 - np.sum(list(shares.values()), axis=0),
        exposed_communication=shares["communication"],
        exposed_sum=shares["sum"],
        events=events,
        run=run,
    )


def _places(tasks: np.ndarray, batch: int) -> np.ndarray:
    """Return where each stage takes the gradient of `batch`, shape (stages,)."""
    return (tasks == 4 * batch + GRADIENT).argmax(axis=1)
