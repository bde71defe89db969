"""Copies in memory: each rank keeps its own part of the run and that of the rank before it, so that a dead rank loses nothing.

They are taken about every second, when the pipe is empty for a moment. A rank may die while others take theirs: the last two
are kept, and the survivors agree on the newest that all of them have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from paralift.kernels.arrays import from_host, to_host
from paralift.parallel.activity import ACTIVITY
from paralift.parallel.requests import pieces
from paralift.parallel.unflushed_step import UnflushedStep
from paralift.training.position import Position
from paralift.training.saving import places
from paralift.training.worker import Worker

KEPT = 2


class Part(NamedTuple):
    """One rank's arrays, one behind the other in a buffer of bytes: name to (start, stop)."""

    spans: Mapping[str, tuple[int, int]]
    buffer: np.ndarray


class Copy(NamedTuple):
    """Two ranks' parts after the same batch, and the history until then."""

    position: Position
    history: list[dict[str, Any]]
    parts: tuple[Part, Part]


class Copies:
    """The newest copies of a rank."""

    def __init__(self) -> None:
        self.kept: list[Copy] = []

    def take(self, worker: Worker, position: Position, history: list[dict[str, Any]]) -> None:
        """Copy this rank's part, and exchange parts with the neighbours in a ring; collective. The pipe is empty."""
        views = places(worker, position.batch > 0)
        own = _part(views)
        self.kept = [Copy(position, list(history), (own, _exchanged(worker.grid, own))), *self.kept][:KEPT]

    def common(self, comm: Any) -> Copy | None:
        """Return the newest copy that all ranks of `comm` have of the same position, None if there is none; collective."""
        have = _all(comm, [copy.position for copy in self.kept])
        common = [copy for copy in self.kept if all(copy.position in positions for positions in have)]
        return max(common, key=lambda copy: (copy.position.epoch, copy.position.batch)) if common else None


def complete(copy: Copy, comm: Any, names: frozenset[str]) -> bool:
    """Return whether the parts of all ranks of `comm` together have the arrays `names` that any of them needs; collective."""
    have = _all(comm, [name for part in copy.parts for name in part.spans])
    need = _all(comm, sorted(names))
    return set().union(*map(set, need)) <= set().union(*map(set, have))


def restore(worker: Worker, copy: Copy) -> None:
    """Fill this rank's arrays from the parts of all ranks, whoever has them; collective."""
    comm, views = worker.grid.world, places(worker, copy.position.batch > 0)
    own = {name: part.buffer[start:stop] for part in copy.parts for name, (start, stop) in part.spans.items()}
    if copy.position.batch and isinstance(worker.step, UnflushedStep):
        worker.step.resume()
    with ACTIVITY.waiting("copies of a dead rank's arrays"):
        sizes = _all(comm, {name: data.size for name, data in own.items()})
        owner: dict[str, tuple[int, int]] = {}
        for rank, found in enumerate(sizes):
            for name, size in found.items():
                owner.setdefault(name, (rank, size))
        for name, (rank, size) in sorted(owner.items()):
            data = own[name] if rank == worker.grid.rank else np.empty(size, np.uint8)
            for a, b in pieces(0, size, 1) if comm is not None else ():
                comm.Bcast(data[a:b], rank)
            if name in views:
                _put(views[name], data, worker)


def _all(comm: Any, value: Any) -> list[Any]:
    return [value] if comm is None else comm.allgather(value)


def _put(view: Any, data: np.ndarray, worker: Worker) -> None:
    like = worker.stage.like
    dtype = np.dtype(str(like.dtype).rsplit(".", 1)[-1])
    view[...] = from_host(np.ascontiguousarray(data).view(dtype).reshape(view.shape), like)


def _part(views: Mapping[str, Any]) -> Part:
    spans, arrays, at = {}, [], 0
    for name, view in views.items():
        array = np.ascontiguousarray(to_host(view)).reshape(-1).view(np.uint8)
        spans[name] = (at, at + array.size)
        arrays.append(array)
        at += array.size
    return Part(spans, np.concatenate(arrays) if arrays else np.empty(0, np.uint8))


def _exchanged(grid: Any, own: Part) -> Part:
    """Send a part to the next rank; return that of the rank before."""
    comm = grid.world
    after, before = (grid.rank + 1) % grid.size, (grid.rank - 1) % grid.size
    with ACTIVITY.waiting(f"the copy of rank {before}"):
        spans = comm.sendrecv(own.spans, after, source=before)
        buffer = np.empty(max((stop for _, stop in spans.values()), default=0), np.uint8)
        for (a, b), (c, d) in _together(own.buffer.size, buffer.size):
            comm.Sendrecv(own.buffer[a:b], after, recvbuf=buffer[c:d], source=before)
    return Part(spans, buffer)


def _together(sent: int, received: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield ranges to be sent and to be received until both are done; the shorter one ends in empty ranges."""
    out, back = list(pieces(0, sent, 1)), list(pieces(0, received, 1))
    for k in range(max(len(out), len(back))):
        yield out[k] if k < len(out) else (sent, sent), back[k] if k < len(back) else (received, received)
