"""The doctor as a whole: it runs anywhere, and says what is wrong where something is."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from rich.console import Console

from paralift import doctor
from paralift.doctor import Check, table

SUBJECTS = (
    "Python", "packages", "cores", "BLAS", "Numba", "HDF5", "MPI", "launcher", "mpirun on PATH", "ULFM", "binding",
    "shared memory", "GPU", "limits", "locale", "data sets", "folder",
)  # fmt: skip


def report(monkeypatch, *checks, **options) -> tuple[int, str]:
    """Return the exit code and the table for some checks."""
    monkeypatch.setattr(table, "CHECKS", checks)
    monkeypatch.setattr(table, "check_folder", lambda folder: Check("folder", "ok", str(folder)))
    text = io.StringIO()
    return doctor.main(Console(file=text, width=200), **options), text.getvalue()


def test_the_command_says_something_about_everything(tmp_path):
    command = [sys.executable, "-m", "paralift", "doctor", "--json", "--out", str(tmp_path / "runs" / "mine")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    checks = {check["what"]: check for check in found["checks"]}
    assert tuple(checks) == SUBJECTS
    assert found["code"] == 0 and found["seconds"] > 0 and found["paralift"]
    assert sys.executable in checks["Python"]["found"]
    assert str(tmp_path) in checks["folder"]["found"]
    assert all(check["way_out"] for check in checks.values() if check["state"] != "ok")
    assert list(tmp_path.iterdir()) == []  # a folder that is named is not made, and nothing is left


@pytest.mark.skipif(sys.platform != "linux", reason="ranks are found by /proc")
def test_a_rank_of_a_job_may_ask(launch):
    found = launch(2, ["-m", "paralift", "doctor", "--json"], deadline=240)
    assert not found.hung and found.code == 0, found.output
    lines = [line for line in found.output.splitlines() if line.startswith("{")]
    checks = {check["what"]: check for check in json.loads(lines[0])["checks"]}
    assert len(lines) == 1 and "2 ranks found each other" in checks["launcher"]["found"]


def test_the_table_shows_what_hurts(monkeypatch):
    code, text = report(monkeypatch, lambda: Check("A", "warning", "slow [x]", "mend it"), folder="there")
    assert code == 0
    assert "slow [x]" in text and "mend it" in text and "there" in text


def test_what_is_broken_gives_code_1(monkeypatch):
    checks = (lambda: Check("A", "ok", "fine"), lambda: Check("B", "broken", "gone", "mend it"))
    assert report(monkeypatch, *checks)[0] == 1
    code, text = report(monkeypatch, *checks, as_json=True)
    found = json.loads(text)
    assert code == found["code"] == 1
    assert found["checks"][1] == {"what": "B", "state": "broken", "found": "gone", "way_out": "mend it"}


@pytest.mark.parametrize("state", ["ok", "warning", "missing"])
def test_what_is_not_broken_gives_code_0(monkeypatch, state):
    assert report(monkeypatch, lambda: Check("A", state, ""))[0] == 0


def test_a_check_that_fails_is_a_line(monkeypatch):
    def check_wheels():
        raise RuntimeError("flat")

    code, text = report(monkeypatch, check_wheels)
    assert code == 1 and "wheels" in text and "RuntimeError: flat" in text and "reinstall" in text


def test_mpi_is_never_started_in_the_doctor_itself():
    asked = "from paralift.doctor import mpi, hdf5; mpi.check_mpi(); hdf5.check_hdf5()"
    script = f"import sys; {asked}; sys.exit('mpi4py.MPI' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=120).returncode == 0
