"""Fixtures of all tests: multi-rank launches with a deadline, and the folder of real data."""

import gc
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings

from paralift.launch import clear_session, mpi_environment, mpirun_command

settings.register_profile("same", derandomize=True)
settings.load_profile("same")  # the same examples every time; others by --hypothesis-profile=default

DEADLINE = 300.0
"""Seconds until a multi-rank launch counts as hanging and is killed."""
GRACE = 2.0
STARTING = ("faults", "jobs")
"""Folders whose tests start processes of several ranks by other means than `launch`."""
YIELD = {"OMPI_MCA_mpi_yield_when_idle": "1"}
"""Ranks that wait give way: tests start more of them than there are cores."""


class Launch:
    """Outcome of a multi-rank run."""

    def __init__(self, code: int, output: str, hung: bool) -> None:
        self.code, self.output, self.hung = code, output, hung


def launch(n: int, arguments: list[str], deadline: float = DEADLINE, **environment: str) -> Launch:
    """Run ``python -m mpi4py ARGUMENTS`` on `n` ranks in a process group of its own; kill the group at the deadline."""
    process = subprocess.Popen(
        [*mpirun_command(n), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=mpi_environment({**os.environ, **YIELD, **environment}),
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=deadline)
        return Launch(process.returncode, output, hung=False)
    except subprocess.TimeoutExpired:
        output = _kill(process)
        return Launch(-1, output, hung=True)


def _kill(process: subprocess.Popen) -> str:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            output = process.communicate(timeout=GRACE)[0]
            break
        except subprocess.TimeoutExpired:
            continue
    else:
        output = process.communicate()[0]
    clear_session(process.pid)
    return output


def pytest_addoption(parser):
    parser.addoption("--rounds", type=int, default=2, help="rounds of random faults in tests/faults")


def pytest_runtest_teardown():
    """Take what is left, compiled kernels above all, out of the collector's sight: `fit` collects, each time over all of it."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Let one worker take all tests that start ranks or daemons, where several workers share the tests: one at a time."""
    for item in items:
        if "launch" in item.fixturenames or item.path.parent.name in STARTING:
            item.add_marker(pytest.mark.xdist_group("processes"))


@pytest.fixture(name="launch")
def launch_fixture():
    """Return the launcher of multi-rank runs."""
    return launch


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder of real data sets, or skip with the reason."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("PARALIFT_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is no folder; set PARALIFT_DATA to one that holds mnist/, fashion-mnist/")
    return folder
