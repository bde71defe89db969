"""`paralift doctor`: what this machine and this installation offer, and the way out where something is missing.

Whatever may hang, crash or take hold of a device (MPI, CuPy) is asked in a process of its own with a deadline.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from paralift.launch import LaunchError, mpi_environment, mpirun_command

DEADLINE = 60.0
"""Seconds that a question may take; the first import after an installation is slow."""
LAUNCHED = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "MPI_LOCAL", "SLURM_")
"""Beginnings of the variables by which a launcher tells a process its rank: questions must not join this job."""
REQUIRED = ("numpy", "scipy", "numba", "h5py", "rich", "matplotlib", "scikit-learn")
STYLES = {"ok": "green", "warning": "yellow", "missing": "cyan", "broken": "red"}

MPI_QUESTION = """
import json, mpi4py
from mpi4py import MPI
levels = {MPI.THREAD_SINGLE: "single", MPI.THREAD_FUNNELED: "funneled", MPI.THREAD_SERIALIZED: "serialized",
          MPI.THREAD_MULTIPLE: "multiple"}
vendor, version = MPI.get_vendor()
print(json.dumps({"mpi4py": mpi4py.__version__, "vendor": f"{vendor} {'.'.join(map(str, version))}",
                  "threads": levels[MPI.Query_thread()]}))
"""
LAUNCH_QUESTION = """
from mpi4py import MPI
MPI.COMM_WORLD.Barrier()
if MPI.COMM_WORLD.Get_rank() == 0:
    print(MPI.COMM_WORLD.Get_size())
"""
GPU_QUESTION = """
import json, cupy
from cupy.cuda import nvrtc
found = {"cupy": cupy.__version__, "nvrtc": ".".join(map(str, nvrtc.getVersion())), "devices": []}
try:
    for i in range(cupy.cuda.runtime.getDeviceCount()):
        properties = cupy.cuda.runtime.getDeviceProperties(i)
        found["devices"].append(f"{properties['name'].decode()}, {properties['totalGlobalMem'] / 2**30:.0f} GiB")
except cupy.cuda.runtime.CUDARuntimeError as error:
    found["error"] = str(error)
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Check:
    """One line of the table.

    Parameters
    ----------
    what : str
    state : {"ok", "warning", "missing", "broken"}
        Only "broken" makes ParaLift unusable; "missing" is a thing that not everybody needs.
    found : str
    way_out : str
        What to do; empty where nothing needs to be done.
    """

    what: str
    state: str
    found: str
    way_out: str = ""


def main(console: Console | None = None) -> int:
    """Print the table; return 0, or 1 if something that ParaLift needs is broken."""
    console = Console() if console is None else console
    table = Table(title="paralift doctor", title_justify="left")
    for column in ("", "state", "found", "way out"):
        table.add_column(column, overflow="fold")
    checks = examine()
    for check in checks:
        style = STYLES[check.state]
        table.add_row(
            check.what, f"[{style}]{check.state}[/{style}]", escape(check.found), escape(check.way_out)
        )
    console.print(table)
    return int(any(check.state == "broken" for check in checks))


def examine() -> list[Check]:
    """Return all checks; one that fails itself becomes a line that says so."""
    return [_safely(check) for check in CHECKS]


