"""Questions with a deadline: they leave the job that asks, and nothing of them is left."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from paralift.ask import LATE, ask, first_paragraph, last_line, outside

STRAYS = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], process_group=0)
print(child.pid, flush=True)
time.sleep({seconds})
"""


def alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_an_answer():
    code, out, err = ask([sys.executable, "-c", "import sys; print(1); print(2, file=sys.stderr); sys.exit(3)"])
    assert (code, out, err) == (3, "1\n", "2\n")


def test_a_question_without_an_answer():
    script = "import time; print('began', flush=True); time.sleep(600)"
    assert ask([sys.executable, "-c", script], deadline=2) == (LATE, "began\n", "no answer within 2 s")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="strays are found by /proc")
@pytest.mark.parametrize(("seconds", "expected"), [(0, 0), (600, LATE)], ids=["in time", "late"])
def test_nothing_is_left_not_even_with_a_group_of_its_own(seconds, expected):
    code, out, _ = ask([sys.executable, "-c", STRAYS.format(seconds=seconds)], deadline=5 if seconds else 60)
    assert code == expected and int(out) > 0
    assert not alive(int(out))


def test_questions_leave_the_job_that_asks():
    launched = {"OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "1", "PATH": "/bin"}
    found = outside(launched)
    assert "OMPI_COMM_WORLD_SIZE" not in found and "PMIX_RANK" not in found and found["PATH"] == "/bin"
    assert outside({"OMPI_MCA_pml": "ucx"})["OMPI_MCA_pml"] == "ucx"


def test_another_environment():
    environment = {**os.environ, "ASKED": "yes"}
    assert ask([sys.executable, "-c", "import os; print(os.environ['ASKED'])"], environment=environment)[1] == "yes\n"


def test_lines_that_launchers_frame():
    text = "\n--------\nIt was not\npossible.\n\nLook there.\n--------\n\n"
    assert first_paragraph(text) == "It was not possible." and last_line(text) == "Look there."
    assert first_paragraph("no way  out of here", 12) == "no way ..."
    assert first_paragraph("") == last_line("") == ""
