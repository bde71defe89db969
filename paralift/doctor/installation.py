"""What is installed: Python, the packages, Numba and its cache, data sets."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from paralift.doctor.check import Check

REQUIRED = ("numpy", "scipy", "numba", "h5py", "rich", "matplotlib", "scikit-learn", "threadpoolctl", "networkx")


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
        return Check("packages", "broken", f"not installed: {', '.join(absent)}", f"pip install {' '.join(absent)}")
    return Check("packages", "ok", ", ".join(versions))


def check_numba() -> Check:
    """Return Numba's version, the threading layers that load, and whether compiled kernels can be kept."""
    import numba

    import paralift.kernels

    layers = []
    for layer, module in (("tbb", "tbbpool"), ("omp", "omppool"), ("workqueue", "workqueue")):
        try:
            importlib.import_module(f"numba.np.ufunc.{module}")
            layers.append(layer)
        except ImportError:
            continue
    loaded = ", ".join(layers) or "none"
    found = f"{numba.__version__}, threading layers {loaded}, {numba.get_num_threads()} threads"
    folder = Path(paralift.kernels.__path__[0])
    if not os.access(folder, os.W_OK) and "NUMBA_CACHE_DIR" not in os.environ:
        way_out = f"{folder} cannot be written: set NUMBA_CACHE_DIR, or every process may compile anew"
        return Check("Numba", "warning", found, way_out)
    return Check("Numba", "ok", found)


def check_data() -> Check:
    """Return what lies in the folder of data sets that are not built in."""
    folder = os.environ.get("PARALIFT_DATA")
    if not folder:
        way_out = "only for mnist() and fashion_mnist() without a folder"
        return Check("data sets", "missing", "PARALIFT_DATA is not set", way_out)
    if not Path(folder).is_dir():
        return Check("data sets", "warning", f"PARALIFT_DATA={folder} is no folder", "name the folder of the data sets")
    names = sorted(path.name for path in Path(folder).iterdir() if path.is_dir())
    return Check("data sets", "ok", f"{folder}: {', '.join(names) or 'empty'}")
