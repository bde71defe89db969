"""A SLURM for the tests of job scripts, where it is installed, and the run that they train."""

import os
import sys
from pathlib import Path

import cluster
import pytest

ROOT = Path(__file__).parents[2]
NODES = 2
CONFIG = """
data = "digits"
network = ["Linear(64, 256)", "ReLU()", "Linear(256, 256)", "ReLU()", "Linear(256, 10)", "Softmax()"]
optimizer = "Adam(1e-3)"

[training]
epochs = {epochs}
checkpoint_every = 20

[parallel]
plan = "counted"
stages = 2
"""


@pytest.fixture(scope="session")
def environment():
    """Return what jobs need: one BLAS thread a rank; ranks that wait give way: there are more of them than cores."""
    return {
        "PYTHON": sys.executable, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OMPI_MCA_mpi_yield_when_idle": "1",
    }  # fmt: skip


@pytest.fixture(scope="session")
def slurm(tmp_path_factory, environment):
    """Return a running SLURM of two nodes, or skip with the reason."""
    absent = cluster.missing()
    if absent:
        pytest.skip(f"no {', '.join(absent)}: apt-get install slurm-wlm munge, or make test-slurm")
    with cluster.running(tmp_path_factory.mktemp("slurm"), NODES) as found:
        found.environment |= environment
        yield found


@pytest.fixture
def config(tmp_path):
    """Return a function of epochs that gives the path of a configuration."""

    def write(epochs):
        path = tmp_path / f"{epochs}-epochs.toml"
        path.write_text(CONFIG.format(epochs=epochs))
        return str(path)

    return write


def pytest_generate_tests(metafunc):
    """Let tests of random moments meet as many as ``--rounds`` says."""
    if "moment" in metafunc.fixturenames:
        metafunc.parametrize("moment", range(metafunc.config.getoption("--rounds")))
