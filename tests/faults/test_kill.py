"""kill -9 of a random rank at a random moment: no hang, no checkpoint lost, and the rest of the run as if nothing had been."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import victim

from paralift.launch import mpi_environment, mpirun_command
from paralift.training import checkpoints

LIMIT = 10.0
"""Seconds in which a job must end whose rank was killed."""
WAIT = 60.0
YIELD = {"OMPI_MCA_mpi_yield_when_idle": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
PLANS = [(2, 2), (2, 1), (3, 3), (4, 2), (4, 4)]
"""Ranks and stages."""


def start(ranks, method, stages, out, resume):
    command = [*mpirun_command(ranks), str(Path(victim.__file__)), method, str(stages), str(out), resume]
    environment = mpi_environment({**os.environ, **YIELD})
    with (Path(f"{out}.{resume or 'first'}.txt")).open("wb") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)


def end(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def processes(out, ranks):
    """Return the process numbers of all ranks, from their logbooks, as soon as all are there."""
    begin = time.monotonic()
    while time.monotonic() - begin < WAIT:
        logs = [out / "logs" / f"rank-{rank}.log" for rank in range(ranks)]
        found = [re.search(r"process (\d+) on", log.read_text()) for log in logs if log.is_file()]
        if len(found) == ranks and all(found):
            return [int(match[1]) for match in found]
        time.sleep(0.01)
    raise AssertionError(f"the ranks did not start: {Path(f'{out}.first.txt').read_text()}")


@pytest.fixture(scope="module")
def undisturbed():
    """Parameters of runs that nobody disturbed, on one rank."""
    found = {}

    def of(method):
        if method not in found:
            params = victim.train(method, None, 1).params
            found[method] = {f"{b}/{k}": a for b, arrays in params.items() for k, a in arrays.items()}
        return found[method]

    return of


def once(seed, folder, undisturbed):
    """Kill a run and finish it on other ranks; return the seconds until the job had ended, None if it was done before."""
    draw = random.Random(seed)
    method, (ranks, stages), (others, other_stages) = draw.choice(list(victim.METHODS)), draw.choice(PLANS), draw.choice(PLANS)
    out = folder / f"run-{seed}"
    process = start(ranks, method, stages, out, "")
    try:
        numbers = processes(out, ranks)
        time.sleep(draw.uniform(0.0, 1.2))
        seconds = None
        if process.poll() is None:
            os.kill(draw.choice(numbers), signal.SIGKILL)
            begin = time.monotonic()
            process.wait(LIMIT)
            seconds = time.monotonic() - begin
    finally:
        end(process)
    damaged = [text for text in map(checkpoints.intact, checkpoints.all_of(out)) if text]
    assert not damaged, "every checkpoint that has its name is whole"
    before = checkpoints.all_of(out)
    process = start(others, method, other_stages, out, "auto")
    try:
        process.wait(WAIT)
    finally:
        end(process)
    text = Path(f"{out}.auto.txt").read_text()
    assert process.returncode == 0, text
    with np.load(out / "final.npz") as final:
        for name, expected in undisturbed(method).items():
            error = np.linalg.norm(final[name] - expected) / np.linalg.norm(expected)
            assert error < 1e-10, f"{name} of {method} on {ranks} ranks, then {others}: {error}"
    started = f"goes on from {before[-1]}" if before else "from epoch 1, batch 1"
    assert started in (out / "logs" / "rank-0.log").read_text()
    return seconds


def test_kill(rounds, tmp_path, undisturbed):
    seconds = [once(seed, tmp_path, undisturbed) for seed in range(rounds)]
    killed = [s for s in seconds if s is not None]
    assert killed, "the moments were all too late"
    print(f"{len(killed)} of {rounds} killed, ended after {max(killed):.2f} s at most", file=sys.stderr)
