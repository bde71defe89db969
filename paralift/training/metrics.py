"""What a run writes beside its checkpoints: config.toml, a line an epoch in metrics.jsonl, summary.json."""

from __future__ import annotations

import ctypes
import gc
import json
import platform
import resource
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from paralift import durable
from paralift.training.lock import FolderLock

PACKAGES = ("paralift", "numpy", "scipy", "numba", "h5py", "mpi4py", "cupy")


class RunFolder:
    """The folder of a run, written by rank 0 alone.

    Parameters
    ----------
    path : path
        Created if it is not there.
    config : str
        Text of config.toml.
    append : bool
        Whether metrics.jsonl goes on (a resumed run) or starts anew.

    Raises
    ------
    ValueError
        If another run holds the folder.
    OSError
        If it cannot be written to.
    """

    def __init__(self, path: str | Path, config: str, append: bool) -> None:
        self.path = Path(path)
        for part in ("checkpoints", "plots"):
            (self.path / part).mkdir(parents=True, exist_ok=True)
        self.lock = FolderLock(self.path)
        if config:
            durable.write_text(self.path / "config.toml", config)
        self.metrics = self.path / "metrics.jsonl"
        if not append:
            self.metrics.write_text("")

    def record(self, values: Mapping[str, Any]) -> None:
        """Append one epoch to metrics.jsonl."""
        try:
            with self.metrics.open("a") as file:
                file.write(json.dumps(values) + "\n")
        except OSError as error:
            raise OSError(error.errno, f"an epoch cannot be recorded: {error.strerror}", str(self.metrics)) from error

    def drop_after(self, epoch: int) -> list[dict[str, Any]]:
        """Keep the records up to `epoch` only (a run that died behind its last checkpoint); return them."""
        lines = self.metrics.read_text(errors="replace").splitlines() if self.metrics.exists() else []
        kept = [record for line in lines if (record := _parsed(line)) and record["epoch"] <= epoch]
        durable.write_text(self.metrics, "".join(json.dumps(r) + "\n" for r in kept))
        return kept

    def summary(self, values: Mapping[str, Any]) -> None:
        """Write summary.json."""
        durable.write_text(self.path / "summary.json", json.dumps(values, indent=2) + "\n")

    def close(self) -> None:
        """Let other runs use the folder."""
        self.lock.free()


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):  # the last line of a run that was killed while it wrote
        return None
    return record if isinstance(record, dict) and isinstance(record.get("epoch"), int) else None


@cache
def versions() -> Mapping[str, str]:
    """Return the versions of Python and of the packages that a run depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


STATUS = Path("/proc/self/statm")


def resident_memory() -> int:
    """Return the resident memory of this process in bytes; its peak so far where the system tells no more."""
    try:
        return int(STATUS.read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return peak_memory()


def release_memory() -> None:
    """Give back what is free: arrays that only cycles hold, and pages that the C library keeps for later."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