def _safely(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:
        what = check.__name__.removeprefix("check_").replace("_", " ")
        way_out = "reinstall ParaLift: pip install --force-reinstall paralift"
        return Check(what, "broken", f"{type(error).__name__}: {error}", way_out)


def check_python() -> Check:
    """Return Python's version and place."""
    return Check("Python", "ok", f"{platform.python_version()} ({sys.executable})")


def check_packages() -> Check:
    """Return whether the required packages are installed, with their versions."""
    versions, absent = [], []
    for package in REQUIRED:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            absent.append(package)
    if absent:
        return Check(
            "packages", "broken", f"not installed: {', '.join(absent)}", f"pip install {' '.join(absent)}"
        )
    return Check("packages", "ok", ", ".join(versions))


def check_blas() -> Check:
    """Return the library behind NumPy's matrix products, and whether its kernel is pinned."""
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    found = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    if not found:
        return Check(
            "BLAS", "warning", "not recognised by threadpoolctl", "install NumPy from a wheel for OpenBLAS"
        )
    pool = found[0]
    kernel, threads = pool.get("architecture", "unknown"), pool["num_threads"]
    text = f"{pool['internal_api']} {pool['version']}, kernel {kernel}, {threads} threads"
    pinned = os.environ.get("OPENBLAS_CORETYPE")
    if pinned:
        way_out = "products may run at half speed: unset it, unless you need the same bits on all machines"
        return Check("BLAS", "warning", f"{text}; pinned by OPENBLAS_CORETYPE={pinned}", way_out)
    return Check("BLAS", "ok", text)


def check_numba() -> Check:
    """Return Numba's version, the threading layers that load, and whether compiled kernels can be kept."""
    import importlib

    import numba

    layers = []
    for layer, module in (("tbb", "tbbpool"), ("omp", "omppool"), ("workqueue", "workqueue")):
        try:
            importlib.import_module(f"numba.np.ufunc.{module}")
            layers.append(layer)
        except ImportError:
            continue
    loaded = ", ".join(layers) or "none"
    found = f"{numba.__version__}, threading layers {loaded}, {numba.get_num_threads()} threads"
    import paralift.kernels

    folder = Path(paralift.kernels.__path__[0])
    if not os.access(folder, os.W_OK) and "NUMBA_CACHE_DIR" not in os.environ:
        way_out = f"{folder} cannot be written: set NUMBA_CACHE_DIR, or every process may compile anew"
        return Check("Numba", "warning", found, way_out)
    return Check("Numba", "ok", found)


def check_cores() -> Check:
    """Return how many cores this process may use, of those that there are."""
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    found = f"{usable} usable of {total}, {platform.machine()}"
    return Check("cores", "ok", found)


def check_mpi() -> Check:
    """Return the versions of mpi4py and its MPI library, and the thread level."""
    install = "only for more than one rank: pip install 'paralift[mpi]'"
    try:
        metadata.version("mpi4py")
    except metadata.PackageNotFoundError:
        return Check("MPI", "missing", "mpi4py is not installed", install)
    code, out, err = ask([sys.executable, "-c", MPI_QUESTION])
    if code != 0:
        return Check("MPI", "warning", f"mpi4py finds no working MPI: {last_line(err)}", install)
    known = json.loads(last_line(out))
    return Check("MPI", "ok", f"mpi4py {known['mpi4py']}, {known['vendor']}, thread level {known['threads']}")


def check_launcher() -> Check:
    """Return whether the launcher beside this Python starts two ranks that find each other."""
    try:
        command = mpirun_command(2)
    except LaunchError as error:
        return Check("launcher", "missing", "no mpirun beside this Python", str(error))
    code, out, err = ask([*command, "-c", LAUNCH_QUESTION])
    if code == 0 and last_line(out) == "2":
        return Check("launcher", "ok", f"{command[0]}: 2 ranks found each other")
    way_out = "compare mpi4py's MPI (above) with the launcher's; try the launcher alone: mpirun -n 2 hostname"
    return Check(
        "launcher", "warning", f"{command[0]}: rc {code}, {last_line(out) or last_line(err)}", way_out
    )


def check_hdf5() -> Check:
    """Return the versions of h5py and HDF5, and whether it is parallel."""
    import h5py

    serial = "serial (enough: rank 0 writes checkpoints, every rank reads its shard)"
    kind = "parallel" if h5py.get_config().mpi else serial
    return Check("HDF5", "ok", f"h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}, {kind}")


def check_gpu() -> Check:
    """Return the versions of CuPy and its compiler, and the devices."""
    driver = Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidia0").exists()
    code, out, err = ask([sys.executable, "-c", GPU_QUESTION])
    if code != 0:
        absent = "No module named 'cupy'" in err
        text = "CuPy is not installed" if absent else f"CuPy does not work: {last_line(err)}"
        install = "pip install 'paralift[gpu]' (CUDA 13) or 'paralift[gpu12]' (CUDA 12)"
        if not driver:
            return Check(
                "GPU", "missing", f"{text}; no NVIDIA driver", f"only to train on one: a GPU, then {install}"
            )
        return Check("GPU", "missing" if absent else "warning", f"{text}; an NVIDIA driver is there", install)
    known = json.loads(last_line(out))
    text = f"CuPy {known['cupy']}, NVRTC {known['nvrtc']}"
    if not known["devices"]:
        return Check(
            "GPU", "warning", f"{text}; no device: {known.get('error', 'none found')}", "look at nvidia-smi"
        )
    return Check("GPU", "ok", f"{text}; {'; '.join(known['devices'])}")


def check_data() -> Check:
    """Return what lies in the folder of data sets that are not built in."""
    folder = os.environ.get("PARALIFT_DATA")
    if not folder:
        way_out = "only for mnist() and fashion_mnist() without a folder"
        return Check("data sets", "missing", "PARALIFT_DATA is not set", way_out)
    if not Path(folder).is_dir():
        return Check(
            "data sets", "warning", f"PARALIFT_DATA={folder} is no folder", "name the folder of the data sets"
        )
    names = sorted(path.name for path in Path(folder).iterdir() if path.is_dir())
    return Check("data sets", "ok", f"{folder}: {', '.join(names) or 'empty'}")


CHECKS: Sequence[Callable[[], Check]] = (
    check_python, check_packages, check_cores, check_blas, check_numba, check_hdf5, check_mpi, check_launcher,
    check_gpu, check_data,
)  # fmt: skip


def ask(command: Sequence[str], deadline: float = DEADLINE) -> tuple[int, str, str]:
    """Run a command outside of any MPI job; return (code, stdout, stderr), code 124 after the deadline in s."""
    process = subprocess.Popen(
        list(command), env=outside(os.environ), start_new_session=True, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=deadline)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        return 124, "", f"no answer within {deadline:g} s"
    return process.returncode, out, err


def outside(base: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that starts its own MPI, even where this one is a rank of a job."""
    launched = any(
        name in base for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "MPI_LOCALNRANKS")
    )
    kept = {k: v for k, v in base.items() if not (launched and k.startswith(LAUNCHED))}
    return mpi_environment(kept)


def last_line(text: str) -> str:
    """Return the last line with something in it."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" -")]
    return lines[-1] if lines else ""
