"""How many bytes of kept variables a rank holds in memory before they go to a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from paralift import control_groups
from paralift.kernels.arrays import Array, family, namespace
from paralift.parallel.activity import ACTIVITY

UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
SHARE = 0.5
"""Of the memory that is there for a rank: the rest is for data, parameters and what other programs need."""


def read_bytes(size: int | str) -> int:
    """Return a size in bytes: a whole number of them, or text such as "4GiB".

    Raises
    ------
    ValueError
        If it is neither, or negative.
    """
    number, scale = size, 1
    if isinstance(size, str):
        unit = next((u for u in UNITS if size.strip().endswith(u)), "")
        number, scale = size.strip().removesuffix(unit), UNITS.get(unit, 1)
    try:
        if isinstance(size, bool) or isinstance(size, float):
            raise ValueError
        found = int(float(number) * scale)
    except (TypeError, ValueError, OverflowError):
        found = -1
    if found < 0:
        raise ValueError(f'{size!r} was given, expected a whole number of bytes, or text with a unit: "4GiB"')
    return found


def states_budget(size: int | str | None, world: Any, like: Array) -> int:
    """Return the budget of this rank in bytes.

    Parameters
    ----------
    size : int, str or None
        As given; by default half of the memory there is for this rank: of its device, or of its computer (or control
        group) over the ranks that share it.
    world : Comm or None
        Collective over it.
    like : array
        Tells host from device.
    """
    if size is not None:
        return read_bytes(size)
    if family(like) == "cupy":
        return int(SHARE * namespace(like).cuda.runtime.memGetInfo()[1])
    return int(SHARE * memory_limit() / ranks_of_node(world))


def ranks_of_node(world: Any) -> int:
    """Return how many ranks share this rank's memory; collective."""
    if world is None:
        return 1
    from mpi4py import MPI

    with ACTIVITY.waiting("the ranks of this computer"):
        node = world.Split_type(MPI.COMM_TYPE_SHARED)
        n = node.Get_size()
        node.Free()
    return n


def memory_limit(root: Path = Path("/")) -> int:
    """Return the bytes of memory that this process may use: the computer's, or less where a control group says so.

    Parameters
    ----------
    root : Path
        Under which ``proc`` and ``sys`` are mounted.
    """
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for file in control_groups.files("memory", "memory.limit_in_bytes", "memory.max", root):
        try:
            found = min(found, int(file.read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return found
