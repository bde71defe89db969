"""A rank that dies shows to others in many ways: by an error of MPI, or by nonsense that fails later and otherwise."""

import os
import subprocess
import textwrap

import pytest

from paralift import ulfm
from paralift.launch import mpi_environment, mpirun_command

SCRIPT = """
    import os, signal, sys, time
    from mpi4py import MPI
    from paralift.parallel.grid import Grid
    from paralift.parallel.survival import RankLost, surviving

    dies = sys.argv[1] == "dies"
    grid = Grid(MPI.COMM_WORLD, 1, 3)
    grid.world.Barrier()
    if dies and grid.rank == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    try:
        with surviving(grid, True):
            raise ValueError("nonsense")
    except RankLost as lost:
        print(f"lost {lost.lost}, {lost.survivors.Get_size()} go on", flush=True)
    except ValueError as error:
        print(f"still {error}", flush=True)
    os._exit(0)
"""


@pytest.mark.parametrize(("dies", "expected"), [("dies", ["lost 1, 2 go on"] * 2), ("lives", ["still nonsense"] * 3)])
def test_nonsense_after_a_death_is_a_death(launch, tmp_path, dies, expected):
    """Also where no rank communicates between the death and the question; without a death an error stays what it is."""
    said = ulfm.works(deadline=60)
    if said:
        pytest.skip(f"this MPI has no ULFM: {said}")
    script = tmp_path / "nonsense.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [*mpirun_command(3, survive=True), str(script), dies]
    environment = mpi_environment({**os.environ, "OMPI_MCA_mpi_yield_when_idle": "1"})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, start_new_session=True)
    found = [line for line in done.stdout.splitlines() if line.startswith(("lost", "still"))]
    assert found == expected, f"{done.stdout}\n{done.stderr}"
