"""Plans without running them: ``paralift plan``, and the ranks and threads that ``paralift run`` takes when it may choose."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from threadpoolctl import threadpool_limits

from paralift import control_groups
from paralift.config import Config
from paralift.data import from_arrays
from paralift.lifted.losses import default_loss
from paralift.lifted.network import float_type
from paralift.parallel.budget import read_bytes
from paralift.parallel.choosing import Option, Question, best, consider
from paralift.parallel.cost import Costs, Line, count
from paralift.parallel.explain import best_of_each, explain
from paralift.parallel.measure import Trial, measure, targets
from paralift.training.plan_table import number, print_plan, print_table
from paralift.training.planning import question_of
from paralift.training.techniques import Techniques

BATCHES = 8
"""Of a step that is really taken."""


@dataclass(frozen=True)
class Job:
    """A configuration as plans see it.

    Parameters
    ----------
    config : Config
    batch : int
        Samples of a batch.
    """

    config: Config
    batch: int

    @classmethod
    def of(cls, config: Config) -> Job:
        """Return the job of a configuration; opens the data set only if it has to know its size."""
        batch = config.training.batch_size
        return cls(config, config.data.build().train.n_samples if batch is None else batch)

    @property
    def loss(self) -> Any:
        """The configuration's loss, or that of its last activation."""
        found = self.config.loss
        return default_loss(self.config.network.blocks[-1].activation) if found is None else found

    def question(self, ranks: int, memory: float | None = None) -> Question:
        """Return the question for so many ranks, each with so many bytes (or what the configuration says)."""
        config, parallel = self.config, self.config.parallel
        fixed = {name: getattr(parallel, name) for name in ("stages", "micro_batches", "schedule")}
        limit = read_bytes(parallel.memory) if memory is None and parallel.memory is not None else memory
        itemsize = float_type(config.training.dtype).itemsize
        found = question_of(
            config.network, ranks, self.batch, config.method, config.optimizer, itemsize, memory=limit, **fixed
        )
        kept = Techniques(ema=config.training.ema, stop_early=config.stop_early).flats
        return replace(found, states=found.states + kept)

    def trial(self) -> Trial:
        """Return what is measured."""
        config, like = self.config, np.zeros(1, float_type(self.config.training.dtype))
        return Trial(config.network, like, self.batch, config.method, self.loss, config.optimizer)

    def costs(self, threads: int | None = None) -> Costs:
        """Return costs measured on this machine by one rank with so many BLAS threads."""
        t = self.trial()
        with threadpool_limits(limits=threads, user_api="blas"), np.errstate(all="ignore"):
            return measure(t.network, t.like, t.rows, t.method, t.loss, t.rule)

    def measured_step(self) -> float:
        """Return the seconds of real steps of one rank on random samples, in the second of two epochs."""
        from paralift.training.fit import fit

        config, t = self.config, self.trial()
        rng, n = np.random.default_rng(0), BATCHES * self.batch
        x = rng.standard_normal((n, *config.network.input_shape)).astype(t.like.dtype)
        data = from_arrays(x, targets(rng, config.network, t.loss, n, t.like))
        run = fit(
            config.network, data, method=t.method, optimizer=t.rule, loss=t.loss, epochs=2, batch_size=self.batch,
            dtype=config.training.dtype, comm=None, plan="counted", threads=1, progress=False,
        )  # fmt: skip
        return self.batch / run.history[-1]["samples_per_second"]


