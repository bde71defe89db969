"""The choice of a plan among all of them, by the predicted step.

Candidates are all grids of the ranks with few and with more micro-batches, each with the exact split of its costs. The same
costs give the same plan on every rank; counted costs give the same plan on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from paralift.lifted.network import Network
from paralift.parallel.cost import Costs, count
from paralift.parallel.memory import additive_bytes
from paralift.parallel.plan import Plan, least_micro_batches
from paralift.parallel.predict import (
    Prediction,
    block_seconds,
    buffers,
    least_seconds,
    message_seconds,
    predict,
    rank_bytes,
)
from paralift.parallel.split import split

MIN_ROWS = 16
"""Output rows of a micro-batch at least, unless the schedule needs more micro-batches."""
GAIN = 0.05
"""By how much measured costs must make another plan faster than the counted one, so that it is given up."""


@dataclass(frozen=True)
class Question:
    """What a plan is wanted for.

    Parameters
    ----------
    network : Network
    ranks : int
    batch_size : int
        Samples of a batch over all shards.
    stages, micro_batches, schedule : optional
        Fixed instead of chosen.
    memory : float, optional
        Bytes that a rank may take.
    itemsize, states : int
        Bytes of a number, arrays of optimiser state.
    iterations : int
        Of proximal gradient inference; 0 for sweeps.
    """

    network: Network
    ranks: int
    batch_size: int
    stages: int | None = None
    micro_batches: int | None = None
    schedule: str | None = None
    memory: float | None = None
    itemsize: int = 4
    states: int = 2
    iterations: int = 0

    def possible_stages(self) -> list[int]:
        """Return the numbers of stages to look at; raise ValueError if the wanted one is impossible."""
        n_blocks = len(self.network.blocks)
        possible = [s for s in range(1, min(self.ranks, n_blocks) + 1) if self.ranks % s == 0]
        if self.stages is None:
            if self.micro_batches is not None:
                possible = [s for s in possible if self._holds(s, self.micro_batches)]
            if not possible:
                raise ValueError(
                    f"micro_batches is {self.micro_batches} with the schedule {self.schedule!r}, expected an even number, "
                    "at least 2; half of them belong to each half of a batch"
                )
            return possible
        if self.stages not in possible:
            raise ValueError(
                f"stages is {self.stages}, expected one of {possible}: a divisor of {self.ranks} ranks, at most {n_blocks} "
                "blocks"
            )
        return [self.stages]

    def _holds(self, stages: int, micro_batches: int) -> bool:
        """Return whether the schedule takes so many micro-batches."""
        schedule = self.waves(stages)
        even = schedule == "flush" or micro_batches % 2 == 0
        return even and micro_batches >= least_micro_batches(stages, schedule)

    def waves(self, stages: int) -> str:
        """Return the schedule with so many stages."""
        if self.schedule is not None:
            return self.schedule
        return "unflushed" if stages > 1 and not self.iterations else "flush"

    def counts(self, stages: int) -> list[int]:
        """Return the numbers of micro-batches to look at."""
        if self.micro_batches is not None:
            return [self.micro_batches]
        least = least_micro_batches(stages, self.waves(stages))
        if stages == 1 or self.iterations:
            return [least]
        most = max(1, -(-self.batch_size // (self.ranks // stages)) // max(1, MIN_ROWS // self.network.rows))
        if self.waves(stages) == "unflushed":
            more = (2 * stages, 4 * (stages - 1), 6 * (stages - 1))
            return sorted({least, *(max(least, min(most - most % 2, m)) for m in more)})
        return sorted({min(most, m) for m in (1, stages, 2 * stages, 4 * stages)})

    def unsplit(self, stages: int, micro_batches: int) -> Plan:
        """Return a plan whose bounds are still to be found: one block a stage."""
        return Plan(self.ranks // stages, stages, tuple(range(stages + 1)), micro_batches, self.waves(stages))

    def predict(self, plan: Plan, costs: Costs) -> Prediction:
        """Return what a plan should cost."""
        return predict(self.network, plan, self.batch_size, costs, self.itemsize, self.states, self.iterations)


@dataclass(frozen=True)
class Option:
    """A plan that was looked at, with what it should cost."""

    plan: Plan
    predicted: Prediction


def consider(question: Question, costs: Costs) -> list[Option]:
    """Return the plans that were looked at and fit into the memory, fastest first; of equals, fewer stages first.

    With the same number of stages, those that cannot be faster than one before are left out.

    Raises
    ------
    ValueError
        If no plan fits into the memory, or what is fixed is impossible.
    """
    fitting: list[Option] = []
    limit = np.inf if question.memory is None else question.memory
    for stages in question.possible_stages():
        least = np.inf
        for plan in _candidates(question, stages, costs):
            if least_seconds(question.network, plan, question.batch_size, costs, question.itemsize) < least:
                option = Option(plan, question.predict(plan, costs))
                if max(option.predicted.memory) <= limit:
                    fitting.append(option)
                    least = min(least, option.predicted.seconds)
    if not fitting:
        bytes_, stages = _least_memory(question)
        raise ValueError(
            f"no plan of {question.ranks} ranks fits into {_size(limit)} a rank: the least is {_size(bytes_)}, with "
            f"{stages} stage{'s' * (stages > 1)}; allow more memory, take more ranks, or a smaller batch"
        )
    return sorted(fitting, key=lambda o: (o.predicted.seconds, o.plan.stages, o.plan.micro_batches))


def choose(
    network: Network,
    ranks: int,
    batch_size: int,
    costs: Costs | None = None,
    *,
    stages: int | None = None,
    micro_batches: int | None = None,
    schedule: str | None = None,
    memory: float | None = None,
    itemsize: int = 4,
    states: int = 2,
    iterations: int = 0,
) -> Plan:
    """Return the plan with the least predicted step among all grids of `ranks` ranks.

    Parameters
    ----------
    costs : Costs, optional
        Measured ones. The plan by counted costs is kept unless these make another one faster by more than `GAIN`: then
        the same ranks usually give the same plan, and so the same bits. Without them, the plan by counted costs.
    network, ranks, batch_size, stages, micro_batches, schedule, memory, itemsize, states, iterations
        See `Question`. With more ranks than blocks the rest become shards.

    Raises
    ------
    ValueError
        If `stages` does not divide the ranks or exceeds the number of blocks, if `micro_batches` are too few for it, or if
        no plan fits into the memory.
    """
    fixed = (stages, micro_batches, schedule, memory, itemsize, states, iterations)
    return best(Question(network, ranks, batch_size, *fixed), costs).plan


def best(question: Question, costs: Costs | None) -> Option:
    """Return the plan of `choose` with its prediction."""
    counted = consider(question, count(question.network, question.states))[0]
    if costs is None:
        return counted
    fastest = consider(question, costs)[0]
    kept = Option(counted.plan, question.predict(counted.plan, costs))
    return kept if kept.predicted.seconds <= (1 + GAIN) * fastest.predicted.seconds else fastest


def _candidates(question: Question, stages: int, costs: Costs) -> Iterator[Plan]:
    for m in question.counts(stages):
        plan = question.unsplit(stages, m)
        bounds = _split(question, plan, costs)
        if bounds is not None:
            yield replace(plan, bounds=bounds)


def _split(question: Question, plan: Plan, costs: Costs) -> tuple[int, ...] | None:
    """Return the best bounds for the grid and micro-batches of `plan`, or None if none fits into the memory."""
    rows, m = -(-question.batch_size // plan.shards), plan.micro_batches
    forward, back, rest = block_seconds(costs, rows, m, plan.schedule == "unflushed")
    up, down = message_seconds(question.network, rows / m, question.itemsize, costs.busy_message)
    ends = max(1, question.iterations) * m * (up + down)
    ends[0] = ends[-1] = 0.0
    work = max(1, question.iterations) * m * (forward + back) + rest
    bounds = split(work, plan.stages, ends, ends)
    if question.memory is None:
        return bounds
    blocks, inputs = _bytes(question, plan)
    total = np.concatenate([[0.0], np.cumsum(blocks)])
    allowed = total[None, :] - total[:, None] + inputs[:, None] <= question.memory
    if allowed[list(bounds[:-1]), list(bounds[1:])].all():
        return bounds
    try:
        return split(work, plan.stages, ends, ends, allowed)
    except ValueError:
        return None


def _bytes(question: Question, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    rows, halved, travels = buffers(question.network, plan, question.batch_size)
    return additive_bytes(question.network, rows, question.itemsize, question.states, halved, travels)


def _least_memory(question: Question) -> tuple[float, int]:
    """Return the least bytes that a rank needs under any plan, and the number of its stages."""
    found = []
    for stages in question.possible_stages():
        plan = question.unsplit(stages, question.counts(stages)[0])
        blocks, inputs = _bytes(question, plan)
        plan = replace(plan, bounds=split(blocks, stages, inputs))
        memory = rank_bytes(question.network, plan, question.batch_size, question.itemsize, question.states)
        found.append((float(max(memory)), stages))
    return min(found)


def _size(bytes_: float) -> str:
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20)):
        if bytes_ >= scale:
            return f"{bytes_ / scale:.3g} {unit}"
    return f"{bytes_ / 2**10:.3g} KiB"
