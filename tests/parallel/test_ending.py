"""A rank ends by itself where the abort of MPI does not come back."""

import os
import subprocess
import sys

from paralift.exits import NOTICE
from paralift.parallel.ending import GRACE

SCRIPT = """
import ctypes
from paralift.parallel.ending import end_job

class World:
    def Abort(self, code):
        ctypes.PyDLL(None).sleep(600)  # keeps the interpreter's lock, as mpi4py does while a launcher does not answer

end_job(World(), 76)
"""


def test_an_abort_that_hangs(tmp_path):
    environment = {**os.environ, NOTICE: str(tmp_path / "notice")}
    command = [sys.executable, "-c", SCRIPT]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=GRACE + 30)
    assert found.returncode == 1 and "in Abort" in found.stderr
    assert (tmp_path / "notice").read_text() == "76\n"
