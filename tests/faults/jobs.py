"""Jobs of `victim.py`: started, watched from outside, compared at their end."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import victim

from paralift.launch import clear_session, mpi_environment, mpirun_command

WAIT = 60.0
YIELD = {"OMPI_MCA_mpi_yield_when_idle": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
PLANS = [(2, 2), (2, 1), (3, 3), (4, 2), (4, 4)]
"""Ranks and stages."""


def start(ranks, method, stages, out, resume="", survive=False):
    """Start a job whose output goes to a file beside its folder: a pipe would be held open by what a kill leaves."""
    script = [str(Path(victim.__file__)), method, str(stages), str(out), resume, "yes" if survive else "no"]
    command = [*mpirun_command(ranks, survive), *script]
    environment = mpi_environment({**os.environ, **YIELD})
    with output(out, resume).open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)


def output(out, resume=""):
    return Path(f"{out}.{resume or 'first'}.txt")


def end(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    clear_session(process.pid)


def processes(out, ranks):
    """Return the process numbers of all ranks, from their logbooks, as soon as all are there."""
    begin = time.monotonic()
    while time.monotonic() - begin < WAIT:
        logs = [out / "logs" / f"rank-{rank}.log" for rank in range(ranks)]
        found = [re.search(r"process (\d+) on", log.read_text()) for log in logs if log.is_file()]
        if len(found) == ranks and all(found):
            return [int(match[1]) for match in found]
        time.sleep(0.01)
    raise AssertionError(f"the ranks did not start: {output(out).read_text()}")


def random_moment(out, draw, process):
    """Wait for a random epoch, and then for a random part of one; the first takes longest, with all that is made anew."""
    epochs, begin = draw.randrange(victim.EPOCHS), time.monotonic()
    while process.poll() is None and time.monotonic() - begin < WAIT:
        if (out / "metrics.jsonl").read_text().count("\n") >= epochs:
            break
        time.sleep(0.005)
    time.sleep(draw.uniform(0.0, 0.8 if epochs == 0 else 0.15))


def expect_undisturbed(out, expected, what):
    """Compare what every rank that came to the end found with the parameters of a run that nobody disturbed."""
    finals = list(out.glob("final-*.npz"))
    assert finals, f"nobody came to the end of {what}:\n{output(out).read_text(errors='replace')}"
    for path in finals:
        with np.load(path) as final:
            for name, array in expected.items():
                error = np.linalg.norm(final[name] - array) / np.linalg.norm(array)
                assert error < 1e-10, f"{name} of {what}: {error}"
