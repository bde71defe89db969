"""Which communicator a run uses when the user passes none. Looked up when a run starts, never at import."""

from __future__ import annotations

import os
import sys
from typing import Any

LAUNCHED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "MPI_LOCALNRANKS")
"""Variables that MPI launchers (Open MPI, MPICH, Intel MPI, srun) set for their processes."""


def find_world() -> Any:
    """Return the world communicator of the launcher that started this process, or None outside of one.

    Raises
    ------
    RuntimeError
        If a launcher started the process but mpi4py cannot be imported: every rank would train alone.
    """
    launched = [name for name in LAUNCHED if name in os.environ]
    if not launched and "mpi4py.MPI" not in sys.modules:
        return None
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise RuntimeError(
            f"an MPI launcher started this process ({launched[0]} is set), but mpi4py cannot be imported ({error}); "
            "install it with: pip install 'paralift[mpi]', or pass comm=None to run alone"
        ) from error
    return MPI.COMM_WORLD
