"""Questions to another process, with a deadline: for whatever may hang, crash or take hold of a device.

A question gets a session of its own, and nothing of the session survives the answer. A process group is not enough: Open MPI's
launcher gives each rank a group of its own. Answers go through files, since a pipe stays open as long as anything that was left
behind holds it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

DEADLINE = 60.0
"""Seconds that a question may take; the first import after an installation is slow."""
LATE = 124
"""The code of a question without an answer."""
GRACE = 2.0
"""Seconds that killed processes have to disappear; one that waits for a dead file server never does, and is left."""
TAIL = 1 << 20
"""Bytes of an answer that are looked at."""
LAUNCHED = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "MPI_LOCAL", "SLURM_")
"""Beginnings of the variables by which a launcher tells a process its rank: questions must not join this job."""


def ask(
    command: Sequence[str], deadline: float = DEADLINE, environment: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Run a command outside of any MPI job; nothing that it starts survives.

    Parameters
    ----------
    command : sequence of str
    deadline : float
        Seconds until everything is killed.
    environment : mapping of str to str, optional
        Instead of that of this process; what a launcher has set is left out of both.

    Returns
    -------
    tuple of int, str, str
        Exit code (`LATE` after the deadline), standard output, standard error (after the deadline: that it has passed).
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            list(command), env=outside(os.environ if environment is None else environment), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=out, stderr=err,
        )  # fmt: skip
        try:
            code = process.wait(deadline)
        except subprocess.TimeoutExpired:
            return LATE, _text(out), f"no answer within {deadline:g} s"
        finally:
            _end(process)
        return code, _text(out), _text(err)


def outside(base: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that starts its own MPI, even where this one is a rank of a job."""
    from paralift.launch import mpi_environment

    launched = any(name in base for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "MPI_LOCALNRANKS"))
    kept = {k: v for k, v in base.items() if not (launched and k.startswith(LAUNCHED))}
    return mpi_environment(kept)


def last_line(text: str) -> str:
    """Return the last line with something in it."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip(" -")), "")


def first_paragraph(text: str, width: int = 200) -> str:
    """Return the first lines with something in them as one, cut at `width`: launchers break and frame what they say."""
    found: list[str] = []
    for line in text.splitlines():
        if line.strip(" -"):
            found.append(line.strip())
        elif found:
            break
    return textwrap.shorten(" ".join(found), width, placeholder=" ...")


def _text(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TAIL))
    return file.read().decode(errors="replace")


def _end(process: subprocess.Popen) -> None:
    """Kill what is left of a session."""
    end = time.monotonic() + GRACE
    while True:
        left = _members(process.pid)
        for pid in left:
            _kill(pid)
        late = time.monotonic() > end
        if process.poll() is None:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # also where there is no /proc
            except ProcessLookupError:
                pass
        elif not left:
            return
        if late:
            return
        time.sleep(0.01)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _members(session: int) -> list[int]:
    """Return the living processes of a session; none where the system has no /proc."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, own = file.read_text(errors="replace").rpartition(")")[2].split()[:4]
        except (OSError, ValueError):  # it ended meanwhile
            continue
        if int(own) == session and state not in "ZX":
            found.append(int(file.parent.name))
    return found
