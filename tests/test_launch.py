"""Launching: the environment, the command, and a child that is neither lost nor left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from paralift import exits, launch, launchers
from paralift.launch import LaunchError, mpi_environment, mpirun_command
from paralift.launchers import OPEN_MPI as OPEN
from paralift.launchers import kind_of

OPEN_MPI = "mpirun (Open MPI) 5.0.11"
PYTHON = sys.executable
HYDRA = "HYDRA build details:\n    Version:                                 5.0.2"
INTEL = "Intel(R) MPI Library for Linux* OS, Version 2021.18 Build 20260911"
STAND_IN = """#!/bin/sh
[ "$1" = --version ] && printf '%s\\n' '{says}' && exit
printf '%s\\n' "$*" > {folder}/asked
exec {command}
"""


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """Return a function that puts a launcher beside a Python that is none: what it says of itself, what it does."""

    def put(says, command="true"):
        path = tmp_path / "mpirun"
        path.write_text(STAND_IN.format(says=says, folder=tmp_path, command=command))
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        kind_of.cache_clear()
        return path

    yield put
    kind_of.cache_clear()


@pytest.mark.parametrize(
    ("says", "kind"), [(OPEN_MPI, OPEN), (HYDRA, launchers.HYDRA), (INTEL, launchers.HYDRA), ("another 1.0", launchers.UNKNOWN)]
)
def test_a_launcher_says_whose_it_is(stand_in, says, kind):
    assert kind_of(stand_in(says)) is kind


def test_a_launcher_that_says_nothing_is_not_waited_for(stand_in, monkeypatch):
    monkeypatch.setattr(launchers, "DEADLINE", 0.2)
    path = stand_in("")
    path.write_text("#!/bin/sh\nexec sleep 60\n")
    assert kind_of(path) is launchers.UNKNOWN
    assert kind_of(path.with_name("absent")) is launchers.UNKNOWN


@pytest.mark.parametrize("says", [OPEN_MPI, "another 1.0"])
def test_the_environment_keeps_what_the_user_has_set(stand_in, says):
    stand_in(says)
    base = {"OMPI_MCA_pml": "ucx", "HOME": "/here"}
    found = mpi_environment(base)
    assert found["OMPI_MCA_pml"] == "ucx" and found["HOME"] == "/here"
    assert found["OMPI_ALLOW_RUN_AS_ROOT"] == "1" and found["OMPI_MCA_btl"] == "self,sm"
    assert base == {"OMPI_MCA_pml": "ucx", "HOME": "/here"}


@pytest.mark.parametrize(("hosts", "shared_memory"), [("1", True), ("2", False)])
def test_shared_memory_only_on_one_host(stand_in, hosts, shared_memory):
    stand_in(OPEN_MPI)
    assert ("OMPI_MCA_btl" in mpi_environment({"SLURM_JOB_NUM_NODES": hosts})) is shared_memory


@pytest.mark.parametrize("says", [HYDRA, INTEL])
def test_hydra_needs_no_settings(stand_in, says):
    stand_in(says)
    assert mpi_environment({"HOME": "/here"}) == {"HOME": "/here"}


@pytest.mark.parametrize("says", [OPEN_MPI, HYDRA, "another 1.0"])
def test_the_command_takes_the_launcher_beside_this_python(stand_in, says):
    path = stand_in(says)
    assert mpirun_command(2) == [str(path), "-n", "2", str(path.with_name("python")), "-m", "mpi4py"]
    with pytest.raises(ValueError, match="0 ranks were asked for"):
        mpirun_command(0)
    path.unlink()
    with pytest.raises(LaunchError, match=r"no MPI launcher .*/mpirun; install one: pip install 'paralift\[mpi\]'"):
        mpirun_command(2)


def test_survival_is_asked_of_open_mpi_alone(stand_in):
    stand_in(OPEN_MPI)
    assert mpirun_command(2, survive=True)[1:5] == ["--with-ft", "ulfm", "-n", "2"]
    stand_in(HYDRA)
    with pytest.raises(LaunchError, match=r"mpirun \(Hydra\) ends a job when a rank dies: .* only under Open MPI"):
        mpirun_command(2, survive=True)


def test_the_line_for_a_shell_has_what_was_added():
    base = {"HOME": "/here", "OMPI_MCA_pml": "ucx"}
    found = launch.line(["mpirun", "-n", "2", "a b.py"], {**base, "OMPI_MCA_btl": "self,sm", "OMPI_MCA_pml": "ob1"}, base)
    assert found == "OMPI_MCA_btl=self,sm OMPI_MCA_pml=ob1 mpirun -n 2 'a b.py'"


@pytest.mark.parametrize(
    ("code", "expected"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_the_exit_code_is_the_childs(code, expected):
    assert launch.run([sys.executable, "-c", code], os.environ) == expected


def test_what_a_killed_launcher_left_is_removed(tmp_path, monkeypatch):
    """Process numbers repeat, and a launcher does not start where one of its number has left its folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed = f"import os; n = os.getpid(); os.makedirs(f'{tmp_path}/ompi.{{n}}/0'); os.kill(n, 9)"
    assert launch.run([sys.executable, "-c", killed], os.environ) == 137
    assert not list(tmp_path.iterdir())


