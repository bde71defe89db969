"""One run at a time in a folder; the lock ends with its process."""

import subprocess
import sys

import pytest

from paralift.training.lock import FolderLock

HOLD = """
import sys
from pathlib import Path
from paralift.training.lock import FolderLock
held = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_run_is_refused_until_the_first_is_dead(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"in use by another run .process {process.pid} on .*name another folder"):
            FolderLock(tmp_path)
    finally:
        process.kill()
        process.communicate()
    FolderLock(tmp_path).free()


def test_it_may_be_taken_again_after_it_was_given_back(tmp_path):
    for _ in range(2):
        FolderLock(tmp_path).free()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        FolderLock(tmp_path / "none")
