"""The world of a launcher: found by what launchers set; one that holds a single process of several is refused."""

import sys
from types import SimpleNamespace

import pytest

from paralift.parallel import world
from paralift.parallel.world import find_world

OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "0"}
HYDRA = {"PMI_SIZE": "2", "PMI_RANK": "0", "MPI_LOCALNRANKS": "2"}
SRUN_PMI2 = {"PMI_SIZE": "2", "PMI_RANK": "0", "SLURM_STEP_NUM_TASKS": "2"}
SRUN_PMIX = {"PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "2"}
SRUN = {"SLURM_STEP_NUM_TASKS": "2"}


@pytest.fixture
def process(monkeypatch):
    """Return a function of (variables, size of the world, whether mpi4py is loaded) that pretends a process of a job."""

    def pretend(variables, size, loaded=False):
        for name in {*world.LAUNCHED, *world.SIZES}:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        mpi = SimpleNamespace(COMM_WORLD=SimpleNamespace(Get_size=lambda: size), get_vendor=lambda: ("Open MPI", (5, 0, 11)))
        monkeypatch.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=mpi))
        for name in ("mpi4py.MPI", "mpi4py.run"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        if loaded:
            monkeypatch.setitem(sys.modules, "mpi4py.MPI", mpi)
        return mpi.COMM_WORLD

    return pretend


@pytest.mark.parametrize("variables", [OPEN_MPI, HYDRA, SRUN_PMI2, SRUN_PMIX], ids=["Open MPI", "Hydra", "PMI-2", "PMIx"])
def test_launchers_are_noticed(process, variables):
    found = process(variables, 2)
    assert find_world() is found


def test_no_launcher(process):
    process({}, 1)
    assert find_world() is None
    process(SRUN, 1)  # several runs that know nothing of each other, as a user may want them
    assert find_world() is None


@pytest.mark.parametrize("variables", [{}, {"OMPI_COMM_WORLD_SIZE": "1"}, {"PMI_SIZE": "1", "SLURM_STEP_NUM_TASKS": "4"}])
def test_one_process_is_a_world(process, variables):
    found = process(variables, 1, loaded=True)
    assert find_world() is found


@pytest.mark.parametrize(
    ("variables", "name", "way_out"),
    [
        (OPEN_MPI, "OMPI_COMM_WORLD_SIZE", "take the launcher of that MPI: paralift run"),
        (HYDRA, "PMI_SIZE", "take the launcher of that MPI: paralift run"),
        (SRUN_PMI2, "PMI_SIZE", "srun --mpi=pmix for Open MPI, --mpi=pmi2 for MPICH"),
        (SRUN_PMIX, "SLURM_STEP_NUM_TASKS", "srun --mpi=pmix for Open MPI"),
        (SRUN, "SLURM_STEP_NUM_TASKS", "srun --mpi=pmix for Open MPI"),
    ],
    ids=["Open MPI", "Hydra", "PMI-2", "PMIx", "srun alone"],
)
def test_processes_that_do_not_see_each_other_are_refused(process, variables, name, way_out):
    process(variables, 1, loaded=True)
    with pytest.raises(RuntimeError, match=rf"started 2 processes \({name}\).* Open MPI 5.0.11, sees one: .*{way_out}"):
        find_world()


def test_ranks_by_srun_alone_are_refused(process, monkeypatch):
    """``srun --mpi=none python -m mpi4py -m paralift train``: MPI is wanted, but not loaded yet."""
    process(SRUN, 1)
    monkeypatch.setitem(sys.modules, "mpi4py.run", SimpleNamespace())
    with pytest.raises(RuntimeError, match="started 2 processes"):
        find_world()
    process({"SLURM_STEP_NUM_TASKS": "1"}, 1)
    monkeypatch.setitem(sys.modules, "mpi4py.run", SimpleNamespace())
    assert find_world() is None