CHILD = """
import signal, sys, time
def stop(*_):
    print("stopped", flush=True)
    sys.exit(5)
signal.signal(signal.SIGUSR2, stop)
signal.signal(signal.SIGUSR1, lambda *_: print("usr1", flush=True))
print("ready", flush=True)
time.sleep(60)
"""
PARENT = """
import os, sys
from paralift.launch import run
sys.exit(run([sys.executable, "-c", sys.argv[1]], os.environ))
"""


def start(child: str) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", PARENT, child], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_signals_are_handed_on_and_the_end_is_asked_for_politely():
    """A launcher kills its ranks at SIGTERM; SIGUSR2 asks them for a checkpoint and the end."""
    process = start(CHILD)
    process.send_signal(signal.SIGUSR1)
    assert process.stdout.readline() == "usr1\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert (out, process.returncode) == ("stopped\n", 5)


STOPPING = """
import signal, sys
wishes = {signal.SIGUSR2, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, wishes)
print("ready", flush=True)
sys.exit(100 + signal.sigwait(wishes))
"""
BESIDE = """
import os, sys
from paralift.launch import mpirun_command, run
sys.executable = sys.argv[1]
sys.exit(run(mpirun_command(2), os.environ))
"""


@pytest.mark.parametrize(
    ("says", "stop"), [(OPEN_MPI, signal.SIGUSR2), (HYDRA, signal.SIGTERM), ("another 1.0", signal.SIGUSR2)]
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_launcher_gets_the_wish_to_stop_that_it_outlives(stand_in, tmp_path, says, stop, number):
    """Open MPI's dies of SIGTERM, Hydra of SIGUSR2."""
    (tmp_path / "stopping.py").write_text(STOPPING)
    stand_in(says, f"{PYTHON} {tmp_path / 'stopping.py'}")
    process = subprocess.Popen([PYTHON, "-c", BESIDE, str(tmp_path / "python")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 100 + stop
    assert (tmp_path / "asked").read_text().split() == ["-n", "2", str(tmp_path / "python"), "-m", "mpi4py"]


def test_a_second_interrupt_kills():
    child = "import signal, time; signal.signal(2, lambda *_: print('no', flush=True)); print('ready', flush=True)\n"
    process = start(child + "end = time.time() + 60\nwhile time.time() < end: time.sleep(0.1)")
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "no\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT


IMPORTING = """
import signal, sys, time
from paralift.exits import leave_word
print("ready", flush=True)  # a signal would kill it
time.sleep(1)
signal.signal(signal.SIGUSR2, lambda *_: sys.exit(5))
leave_word()
time.sleep(60)
"""
HOLDING = """
import os, sys
from paralift import launch
launch.START = float(sys.argv[2])
sys.exit(launch.run([sys.executable, "-c", sys.argv[1]], os.environ, 1))
"""


@pytest.mark.parametrize(("hold", "code"), [(60.0, 5), (0.0, 128 + signal.SIGUSR2)])
def test_a_wish_waits_until_ranks_can_take_it(hold, code):
    """Ranks that never say so are not protected for ever."""
    process = subprocess.Popen([sys.executable, "-c", HOLDING, IMPORTING, str(hold)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == code


GIVEN_UP = """
import signal, time
from paralift.exits import leave_notice
signal.signal(signal.SIGTERM, signal.SIG_IGN)
leave_notice(76)
time.sleep({seconds})
raise SystemExit(3)
"""


@pytest.mark.parametrize(("seconds", "expected"), [(60, 76), (0.5, 3)])
def test_a_launcher_that_does_not_end_a_job_that_was_given_up_is_killed(monkeypatch, seconds, expected):
    """A launcher that waits for a host out of reach does not even end at SIGTERM; one that ends in time has its own code."""
    monkeypatch.setattr(launch, "GRACE", 2.0)
    start = time.monotonic()
    assert launch.run([sys.executable, "-c", GIVEN_UP.format(seconds=seconds)], os.environ) == expected
    assert time.monotonic() - start < 30


def test_a_notice_to_nobody(monkeypatch, tmp_path):
    monkeypatch.delenv(exits.NOTICE, raising=False)
    exits.leave_notice(76)
    monkeypatch.setenv(exits.NOTICE, str(tmp_path / "of another machine" / "notice"))
    exits.leave_notice(76)
    assert not list(tmp_path.iterdir())


def test_nothing_of_the_group_survives(tmp_path):
    grandchild = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    command = f"[sys.executable, '-c', {grandchild!r}]"
    child = f"import subprocess, sys; p = subprocess.Popen({command}, stdout=subprocess.PIPE)\n"
    note = tmp_path / "pid"
    child += f"open({str(note)!r}, 'wb').write(p.stdout.readline())"
    assert launch.run([sys.executable, "-c", child], os.environ) == 0
    pid = int(note.read_text())
    for _ in range(100):
        if not alive(pid):
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} is still there")


def alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended but was not waited for does not."""
    state = Path(f"/proc/{pid}/stat")
    try:
        return state.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
