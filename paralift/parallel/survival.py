"""What is left of a run when ranks die: with an MPI that tells of it (ULFM), the survivors find each other and go on.

A dead rank shows as an error of whatever MPI call meets it first. That rank's neighbours revoke the communicators, so that
everybody else's calls fail too, and all survivors meet in `Shrink`. Whether the MPI can do that is found out by doing it.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from paralift.parallel.activity import ACTIVITY
from paralift.parallel.grid import AgreedError, Grid

SOON = 5.0
"""Seconds in which a death is known to all that it concerns."""


class RankLost(RuntimeError):  # noqa: N818
    """Ranks have died; the survivors go on.

    Attributes
    ----------
    survivors : mpi4py.MPI.Comm
        In the order of their old ranks.
    lost : int
        How many have died.
    """

    def __init__(self, survivors: Any, lost: int) -> None:
        super().__init__(f"{lost} of {survivors.Get_size() + lost} ranks died")
        self.survivors, self.lost = survivors, lost


@contextmanager
def surviving(grid: Grid, wanted: bool) -> Iterator[None]:
    """Turn the death of ranks into `RankLost`, on all survivors; other errors of MPI stay what they are.

    Parameters
    ----------
    grid : Grid
        Of no use afterwards.
    wanted : bool
    """
    if not wanted or grid.world is None:
        yield
        return
    from mpi4py import MPI

    try:
        yield
    except AgreedError:
        raise
    except Exception as error:
        # A collective in which a rank dies may also bring nonsense to others, which fails later and otherwise.
        if not isinstance(error, MPI.Exception) and not _death(grid.world):
            raise
        survivors = _survivors(grid)
        lost = 0 if survivors is None else grid.size - survivors.Get_size()
        if not lost:
            raise
        raise RankLost(survivors, lost) from error


def leave_without_finalize(code: int | None = None) -> None:
    """Have this process end without MPI_Finalize, which may wait for the dead; now with a code, else when Python ends.

    Without a code it is 1 where Python ends by an exception, and 0 otherwise.
    """

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(int(getattr(sys, "last_value", None) is not None) if code is None else code)

    if code is None:
        atexit.register(leave)
    else:
        leave()


def _death(world: Any) -> bool:
    """Return whether a rank of a communicator is known to be dead, or comes to be known within `SOON`."""
    from mpi4py import MPI

    until = time.monotonic() + SOON
    while time.monotonic() < until:
        try:
            world.Iprobe()  # news of a death is taken in by calls that communicate only
            world.Ack_failed()
            if world.Get_failed().Get_size():
                return True
        except MPI.Exception:  # revoked already, by a rank that knows
            return True
        except NotImplementedError:
            return False
        time.sleep(0.05)
    return False


def _survivors(grid: Grid) -> Any:
    """Return the communicator of the survivors, None where MPI cannot make one."""
    from mpi4py import MPI

    try:
        for comm in grid.communicators:
            with suppress(MPI.Exception):  # another one was faster
                comm.Revoke()
        with ACTIVITY.waiting("the survivors of a dead rank"):
            return grid.world.Shrink()
    except (MPI.Exception, NotImplementedError):
        return None
