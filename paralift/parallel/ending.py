"""The end of a job by one rank that cannot go on, also where the launcher does not answer."""

from __future__ import annotations

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
