"""A plan as a table: who owns what and what it should cost; after a run, what it did cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.box import ROUNDED
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from paralift.data import even_range
from paralift.lifted.network import Network
from paralift.parallel.plan import Plan
from paralift.parallel.predict import Prediction

MOST_ROWS = 32
"""Ranks that have a row each; of more, those of one stage share one."""
COLUMNS = ("rank", "shard", "stage", "blocks", "samples", "ms", "MiB")
LEGEND = "samples: of a batch; ms: computing, a step; MiB: parameters, gradients, optimiser states, lifted variables"


class Measured(NamedTuple):
    """What a rank took.

    Attributes
    ----------
    seconds, waited : float
        A step, and what of it was waiting for other ranks.
    memory : int
        Bytes.
    hidden : float
        The share of the time of messages that was not waited for.
    """

    seconds: float
    waited: float
    memory: int
    hidden: float


def title(plan: Plan, predicted: Prediction, batch: int) -> str:
    """Return a plan in one line."""
    grid = f"{number(plan.shards, 'shard')} x {number(plan.stages, 'stage')}"
    parts = number(plan.micro_batches, "micro-batch", "micro-batches")
    wave = f", {plan.schedule}" if plan.stages > 1 or plan.schedule == "unflushed" else ""
    cost = f"{1e3 * predicted.seconds:.3f} ms a step, predicted"
    return f"{number(plan.shards * plan.stages, 'rank')} = {grid}, batch {batch}, {parts}{wave}: {cost}"


def rows(network: Network, plan: Plan, predicted: Prediction, batch: int) -> list[tuple[str, ...]]:
    """Return the rows of `COLUMNS`."""
    ranks = plan.shards * plan.stages
    if ranks <= MOST_ROWS:
        return [_row(network, plan, predicted, batch, rank, str(rank), str(rank // plan.stages)) for rank in range(ranks)]
    shards = span(0, plan.shards - 1)
    return [
        _row(network, plan, predicted, batch, s, f"{s}, {s + plan.stages}, ..." if plan.shards > 1 else str(s), shards)
        for s in range(plan.stages)
    ]


def _row(
    network: Network, plan: Plan, predicted: Prediction, batch: int, rank: int, ranks: str, shard: str
) -> tuple[str, ...]:
    stage = rank % plan.stages
    first, last = plan.bounds[stage] + 1, plan.bounds[stage + 1]
    names = " to ".join(network.blocks[i - 1].name for i in sorted({first, last}))
    start, stop = even_range(batch, plan.shards, rank // plan.stages)
    numbers = (f"{1e3 * predicted.stage_seconds[stage]:.3f}", f"{predicted.memory[stage] / 2**20:.2f}")
    return (ranks, shard, str(stage), f"{span(first, last)}: {names}", str(stop - start), *numbers)


def print_plan(console: Console, network: Network, plan: Plan, predicted: Prediction, batch: int) -> None:
    """Print the table of a plan."""
    print_table(console, title(plan, predicted, batch), COLUMNS, rows(network, plan, predicted, batch))
    console.print(LEGEND, highlight=False, soft_wrap=True)


def print_outcome(console: Console, plan: Plan, predicted: Prediction, measured: Mapping[int, Measured]) -> None:
    """Print what each rank took beside what was predicted."""
    columns = ("rank", "ms", "pred.", "busy ms", "pred.", "wait ms", "hidden", "MiB", "pred.")
    found = []
    for rank, (seconds, waited, memory, hidden) in sorted(measured.items()):
        stage = rank % plan.stages
        milliseconds = (seconds, predicted.seconds, seconds - waited, predicted.stage_seconds[stage], waited)
        mebibytes = (memory, predicted.memory[stage])
        numbers = [*(f"{1e3 * s:.3f}" for s in milliseconds), f"{100 * hidden:.0f} %"]
        found.append((str(rank), *numbers, *(f"{m / 2**20:.2f}" for m in mebibytes)))
    if len(found) > MOST_ROWS:
        slowest = sorted(measured, key=lambda rank: measured[rank].waited)[:MOST_ROWS]
        found = [row for row in found if int(row[0]) in slowest]
    print_table(console, "measured beside predicted, a step", columns, found)


def print_table(console: Console, heading: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table whose first column is a name and whose others are numbers; without names of columns, texts."""
    console.print(escape(heading), highlight=False, soft_wrap=True)
    table: Any = Table(show_header=any(columns), box=ROUNDED)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 or not any(columns) else "right", overflow="fold")
    for line in lines:
        table.add_row(*map(escape, line))
    console.print(table)


def span(first: int, last: int) -> str:
    """Return a range of numbers for people."""
    return str(first) if first == last else f"{first}-{last}"


def number(n: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun."""
    return f"{n} {one if n == 1 else many or one + 's'}"
