"""Shared memory: where Open MPI's ranks of one computer meet."""

from __future__ import annotations

import os
from pathlib import Path

from paralift.doctor import cores
from paralift.doctor.check import Check

FOLDER = Path("/dev/shm")
BACKING = "OMPI_MCA_btl_sm_backing_directory"
SEGMENT = 1 << 24
"""Bytes that Open MPI wants to be free when a rank starts (btl_sm_segment_size); it fills them only as messages need."""


def check_shared_memory() -> Check:
    """Return the size of the folder of shared memory, and whether ranks fit in."""
    folder = Path(os.environ.get(BACKING, FOLDER))
    elsewhere = f"export {BACKING}=/tmp, or a larger one: docker run --shm-size=1g, mount -o remount,size=1g {folder}"
    if not os.access(folder, os.W_OK):
        return Check("shared memory", "warning", f"{folder} cannot be written", f"mpirun fails at its start: {elsewhere}")
    status = os.statvfs(folder)
    size, free = status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize
    found = f"{folder}: {free / 2**20:,.0f} MiB free of {size / 2**20:,.0f}"
    fit = cores.ranks()
    if free < SEGMENT:
        hurts = f"ranks cannot reach each other: Open MPI wants {SEGMENT >> 20} MiB for each"
        return Check("shared memory", "warning", found, f"{hurts}: {elsewhere}")
    if free < fit * SEGMENT:
        hurts = f"enough for {free // SEGMENT} of {fit} ranks; more may die of a bus error in the middle of a run"
        return Check("shared memory", "warning", found, f"{hurts}: {elsewhere}")
    return Check("shared memory", "ok", found)
