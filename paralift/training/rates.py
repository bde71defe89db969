"""A rate for an update rule by trial: it grows by the same factor at every step, and the loss says where it is right.

Reference: Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017, section 3.3.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from paralift import optim
from paralift.lifted.network import Network
from paralift.lifted.updates import Explicit
from paralift.parallel.batch import Batch
from paralift.parallel.grid import Grid
from paralift.parallel.measure import Trial
from paralift.parallel.plan import Plan
from paralift.parallel.stall import StallWatch
from paralift.parallel.watch import guard
from paralift.training.attempt import Task, quiet, threads, worker_of
from paralift.parallel.world import WORLD
from paralift.training.fit import fit, prepare
from paralift.training.planning import decide
from paralift.training.worker import Worker

MEMORY = 0.9
"""Of the moving average that smooths the losses."""
TOO_MUCH = 4.0
"""Times the least smoothed loss at which the trial ends."""


@dataclass(frozen=True)
class Rates:
    """The curve of a trial.

    Attributes
    ----------
    rates, losses : list of float
        Of each step: its rate, and the mean loss of its batch before it.
    smoothed : list of float
        Moving averages of the losses.
    suggestion : float
        Where the smoothed loss falls fastest with the logarithm of the rate; well below what diverges.
    """

    rates: Sequence[float]
    losses: Sequence[float]
    smoothed: Sequence[float]
    suggestion: float


def find_rate(
    network: Network, data: Any, *, low: float = 1e-6, high: float = 1.0, steps: int = 200, comm: Any = WORLD, **options: Any
) -> Rates:
    """Train for some steps with a rate that grows from `low` to `high`, and return the losses; collective.

    Parameters
    ----------
    network, data, comm
        As for `fit`.
    low, high : float
        The first and the last rate; the trial ends before when the smoothed loss is four times its least.
    steps : int
        At least 10.
    **options
        Of `fit`: method, optimizer (its own rate does not count), loss, batch_size, ... What concerns the run folder and the
        end of a run is left aside.

    Returns
    -------
    Rates
        The same on every rank.

    Raises
    ------
    ValueError, TypeError
        If an argument is wrong, the method moves the parameters itself, or the loss never falls.
    """
    if not 0.0 < low < high < math.inf or type(steps) is not int or steps < 10:
        raise ValueError(f"low = {low}, high = {high}, steps = {steps}: expected 0 < low < high and at least 10 steps")
    rule = options.get("optimizer") or optim.Adam()
    rising = optim.Exponential(low, high, steps)
    losses = losses_of(network, data, steps, **{**options, "optimizer": replace(rule, rate=rising), "comm": comm})
    rates = [rising(t + 1) for t in range(len(losses))]
    smoothed = smooth(losses)
    return Rates(rates, losses, smoothed, suggest(rates, smoothed))


def losses_of(network: Network, data: Any, steps: int, **options: Any) -> list[float]:
    """Return the mean loss of each batch of a training by `options` of `fit`, until it is far above its least; collective."""
    aside = {"epochs": 1, "out": None, "resume": None, "survive": False, "stop_early": None, "config": None}
    bound = inspect.signature(fit).bind(network, data, **{**options, **aside})
    bound.apply_defaults()
    task, comm = prepare(SimpleNamespace(**bound.arguments))
    if not isinstance(task.method.update, Explicit):
        raise ValueError(f"{task.method!r} has no rate to be found: its update is {task.method.update!r}")
    return _trial(task, comm, steps)


def smooth(losses: Sequence[float]) -> list[float]:
    """Return moving averages that start without a bias."""
    found, mean = [], 0.0
    for t, loss in enumerate(losses):
        mean = MEMORY * mean + (1.0 - MEMORY) * loss
        found.append(mean / (1.0 - MEMORY ** (t + 1)))
    return found


def suggest(rates: Sequence[float], smoothed: Sequence[float]) -> float:
    """Return the rate at which the smoothed loss falls fastest, over the logarithm of the rate, before its least value.

    Raises
    ------
    ValueError
        If it does not fall.
    """
    end = int(np.argmin(smoothed)) + 1
    if end < 3:
        raise ValueError(f"the loss falls at no rate from {rates[0]:.3g} on: take a smaller low")
    slopes = np.gradient(np.array(smoothed[:end]), np.log(rates[:end]))
    return float(rates[int(np.argmin(slopes))])


def _trial(task: Task, comm: Any, steps: int) -> list[float]:
    """Return the mean loss of each step's batch, as long as it is not far above its least."""
    trial = Trial(task.network, task.like, task.batch_size, task.method, task.loss, task.rule)
    with StallWatch(comm, task.patience), threads(comm, task.threads), quiet():
        plan = decide(task.wanted, task.question, trial, comm).plan
        return _losses(task, plan, comm, steps)


def _losses(task: Task, plan: Plan, comm: Any, steps: int) -> list[float]:
    with Grid(comm, plan.shards, plan.stages) as grid, guard(grid):
        worker = worker_of(task, grid, plan)
        losses: list[float] = []
        for batch, following in _batches(worker, steps):
            value = worker.step(batch, following)
            losses.append(float(grid.sum(np.array([float(value)]))[0]) / batch.size)
            smoothed = smooth(losses)
            if not smoothed[-1] <= TOO_MUCH * min(smoothed):
                losses = losses if math.isfinite(losses[-1]) else losses[:-1]
                break
            if following is None:
                worker.step.drain()
        worker.step.drain()
        worker.close()
    return losses


def _batches(worker: Worker, steps: int) -> Iterator[tuple[Batch, Batch | None]]:
    """Yield batches with those that follow them in their epoch."""
    sampler, step = worker.sampler, 0
    for epoch in range(-(-steps // sampler.n_batches)):
        batches = list(worker.batches(epoch))[: steps - step]
        step += len(batches)
        yield from zip(batches, [*batches[1:], None], strict=True)
