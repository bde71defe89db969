"""Cores: those that this process may use, a quota of their time, and how many ranks fit."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path

from paralift import control_groups
from paralift.doctor.check import Check, judged

ROOT = Path("/")


def check_cores() -> Check:
    """Return how many cores this process may use, and how many ranks fit on them."""
    own, total = usable(), os.cpu_count() or 1
    cores, time = physical(own), quota()
    found = f"{len(own)} usable of {total}, {cores} physical, {platform.machine()}"
    found += ", no quota" if time is None else f", quota of {time:g} cores"
    fit = ranks()
    found += f"; {fit} rank{'s' if fit > 1 else ''} fit{'' if fit > 1 else 's'}"
    complaints = []
    if time is not None and time < len(own):
        complaints.append(
            f"the control group pauses processes that use more than {time:g} cores: start at most {fit} ranks x threads, and "
            f"set OMP_NUM_THREADS={fit} NUMBA_NUM_THREADS={fit}, or ask for a larger quota (docker run --cpus)"
        )
    note = ""
    if not complaints and len(own) < total:
        note = "only some of the cores were given to this process (taskset, a batch system): ask there for more"
    return judged("cores", found, complaints, note)


def usable() -> set[int]:
    """Return the processors that this process may run on."""
    return set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def physical(processors: set[int], root: Path | None = None) -> int:
    """Return how many cores these processors belong to: two threads of one core are one."""
    top, found = (ROOT if root is None else root) / "sys/devices/system/cpu", set()
    for number in processors:
        try:
            found.add((top / f"cpu{number}/topology/thread_siblings_list").read_text().strip())
        except OSError:
            found.add(str(number))
    return len(found)


def quota(root: Path | None = None) -> float | None:
    """Return how many cores' time the control group allows; None without a limit."""
    return control_groups.quota(ROOT if root is None else root)


def ranks() -> int:
    """Return how many ranks of one thread fit: one a physical core, as far as the quota goes."""
    cores, time = physical(usable()), quota()
    return cores if time is None else max(1, min(cores, math.floor(time)))
