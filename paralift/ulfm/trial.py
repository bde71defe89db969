"""The ranks of `paralift.ulfm.works`: the last one kills itself in the middle of a message, the others go on without it.

Every survivor waits for a message from the one that dies, and learns of its death from that. It then revokes the communicator,
shrinks it to those that live, agrees with them, and sums the number 1 over them: only the sum of all survivors counts as
going on. They end without MPI_Finalize, which waits for the dead now and then (Open MPI 5.0.11: in 18 of 70 jobs).
"""

from __future__ import annotations

import os
import signal
import sys

import mpi4py
import numpy as np
from mpi4py import MPI

DEATHS = (MPI.ERR_PROC_FAILED, MPI.ERR_REVOKED)


def main() -> None:
    """Print ``went on with N`` on the first survivor."""
    world = MPI.COMM_WORLD
    lacking = [name for name in ("Revoke", "Shrink", "Agree") if not hasattr(world, name)]
    if lacking:
        sys.exit(f"ulfm: mpi4py {mpi4py.__version__} has no {', '.join(lacking)}")
    world.Set_errhandler(MPI.ERRORS_RETURN)
    victim, got = world.size - 1, np.zeros(1)
    try:
        world.Barrier()  # all are there before one dies; some may still be inside when it does
        if world.rank == victim:
            os.kill(os.getpid(), signal.SIGKILL)
        world.Irecv(got, victim).Wait()
        sys.exit("ulfm: a message arrived from a rank that had died")
    except MPI.Exception as error:
        if error.Get_error_class() not in DEATHS:
            sys.exit(f"ulfm: the death of a rank was reported as {error}")
    try:
        world.Revoke()
        alive = world.Shrink()
    except (MPI.Exception, NotImplementedError) as error:
        sys.exit(f"ulfm: {type(error).__name__}: {error}")
    alive.Set_errhandler(MPI.ERRORS_RETURN)
    alive.Agree(1)
    total = alive.allreduce(1)
    if alive.rank == 0:
        print(f"went on with {total}", flush=True)
    alive.Barrier()  # the launcher may end the others when the first one leaves so
    sys.stdout.flush()
    os._exit(0)


main()
