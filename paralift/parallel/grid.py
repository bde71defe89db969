"""The grid of ranks: shards (of data) x stages (of blocks), on communicators of its own.

Rank = shard * stages + stage, so that the stages of one shard are neighbours. The user's communicator is duplicated on
entry and never used again; a context manager frees what was made.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from paralift.parallel.activity import ACTIVITY

T = TypeVar("T")

MANY = 8
"""Ranks above which a wait names the first and the last of them only."""


class Grid:
    """Communicators of one run; with ``comm=None`` a single rank without MPI.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None
        Duplicated; collective over it.
    shards, stages : int
        Their product is the size of `comm`.

    Attributes
    ----------
    world, pipe, group : Comm or None
        All ranks; the stages of this rank's shard; the shards of this rank's stage.
    """

    def __init__(self, comm: Any, shards: int, stages: int) -> None:
        size = 1 if comm is None else comm.Get_size()
        if shards < 1 or stages < 1 or shards * stages != size:
            raise ValueError(
                f"a grid of {shards} shards x {stages} stages needs {shards * stages} ranks, the communicator has {size}"
            )
        self.size, self.shards, self.stages = size, shards, stages
        self.rank = 0 if comm is None else comm.Get_rank()
        self.shard: int = self.rank // stages
        self.stage: int = self.rank % stages
        first = self.shard * stages
        self._names = {  # of waits, for the stall watch
            "agree": f"an agreement with {_others(range(size), self.rank)}",
            "world": f"a sum over all ranks, with {_others(range(size), self.rank)}",
            "pipe": f"a sum over stages, with {_others(range(first, first + stages), self.rank)}",
            "group": f"a sum over shards, with {_others(range(self.stage, size, stages), self.rank)}",
        }
        self._parts: list[Any] = []
        self.world: Any = None
        self.pipe: Any = None
        self.group: Any = None
        if comm is not None and size > 1:
            with ACTIVITY.waiting(f"a grid with {_others(range(size), self.rank)}"):
                self.world = comm.Dup()
                self.pipe = self.world.Split(self.shard, self.stage)
                self.group = self.world.Split(self.stage, self.shard)

    def __enter__(self) -> Grid:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or isinstance(error, AgreedError):
            self.free()

    def free(self) -> None:
        """Free the communicators; collective."""
        with ACTIVITY.waiting(f"the end of a grid with {_others(range(self.size), self.rank)}"):
            for comm in self.communicators:
                comm.Free()
        self.world = self.pipe = self.group = None
        self._parts.clear()

    @property
    def communicators(self) -> list[Any]:
        """All that this rank is in; those made last come first."""
        return [comm for comm in (*reversed(self._parts), self.group, self.pipe, self.world) if comm is not None]

    def among_stages(self, member: bool) -> Any:
        """Return a communicator of those stages of this shard that are a `member`, None for others; freed with the grid.

        Collective over the stages of the shard.
        """
        from mpi4py import MPI

        comm = self.pipe.Split(0 if member else MPI.UNDEFINED, self.stage)
        if not member:
            return None
        self._parts.append(comm)
        return comm

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of a float64 array over all ranks."""
        return _sum(self.world, values, self._names["world"])

    def start_sum(self, values: np.ndarray) -> PendingSum:
        """Start to sum a float64 array over all ranks; collective, but nobody waits before the result is asked for."""
        return PendingSum(self.world, values, self._names["world"])

    def start_sum_stages(self, values: np.ndarray) -> PendingSum:
        """Start to sum a float64 array over the stages of this shard; collective over them, as `start_sum`."""
        return PendingSum(self.pipe, values, self._names["pipe"])

    def sum_stages(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of a float64 array over the stages of this shard."""
        return _sum(self.pipe, values, self._names["pipe"])

    def sum_shards(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of a float64 array over the shards of this stage."""
        return _sum(self.group, values, self._names["group"])

    def broadcast(self, array: np.ndarray) -> None:
        """Overwrite a host array by rank 0's; collective."""
        if self.world is not None:
            with ACTIVITY.waiting("an array from rank 0"):
                self.world.Bcast(array, root=0)

    def agree(self, error: BaseException | None) -> None:
        """Raise on all ranks if any rank brings an error; collective.

        Raises
        ------
        AgreedError
            On every rank, with the text of the first failing rank; its cause is the rank's own error, if it has one.
        """
        if self.world is None:
            if error is not None:
                raise error
            return
        with ACTIVITY.waiting(self._names["agree"]):
            texts = self.world.allgather(None if error is None else f"{type(error).__name__}: {error}")
        failed = [(rank, text) for rank, text in enumerate(texts) if text is not None]
        if failed:
            rank, text = failed[0]
            others = f" ({len(failed)} of {self.size} ranks failed)" if len(failed) > 1 else ""
            raise AgreedError(f"rank {rank}: {text}{others}") from error

    def together(self, act: Callable[[], T] | None) -> T | None:
        """Let this rank act, if it has to, and return what comes of it; all ranks raise if one fails; collective.

        Raises
        ------
        AgreedError
            Where a rank's arguments are wrong, or its files cannot be read or written.
        """
        error, value = None, None
        try:
            value = act() if act is not None else None
        except (OSError, RuntimeError, ValueError) as found:
            error = found
        self.agree(error)
        return value


class AgreedError(RuntimeError):
    """An error that all ranks raise together, so that none waits for another."""


class PendingSum:
    """A sum over ranks on its way."""

    def __init__(self, comm: Any, values: np.ndarray, what: str) -> None:
        self._values, self._total, self._what = values, np.empty_like(values), what
        self._request = None if comm is None else comm.Iallreduce(values, self._total)

    def wait(self) -> np.ndarray:
        """Return the sum, once it is there."""
        if self._request is None:
            return self._values
        with ACTIVITY.waiting(self._what):
            self._request.Wait()
        return self._total


def _sum(comm: Any, values: np.ndarray, what: str) -> np.ndarray:
    if comm is None:
        return values
    total = np.empty_like(values)
    with ACTIVITY.waiting(what):
        comm.Allreduce(values, total)
    return total


def _others(ranks: range, rank: int) -> str:
    """Return the ranks but one: "rank 1", "ranks 0, 2, 3" or "ranks 0 to 63"."""
    if len(ranks) > MANY:
        return f"ranks {ranks[0]} to {ranks[-1]}" + (f" by {ranks.step}" if ranks.step > 1 else "")
    others = [str(other) for other in ranks if other != rank]
    return f"rank{'s' if len(others) > 1 else ''} {', '.join(others)}"
