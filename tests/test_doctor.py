"""The doctor: it runs anywhere, and says what is wrong where something is."""

from __future__ import annotations

import io
import json
import sys
from importlib import metadata

import pytest
from rich.console import Console

from paralift import doctor
from paralift.cli import main
from paralift.doctor import Check


def report(monkeypatch, *checks) -> tuple[int, str]:
    """Return the exit code and the table for some checks."""
    monkeypatch.setattr(doctor, "CHECKS", checks)
    text = io.StringIO()
    return doctor.main(Console(file=text, width=200)), text.getvalue()


def test_the_command_says_something_about_everything(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    assert main(["doctor"]) == 0
    table = capsys.readouterr().out
    for what in (
        "Python",
        "packages",
        "cores",
        "BLAS",
        "Numba",
        "HDF5",
        "MPI",
        "launcher",
        "GPU",
        "data sets",
    ):
        assert what in table
    assert sys.executable in table


def test_mpi_and_its_launcher_are_asked_in_processes_of_their_own():
    pytest.importorskip("mpi4py", reason="the MPI extra is not installed")
    before = "mpi4py.MPI" in sys.modules
    mpi, launcher = doctor.check_mpi(), doctor.check_launcher()
    assert mpi.state == "ok" and metadata.version("mpi4py") in mpi.found and "thread level" in mpi.found
    assert launcher.state == "ok" and "2 ranks found each other" in launcher.found
    assert ("mpi4py.MPI" in sys.modules) is before


def test_what_is_broken_gives_code_1(monkeypatch):
    code, text = report(
        monkeypatch, lambda: Check("A", "ok", "fine"), lambda: Check("B", "broken", "no [x]", "mend it")
    )
    assert code == 1
    assert "no [x]" in text and "mend it" in text


@pytest.mark.parametrize("state", ["ok", "warning", "missing"])
def test_what_is_not_broken_gives_code_0(monkeypatch, state):
    assert report(monkeypatch, lambda: Check("A", state, ""))[0] == 0


def test_a_check_that_fails_is_a_line(monkeypatch):
    def check_wheels():
        raise RuntimeError("flat")

    code, text = report(monkeypatch, check_wheels)
    assert code == 1 and "wheels" in text and "RuntimeError: flat" in text and "reinstall" in text


def test_a_package_that_is_not_there(monkeypatch):
    monkeypatch.setattr(doctor, "REQUIRED", ("numpy", "no-such-package"))
    check = doctor.check_packages()
    assert check.state == "broken" and check.way_out == "pip install no-such-package"


def test_a_pinned_kernel_is_a_warning(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    check = doctor.check_blas()
    assert (
        check.state == "warning"
        and "OPENBLAS_CORETYPE=Haswell" in check.found
        and "unset it" in check.way_out
    )
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    assert doctor.check_blas().state == "ok"


def test_a_cache_that_cannot_be_written(monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    check = doctor.check_numba()
    assert check.state == "warning" and "set NUMBA_CACHE_DIR" in check.way_out


def answering(monkeypatch, code: int, out: str = "", err: str = "") -> None:
    monkeypatch.setattr(doctor, "ask", lambda command: (code, out, err))


def test_without_mpi(monkeypatch):
    answering(monkeypatch, 1, err="RuntimeError: cannot load MPI library\n")
    check = doctor.check_mpi()
    assert (
        check.state == "warning"
        and "cannot load MPI library" in check.found
        and "paralift[mpi]" in check.way_out
    )

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert doctor.check_mpi().state == "missing"


def test_a_launcher_of_another_mpi(monkeypatch):
    monkeypatch.setattr(doctor, "mpirun_command", lambda n: ["mpirun", "-n", str(n)])
    answering(monkeypatch, 0, out="1\n1\n")
    check = doctor.check_launcher()
    assert check.state == "warning" and "compare mpi4py's MPI" in check.way_out


def test_without_a_launcher(monkeypatch):
    def absent(n):
        raise doctor.LaunchError("no MPI launcher")

    monkeypatch.setattr(doctor, "mpirun_command", absent)
    assert doctor.check_launcher().state == "missing"


DEVICE = {"cupy": "14.2", "nvrtc": "13.0", "devices": ["H200, 140 GiB"]}
NO_DEVICE = {"cupy": "14.2", "nvrtc": "13.0", "devices": [], "error": "insufficient driver"}
GPU = {
    "absent": ((1, "", "ModuleNotFoundError: No module named 'cupy'"), "missing", "CuPy is not installed"),
    "device": ((0, json.dumps(DEVICE), ""), "ok", "CuPy 14.2, NVRTC 13.0; H200, 140 GiB"),
    "no device": ((0, json.dumps(NO_DEVICE), ""), "warning", "no device: insufficient driver"),
}


@pytest.mark.parametrize(("answer", "state", "found"), GPU.values(), ids=GPU)
def test_gpu(monkeypatch, answer, state, found):
    answering(monkeypatch, *answer)
    check = doctor.check_gpu()
    assert check.state == state and found in check.found


def test_a_gpu_whose_cupy_does_not_work(monkeypatch):
    answering(monkeypatch, 1, err="ImportError: libnvrtc.so.13\n")
    monkeypatch.setattr(doctor.Path, "exists", lambda self: True)
    check = doctor.check_gpu()
    assert check.state == "warning" and "libnvrtc.so.13" in check.found and "paralift[gpu]" in check.way_out


def test_the_folder_of_data_sets(monkeypatch, tmp_path):
    monkeypatch.delenv("PARALIFT_DATA", raising=False)
    assert doctor.check_data().state == "missing"
    monkeypatch.setenv("PARALIFT_DATA", str(tmp_path / "none"))
    assert doctor.check_data().state == "warning"
    (tmp_path / "mnist").mkdir()
    monkeypatch.setenv("PARALIFT_DATA", str(tmp_path))
    assert doctor.check_data() == Check("data sets", "ok", f"{tmp_path}: mnist")


def test_a_question_without_an_answer():
    code, out, err = doctor.ask([sys.executable, "-c", "import time; time.sleep(60)"], deadline=0.5)
    assert (code, out) == (124, "") and err == "no answer within 0.5 s"


def test_questions_leave_the_job_that_asks():
    launched = {"OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "1", "PATH": "/bin"}
    found = doctor.outside(launched)
    assert "OMPI_COMM_WORLD_SIZE" not in found and "PMIX_RANK" not in found and found["PATH"] == "/bin"
    assert doctor.outside({"OMPI_MCA_pml": "ucx"})["OMPI_MCA_pml"] == "ucx"
