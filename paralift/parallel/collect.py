"""Arrays of all stages and shards on their way to rank 0 and back, one stage at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from paralift.kernels.arrays import Array, to_host
from paralift.lifted.layout import Layout
from paralift.lifted.network import Network
from paralift.lifted.stage import Stage
from paralift.parallel.grid import Grid
from paralift.parallel.kept import Kept, host_rows
from paralift.parallel.plan import Plan

PIECE = 1 << 27
"""Numbers in one message at most: message sizes stay below what every MPI takes."""
ROWS = 1 << 24
"""Numbers of kept variables that a rank takes out of their place at once, where a single row is not larger."""


def share(grid: Grid, value: Any) -> Any:
    """Return rank 0's `value` on all ranks; for small objects, outside of loops."""
    return value if grid.world is None else grid.world.bcast(value, root=0)


def send_pieces(grid: Grid, array: np.ndarray, to: int, tag: int) -> None:
    """Send an array in pieces."""
    flat = np.ascontiguousarray(array).reshape(-1)
    for start in range(0, flat.size, PIECE):
        grid.world.Send(flat[start : start + PIECE], to, tag)


def receive_pieces(grid: Grid, array: np.ndarray, source: int, tag: int) -> None:
    """Receive a contiguous array in pieces."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, PIECE):
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


def collect_rows(
    grid: Grid,
    plan: Plan,
    own: Kept,
    ranges: Sequence[tuple[int, int]],
    shapes: Mapping[int, tuple[int, ...]],
    like: Array,
    take: Callable[[int, tuple[int, int], np.ndarray], None],
) -> None:
    """Hand kept variables, piece by piece, to rank 0, where ``take(variable, range, rows)`` gets them; collective.

    Parameters
    ----------
    own : Kept
        This rank's.
    ranges : sequence of (start, stop)
        The samples of each shard.
    shapes : mapping of variable to shape
        Of a sample, for all variables that some stage keeps.
    like : array
        Of the run's library and dtype.
    """
    first = ranges[grid.shard][0]
    for v in sorted(own.shapes):
        for start, stop in row_pieces(*ranges[grid.shard], shapes[v]):
            rows = host_rows(own, v, start - first, stop - first, like)
            if grid.rank == 0:
                take(v, (start, stop), rows)
            else:
                send_pieces(grid, rows, 0, v)
    if grid.rank != 0:
        return
    dtype = str(like.dtype).rsplit(".", 1)[-1]
    for rank in range(1, grid.size):
        shard, s = divmod(rank, plan.stages)
        for v in range(plan.bounds[s] + 1, plan.bounds[s + 1] + 1):
            for start, stop in row_pieces(*ranges[shard], shapes[v]) if v in shapes else ():
                buffer = np.empty((stop - start, *shapes[v]), dtype)
                receive_pieces(grid, buffer, rank, v)
                take(v, (start, stop), buffer)
