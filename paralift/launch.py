"""Starting MPI jobs on this machine: the launcher, its environment, and a child that leaves nothing behind."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from paralift.exits import NOTICE

FORWARDED = {
    signal.SIGINT: signal.SIGINT,
    signal.SIGHUP: signal.SIGHUP,
    signal.SIGUSR1: signal.SIGUSR1,
    signal.SIGUSR2: signal.SIGUSR2,
    signal.SIGTERM: signal.SIGUSR2,
}
"""What `run` hands on to the launcher, which hands it on to the ranks. A launcher kills its ranks at SIGTERM: they get the
signal that asks for a checkpoint and the end instead."""
ULFM = ("--with-ft", "ulfm")
"""Options of Open MPI's launcher."""
GRACE = 5.0
"""Seconds between a job's end, or a second interrupt, and the end of whatever it left."""

OPEN_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_osc": "^ucx",
}
"""What the Open MPI of the Python package index needs in a container (root, few cores, no UCX); others ignore it.

Ranks are not bound to cores: Open MPI counts cores from the first one on, whatever a batch system or another run on the
machine has been given.
"""
ONE_HOST = {"OMPI_MCA_btl": "self,sm"}
"""Shared memory only: ranks start ten times faster, but cannot reach another host."""
HOSTS = ("SLURM_JOB_NUM_NODES", "SLURM_NNODES")
"""Variables with the number of hosts of a batch job."""
LOOK = 0.25
"""Seconds between two looks at it."""


class LaunchError(RuntimeError):
    """No launcher was found."""


def mpi_environment(base: Mapping[str, str]) -> dict[str, str]:
    """Return `base` with the settings that Open MPI needs here; what `base` sets already stays.

    Parameters
    ----------
    base : mapping of str to str
        Such as ``os.environ``. Inside a batch job of several hosts the transport is left to Open MPI.
    """
    hosts = next((base[name] for name in HOSTS if name in base), "1")
    settings = OPEN_MPI if hosts != "1" else {**OPEN_MPI, **ONE_HOST}
    return {**settings, **base}


def mpirun_command(n: int, survive: bool = False) -> list[str]:
    """Return the start of a command for `n` ranks: the launcher beside this Python, this Python, ``-m mpi4py``.

    With `survive`, the death of a rank does not end the job: the others are told of it (ULFM).

    The launcher of the same environment fits its mpi4py; one found on PATH may belong to another MPI and would start
    `n` runs that do not know each other. Under ``-m mpi4py`` a rank's exception ends the job instead of hanging it.

    Raises
    ------
    ValueError
        If `n` is less than 1.
    LaunchError
        If there is no launcher.
    """
    if n < 1:
        raise ValueError(f"{n} ranks were asked for, expected at least 1")
    launcher = Path(sys.executable).parent / "mpirun"
    if not launcher.is_file():
        raise LaunchError(
            f"no MPI launcher {launcher}; install one: pip install 'paralift[mpi]', or use your cluster's own: "
            f"mpirun -n {n} {sys.executable} -m mpi4py -m paralift train ..."
        )
    return [str(launcher), *(ULFM if survive else ()), "-n", str(n), sys.executable, "-m", "mpi4py"]


def line(command: Sequence[str], environment: Mapping[str, str], base: Mapping[str, str]) -> str:
    """Return a line for a shell that does the same: the settings that `environment` adds to `base`, then the command."""
    added = [f"{name}={shlex.quote(value)}" for name, value in sorted(environment.items()) if base.get(name) != value]
    return " ".join([*added, shlex.join(command)])


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command in a process group of its own until it ends; return its exit code.

    Signals that reach this process are handed on; a second interrupt, or a second SIGTERM, kills the group. A command that
    died of signal s gives 128 + s, an interrupted one 130. A launcher that goes on although a rank of this machine has given
    the job up (`leave_notice`) is killed, and the rank's exit code is returned: it waits for a host that does not answer, that
    of Open MPI for more than ten minutes. Nothing of the group survives.
    """
    with tempfile.TemporaryDirectory(prefix="paralift-") as folder:
        notice = Path(folder, "notice")
        process = subprocess.Popen(list(command), env={**environment, NOTICE: str(notice)}, start_new_session=True)
        try:
            with _forwarding(process) as received:
                code = _wait(process, notice)
        finally:
            _end(process)
    if code and signal.SIGINT in received:  # launchers end with codes of their own
        return 128 + signal.SIGINT
    return code if code >= 0 else 128 - code


def _wait(process: subprocess.Popen, notice: Path) -> int:
    """Return the exit code of a process that ends, or of a job that was given up but does not end."""
    since = None
    while True:
        try:
            return process.wait(LOOK)
        except subprocess.TimeoutExpired:
            if since is None and notice.is_file():
                since = time.monotonic()
        if since is not None and time.monotonic() - since > GRACE:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return int(notice.read_text())


@contextmanager
def _forwarding(process: subprocess.Popen) -> Iterator[list[int]]:
    """Hand signals on to `process` while the block runs; yields a list that takes them down."""
    received: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if sum(n in (signal.SIGINT, signal.SIGTERM) for n in received) > 1:
            os.killpg(process.pid, signal.SIGKILL)
        elif process.poll() is None:
            process.send_signal(FORWARDED[signal.Signals(number)])

    before = {number: signal.signal(number, hand_on) for number in FORWARDED}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(process: subprocess.Popen) -> None:
    """End what is left of a process group: politely, then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            continue
