"""Packages, Numba, HDF5, GPU, data sets, MPI and its launchers: each there, and not."""

from __future__ import annotations

import json
import os
import sys
from importlib import metadata
from pathlib import Path

import pytest

from paralift.doctor import gpu, hdf5, installation, mpi
from paralift.doctor.check import Check
from paralift.launch import LaunchError


def test_a_package_that_is_not_there(monkeypatch):
    assert installation.check_packages().state == "ok"
    monkeypatch.setattr(installation, "REQUIRED", ("numpy", "no-such-package"))
    check = installation.check_packages()
    assert check.state == "broken" and check.way_out == "pip install no-such-package"


def test_a_cache_that_cannot_be_written(monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    check = installation.check_numba()
    assert check.state == "warning" and "set NUMBA_CACHE_DIR" in check.way_out
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/tmp")
    assert installation.check_numba().state == "ok"


def test_the_folder_of_data_sets(monkeypatch, tmp_path):
    monkeypatch.delenv("PARALIFT_DATA", raising=False)
    assert installation.check_data().state == "missing"
    monkeypatch.setenv("PARALIFT_DATA", str(tmp_path / "none"))
    assert installation.check_data().state == "warning"
    (tmp_path / "mnist").mkdir()
    monkeypatch.setenv("PARALIFT_DATA", str(tmp_path))
    assert installation.check_data() == Check("data sets", "ok", f"{tmp_path}: mnist")


def answering(monkeypatch, module, code: int, out: str = "", err: str = "") -> None:
    monkeypatch.setattr(module, "ask", lambda *_: (code, out, err))


@pytest.mark.parametrize(("parallel", "word"), [(True, "parallel"), (False, "serial")])
def test_hdf5(monkeypatch, parallel, word):
    answering(monkeypatch, hdf5, 0, json.dumps({"h5py": "3.16.0", "hdf5": "2.0.0", "parallel": parallel}))
    check = hdf5.check_hdf5()
    assert check.state == "ok" and f"h5py 3.16.0, HDF5 2.0.0, {word}" in check.found


def test_hdf5_that_does_not_load(monkeypatch):
    answering(monkeypatch, hdf5, 1, err="ImportError: libhdf5.so.310: cannot open\n")
    check = hdf5.check_hdf5()
    assert check.state == "broken" and "libhdf5.so.310" in check.found and "h5py" in check.way_out


DEVICE = {"cupy": "14.2", "nvrtc": "13.0", "devices": ["H200, 140 GiB"]}
NO_DEVICE = {"cupy": "14.2", "nvrtc": "13.0", "devices": [], "error": "insufficient driver"}
GPU = {
    "absent": ((1, "", "ModuleNotFoundError: No module named 'cupy'"), "missing", "CuPy is not installed"),
    "device": ((0, json.dumps(DEVICE), ""), "ok", "CuPy 14.2, NVRTC 13.0; H200, 140 GiB"),
    "no device": ((0, json.dumps(NO_DEVICE), ""), "warning", "no device: insufficient driver"),
}


@pytest.mark.parametrize(("answer", "state", "found"), GPU.values(), ids=GPU)
def test_gpu(monkeypatch, answer, state, found):
    answering(monkeypatch, gpu, *answer)
    check = gpu.check_gpu()
    assert check.state == state and found in check.found


def test_a_gpu_whose_cupy_does_not_work(monkeypatch):
    answering(monkeypatch, gpu, 1, err="ImportError: libnvrtc.so.13\n")
    monkeypatch.setattr(Path, "exists", lambda self: True)
    check = gpu.check_gpu()
    assert check.state == "warning" and "libnvrtc.so.13" in check.found and "paralift[gpu]" in check.way_out


KNOWN = {"mpi4py": "4.1.2", "vendor": "Open MPI 5.0.11", "library": "/lib/libmpi.so.40", "threads": "multiple"}


def test_mpi(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "4.1.2")
    answering(monkeypatch, mpi, 0, json.dumps(KNOWN))
    check = mpi.check_mpi()
    assert check == Check("MPI", "ok", "mpi4py 4.1.2, Open MPI 5.0.11 (/lib/libmpi.so.40), thread level multiple")
    answering(monkeypatch, mpi, 0, json.dumps({**KNOWN, "threads": "single"}))
    check = mpi.check_mpi()
    assert check.state == "warning" and "unset MPI4PY_RC_THREAD_LEVEL" in check.way_out


def test_without_mpi(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "4.1.2")
    answering(monkeypatch, mpi, 1, err="RuntimeError: cannot load MPI library\n")
    check = mpi.check_mpi()
    assert check.state == "warning" and "cannot load MPI library" in check.found and "paralift[mpi]" in check.way_out

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert mpi.check_mpi().state == "missing"


def test_the_launcher_beside_this_python(monkeypatch):
    monkeypatch.setattr(mpi, "mpirun_command", lambda n: ["mpirun", "-n", str(n)])
    answering(monkeypatch, mpi, 0, out="2\n")
    assert mpi.check_launcher().state == "ok"
    answering(monkeypatch, mpi, 0, out="1\n1\n")
    check = mpi.check_launcher()
    assert check.state == "warning" and "each is alone" in check.found and "compare mpi4py's MPI" in check.way_out


def no_launcher(n, survive=False):
    raise LaunchError("no MPI launcher")


def test_without_a_launcher(monkeypatch):
    monkeypatch.setattr(mpi, "mpirun_command", no_launcher)
    assert mpi.check_launcher().state == "missing"
    assert mpi.check_ulfm().state == "missing"


@pytest.fixture
def system_mpirun(monkeypatch, tmp_path):
    """Put a launcher on PATH that starts each rank for itself, as another MPI's does."""
    script = tmp_path / "mpirun"
    script.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "mpirun (Another MPI) 1.2" && exit\necho 1; echo 1\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return script


def test_another_launcher_on_path(system_mpirun):
    check = mpi.check_path()
    assert check.state == "warning" and f"{system_mpirun} (mpirun (Another MPI) 1.2)" in check.found
    assert "each is alone" in check.found and "paralift run -n N" in check.way_out
    system_mpirun.write_text("#!/bin/sh\necho 2\n")
    assert mpi.check_path().state == "ok"


def test_the_own_launcher_or_none_on_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    check = mpi.check_path()
    assert check.state == "ok" and check.found.startswith("none")
    beside = tmp_path / "mpirun"
    beside.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert mpi.check_path() == Check("mpirun on PATH", "ok", "the one beside this Python")


def test_ulfm_in_the_table(monkeypatch):
    monkeypatch.setattr(mpi, "mpirun_command", lambda n, survive: ["mpirun", "--with-ft", "ulfm", "-n", str(n)])
    monkeypatch.setattr(mpi.ulfm, "works", lambda: "")
    assert mpi.check_ulfm().state == "ok"
    monkeypatch.setattr(mpi.ulfm, "works", lambda: "the job hung")
    check = mpi.check_ulfm()
    assert check.state == "missing" and "the job hung" in check.found and "--resume auto" in check.way_out
