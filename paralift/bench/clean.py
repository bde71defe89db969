"""A benchmark starts in an environment that neither pins a slow kernel nor leaves the number of BLAS threads open.

Libraries read such variables when they are loaded, so a process that inherited them is too late: `start_clean` starts the
benchmark once more in a process without them, and the record of the run says so.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence

from paralift.launch import run

PINS = (
    "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES", "NUMBA_CPU_NAME",
    "NUMBA_CPU_FEATURES", "NUMBA_DISABLE_JIT", "XLA_FLAGS",
)  # fmt: skip
"""Variables by which a process may inherit slower kernels than its processor offers."""
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Variables that fix the number of threads of a library."""
MARK = "PARALIFT_BENCH_ENVIRONMENT"
"""Set in the process that measures: what was taken out and what was set, as JSON."""


def clean(base: Mapping[str, str], threads: int = 1) -> dict[str, str]:
    """Return `base` without what pins kernels, with `threads` threads for every library, and a note of both."""
    removed = {name: base[name] for name in PINS if name in base}
    fixed = {name: str(threads) for name in THREADS}
    kept = {name: value for name, value in base.items() if name not in PINS}
    return {**kept, **fixed, MARK: json.dumps({"re_executed": True, "removed": removed, "set": fixed})}


def changes() -> dict[str, object]:
    """Return what `start_clean` changed for this process."""
    text = os.environ.get(MARK)
    return json.loads(text) if text else {"re_executed": False, "removed": {}, "set": {}}


def start_clean(module: str, argv: Sequence[str]) -> int | None:
    """Run ``python -m module argv`` in a clean environment; return its exit code, or None if this process is clean."""
    if MARK in os.environ:
        return None
    return run([sys.executable, "-m", module, *argv], clean(os.environ))
