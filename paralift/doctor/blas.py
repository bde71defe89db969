"""BLAS: the library behind matrix products, its kernel and threads, and settings of the environment that slow it."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from paralift.ask import ask, last_line
from paralift.doctor import cores
from paralift.doctor.check import Check, judged

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
KERNEL = "OPENBLAS_CORETYPE"
SLOWER = 1.1
"""A pin that costs less is as fast, as far as one look can tell."""
QUESTION = """
import json, time
import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits
a, best = np.ones((512, 512)), 1e9
with threadpool_limits(limits=1, user_api="blas"):
    for _ in range(8):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
pool = next(pool for pool in threadpool_info() if pool["user_api"] == "blas")
print(json.dumps({"kernel": pool.get("architecture", "unknown"), "seconds": best}))
"""


def check_blas() -> Check:
    """Return the library behind NumPy's matrix products, and what pins its kernel or its threads."""
    pool = _pool()
    if pool is None:
        return Check("BLAS", "warning", "not recognised by threadpoolctl", "install NumPy from a wheel for OpenBLAS")
    threads, usable, fit = int(pool["num_threads"]), len(cores.usable()), cores.ranks()
    found = f"{pool['internal_api']} {pool['version']}, kernel {pool.get('architecture', 'unknown')}, "
    found += f"{threads} thread{'s' if threads > 1 else ''}"
    pins = [name for name in (KERNEL, *THREADS) if name in os.environ]
    if pins:
        found += "; pinned by " + ", ".join(f"{name}={os.environ[name]}" for name in pins)
    complaints = [_kernel()] if KERNEL in pins else []
    by = ", ".join(name for name in pins if name != KERNEL)
    if threads > max(usable, fit):
        unset = f"unset {by or 'what sets them'}, or give --threads {fit}"
        complaints.append(f"{threads} threads compete for {usable} cores: {unset}")
    elif by and threads < fit:
        complaints.append(f"a single rank would use {threads} of {fit} cores: unset {by}, or give --threads {fit}")
    return judged("BLAS", found, [text for text in complaints if text])


def _pool() -> dict[str, Any] | None:
    """Return what is known of the library."""
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    return next((pool for pool in threadpool_info() if pool["user_api"] == "blas"), None)


def _kernel() -> str:
    """Return what the pinned kernel costs, by products with and without the pin; empty if nothing."""
    answers = []
    for environment in (os.environ, {k: v for k, v in os.environ.items() if k != KERNEL}):
        code, out, err = ask([sys.executable, "-c", QUESTION], environment=environment)
        if code != 0:
            return f"products may be slow or fail with {KERNEL} ({last_line(err)}): unset it"
        answers.append(json.loads(last_line(out)))
    pinned, free = answers
    ratio = pinned["seconds"] / free["seconds"]
    if pinned["kernel"] == free["kernel"] or ratio < SLOWER:
        return ""
    return (
        f"products take {ratio:.1f} times as long as with kernel {free['kernel']}, which this processor would get: "
        f"unset {KERNEL}, unless you need the same bits on all machines"
    )
