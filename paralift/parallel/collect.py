"""Arrays of all stages on their way to rank 0, one stage at a time; small objects of all ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

import numpy as np

from paralift.kernels.arrays import to_host
from paralift.lifted.layout import Layout
from paralift.lifted.network import Network
from paralift.lifted.stage import Stage
from paralift.parallel.activity import ACTIVITY
from paralift.parallel.grid import Grid
from paralift.parallel.plan import Plan

PIECE = 1 << 27
"""Numbers in one message at most: message sizes stay below what every MPI takes."""
ROWS = 1 << 24
"""Numbers of kept variables that a rank takes out of their place at once, where a single row is not larger."""


def share(grid: Grid, value: Any) -> Any:
    """Return rank 0's `value` on all ranks; for small objects, outside of loops."""
    if grid.world is None:
        return value
    with ACTIVITY.waiting("word from rank 0"):
        return grid.world.bcast(value, root=0)


def gather(grid: Grid, value: Any, to_all: bool = False) -> list[Any]:
    """Return the values of all ranks on rank 0 or on all; for small objects, outside of loops."""
    if grid.world is None:
        return [value]
    with ACTIVITY.waiting("word from all ranks"):
        return grid.world.allgather(value) if to_all else grid.world.gather(value, root=0) or []


def send_pieces(grid: Grid, array: np.ndarray, to: int, tag: int) -> None:
    """Send an array in pieces."""
    flat = np.ascontiguousarray(array).reshape(-1)
    for start in range(0, flat.size, PIECE):
        with ACTIVITY.waiting(f"rank {to} to take an array"):
            grid.world.Send(flat[start : start + PIECE], to, tag)


def receive_pieces(grid: Grid, array: np.ndarray, source: int, tag: int) -> None:
    """Receive a contiguous array in pieces."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, PIECE):
        with ACTIVITY.waiting(f"an array from rank {source}"):
            grid.world.Recv(flat[start : start + PIECE], source, tag)


def collect_flats(
    grid: Grid,
    network: Network,
    plan: Plan,
    stage: Stage,
    flats: Mapping[str, Any],
    take: Callable[[str, Mapping[str, Mapping[str, np.ndarray]]], None],
) -> None:
    """Hand the flat arrays of every stage to rank 0, where ``take(name, views)`` gets them; collective.

    Parameters
    ----------
    flats : mapping of str to flat array
        Of the layout of this rank's stage, the same names on all ranks; those of shard 0 are taken.
    take : callable
        Called on rank 0 for each stage and name, with views by block and parameter that are valid during the call.
    """
    if grid.rank == 0:
        for name, flat in flats.items():
            take(name, stage.layout.views(to_host(flat)))
        for s in range(1, plan.stages):
            layout = Layout(network.blocks[plan.bounds[s] : plan.bounds[s + 1]])
            buffer = np.empty(layout.size, dtype=str(stage.like.dtype).rsplit(".", 1)[-1])
            for tag, name in enumerate(flats):
                receive_pieces(grid, buffer, s, tag)
                take(name, layout.views(buffer))
    elif grid.shard == 0:
        for tag, flat in enumerate(flats.values()):
            send_pieces(grid, to_host(flat), 0, tag)


def row_pieces(start: int, stop: int, shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows of `shape` that make up the range start to stop, `ROWS` numbers each at most."""
    step = max(1, ROWS // max(1, prod(shape)))
    for low in range(start, stop, step):
        yield low, min(low + step, stop)
