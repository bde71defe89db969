"""The end of a job: by one rank that cannot go on, also where the launcher does not answer; by all ranks together."""

from __future__ import annotations

import atexit
import faulthandler
from typing import Any

from paralift.exits import leave_notice

GRACE = 5.0
"""Seconds that MPI gets to end this process before it ends by itself, with exit code 1: a launcher that is stopped or out of
reach does not answer."""


def end_job(world: Any, code: int) -> None:
    """End the job on all ranks that can be reached.

    Parameters
    ----------
    world : mpi4py.MPI.Comm
    code : int
        Exit code of the job.
    """
    leave_notice(code)
    # Abort keeps the interpreter's lock while it asks the launcher: no thread of Python could end a process that hangs there.
    faulthandler.dump_traceback_later(GRACE, exit=True, file=2)
    world.Abort(code)


def finalize_at_exit(patience: float) -> None:
    """Have this process end MPI when Python ends; for ranks that have just agreed that they are done.

    Otherwise ``-m mpi4py`` would abort the job wherever its exit code is not 0, and an abort leaves things behind: MPICH its
    shared memory, which the next start of a requeued job then stumbles over. MPI_Finalize waits for the other ranks and lets
    no thread of Python run meanwhile, so that a rank that waits longer than `patience` seconds ends with exit code 1.
    """

    def finalize() -> None:
        from mpi4py import MPI

        if MPI.Is_finalized():
            return
        faulthandler.dump_traceback_later(patience, exit=True, file=2)
        MPI.Finalize()
        faulthandler.cancel_dump_traceback_later()

    atexit.register(finalize)
