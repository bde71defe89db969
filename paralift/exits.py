"""How runs end: exit codes beside 0 (done), 1 (failed) and 2 (a mistake in what was given); and a notice."""

from __future__ import annotations

import os
from pathlib import Path

STOPPED = 75
"""Stopped by a signal, after a checkpoint: start it again with ``--resume auto``."""
STALLED = 76
"""Ended by the stall watch: a rank waited too long for another."""
INTERRUPTED = 130
"""Ended by Ctrl-C."""
NOTICE = "PARALIFT_NOTICE"
"""Variable with the file in which a rank that gives the job up leaves its exit code, for `run`."""
WORD = ".heard"
"""What is added to that for the file in which every rank leaves a line as soon as signals do not kill it."""


def leave_notice(code: int) -> None:
    """Tell `run`, if it started this job on this machine, that a rank ends the job with an exit code."""
    path = os.environ.get(NOTICE)
    if path is None:
        return
    try:
        Path(path).write_text(f"{code}\n")
    except OSError:  # another machine, or `run` has ended
        pass


def leave_word() -> None:
    """Tell `run`, if it started this job on this machine, that signals are wishes to this rank from now on."""
    path = os.environ.get(NOTICE)
    if path is None:
        return
    try:
        with open(path + WORD, "ab", buffering=0) as file:
            file.write(b"\n")  # appended in one piece, whoever else writes
    except OSError:  # as above
        pass
