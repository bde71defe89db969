"""Which communicator a run uses when the user passes none. Looked up when a run starts, never at import."""

from __future__ import annotations

import os
import sys
from typing import Any

LAUNCHED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "MPI_LOCALNRANKS")
"""Variables that launchers (of Open MPI, MPICH, Intel MPI; srun with PMI-2 or PMIx) set for their processes."""
BY_SRUN = "SLURM_STEP_NUM_TASKS"
SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", BY_SRUN, "MPI_LOCALNRANKS")
"""Variables that say how many processes were started; the first that is there counts. srun with PMIx has only its own."""


class _World:
    def __repr__(self) -> str:
        return "WORLD"


WORLD = _World()
"""Default of ``comm``: the world of the MPI launcher that started the process, alone if there is none."""


def find_world() -> Any:
    """Return the world communicator of the launcher that started this process, or None outside of one.

    Raises
    ------
    RuntimeError
        If a launcher started several processes that cannot see each other: mpi4py cannot be imported, or uses an MPI that
        the launcher does not know. Every rank would train alone.
    """
    launched = [name for name in LAUNCHED if name in os.environ]
    if "mpi4py.run" in sys.modules and os.environ.get(BY_SRUN, "1") != "1":  # under -m mpi4py, which is for ranks
        launched.append(BY_SRUN)
    if not launched and "mpi4py.MPI" not in sys.modules:
        return None
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise RuntimeError(
            f"an MPI launcher started this process ({launched[0]} is set), but mpi4py cannot be imported ({error}); "
            "install it with: pip install 'paralift[mpi]', or pass comm=None to run alone"
        ) from error
    world = MPI.COMM_WORLD
    if world.Get_size() == 1:
        _expect_alone(MPI)
    return world


def _expect_alone(mpi: Any) -> None:
    """Raise RuntimeError if this process, alone in its world, is one of several that a launcher started."""
    name = next((name for name in SIZES if name in os.environ), None)
    if name is None or os.environ[name] == "1":
        return
    vendor, version = mpi.get_vendor()
    by_srun = BY_SRUN in os.environ and "OMPI_COMM_WORLD_SIZE" not in os.environ
    way_out = "srun --mpi=pmix for Open MPI, --mpi=pmi2 for MPICH" if by_srun else "take the launcher of that MPI: paralift run"
    raise RuntimeError(
        f"a launcher started {os.environ[name]} processes ({name}), but mpi4py's MPI, {vendor} {'.'.join(map(str, version))}, "
        f"sees one: each would train alone; {way_out}, or pass comm=None to run alone"
    )