def print_advice(
    console: Console, config: Config, ranks: int, memory: float | None, counted: bool, link: Line | None, measured_step: bool
) -> None:
    """Print the plan of a configuration for so many ranks, what else was looked at, and why.

    Parameters
    ----------
    memory : float, optional
        Bytes that a rank may take.
    counted : bool
        Whether costs are counted, not measured here.
    link : Line, optional
        Seconds of a message by its bytes; a sum's hop costs the same.
    measured_step : bool
        Whether real steps of one rank are taken, too.
    """
    job = Job.of(config)
    question = job.question(ranks, memory)
    best(question, None)  # says what is impossible before it measures
    costs = count(config.network, question.states) if counted else job.costs(1)
    if link is not None:
        costs = replace(costs, message=link, sum=link)
    chosen = best(question, None if counted and link is None else costs)
    print_plan(console, config.network, chosen.plan, chosen.predicted, job.batch)
    options = consider(question, costs)
    _print_options(console, options, chosen)
    for sentence in explain(question, costs, options, chosen):
        console.print(sentence, highlight=False, soft_wrap=True)
    how = "counted" if counted else "measured on this machine, with one BLAS thread"
    start, each = 1e6 * costs.message.start, 1e-9 / costs.message.each
    source = f"Costs of blocks: {how}; links: {start:.3g} us and {each:.3g} GB/s, assumed."
    console.print(source, highlight=False, soft_wrap=True)
    if measured_step:
        alone = best(replace(question, ranks=1, stages=None, micro_batches=None, schedule=None, memory=None), costs)
        taken = job.measured_step()
        text = f"One rank: predicted {1e3 * alone.predicted.seconds:.3f} ms, measured {1e3 * taken:.3f} ms a step."
        console.print(text, highlight=False, soft_wrap=True)


def _print_options(console: Console, options: Sequence[Option], chosen: Option) -> None:
    """Print the fastest plan of each number of stages."""
    columns = ("stages x shards", "micro-batches", "ms", "computing", "messages", "sums", "waiting", "MiB")
    lines = []
    for option in best_of_each(options):
        plan, p = option.plan, option.predicted
        times = (p.seconds, p.slowest, p.exchange, p.reduction, p.bubble)
        mark = " (chosen)" if (plan.stages, plan.shards) == (chosen.plan.stages, chosen.plan.shards) else ""
        name = f"{plan.stages} x {plan.shards}{mark}"
        memory = f"{max(p.memory) / 2**20:.2f}"
        lines.append((name, str(plan.micro_batches), *(f"{1e3 * seconds:.3f}" for seconds in times), memory))
    print_table(console, "the fastest plan of each number of stages, predicted", columns, lines)


@dataclass(frozen=True)
class Team:
    """Ranks with their threads, and what a step of theirs should cost."""

    ranks: int
    threads: int
    option: Option

    @property
    def name(self) -> str:
        """Both numbers, for people."""
        return f"{number(self.ranks, 'rank')} x {number(self.threads, 'thread')}"


def cores(root: Path = Path("/")) -> int:
    """Return the number of cores that this process may use: those that it was given, as far as its time on them goes.

    More ranks or threads than a container's quota has cores would be paused, all of them, in the middle of every step.

    Parameters
    ----------
    root : Path
        Under which ``proc`` and ``sys`` are mounted.
    """
    given = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    time = control_groups.quota(root)
    return given if time is None else max(1, min(given, math.floor(time)))


def counts(n: int) -> list[int]:
    """Return 1, 2, 4, ... below n, and n."""
    return sorted({*(2**k for k in range(n.bit_length()) if 2**k < n), n})


def teams(config: Config, n_cores: int) -> list[Team]:
    """Return ranks and threads that fill at most `n_cores` cores, fastest first; of equals, fewer ranks first.

    Blocks are measured with 1, 2, 4, ... threads, in this process alone: that ranks compete for memory is not seen.
    """
    job, found = Job.of(config), []
    wanted = config.parallel.threads
    for threads in counts(n_cores) if wanted is None else [wanted]:
        costs = job.costs(threads)
        for ranks in counts(max(1, n_cores // threads)):
            if ranks % (config.parallel.stages or 1) == 0:
                found.append(Team(ranks, threads, best(job.question(ranks), costs)))
    if not found:
        stages = config.parallel.stages
        raise ValueError(f"[parallel] stages = {stages} needs {stages} ranks, there are {n_cores} cores: give -n N")
    return sorted(found, key=lambda t: (t.option.predicted.seconds, t.ranks))


def print_teams(console: Console, found: Sequence[Team]) -> None:
    """Print what each team should take, and the choice."""
    lines = [
        (t.name, f"{t.option.plan.stages} x {t.option.plan.shards}", f"{1e3 * t.option.predicted.seconds:.3f}") for t in found
    ]
    print_table(console, "ranks and BLAS threads on this machine", ("", "stages x shards", "ms a step"), lines)
    first = found[0]
    console.print(f"{first.name} should be fastest; -n N fixes the ranks.", highlight=False, soft_wrap=True)
