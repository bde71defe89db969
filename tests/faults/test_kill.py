"""kill -9 of a random rank at a random moment: no hang, no checkpoint lost, and the rest of the run as if nothing had been."""

import os
import random
import signal
import sys
import time

import victim

from jobs import PLANS, WAIT, end, expect_undisturbed, output, processes, random_moment, start
from paralift.training import checkpoints

LIMIT = 10.0
"""Seconds in which a job must end whose rank was killed."""


def once(seed, folder, undisturbed):
    """Kill a run and finish it on other ranks; return the seconds until the job had ended, None if it was done before."""
    draw = random.Random(seed)
    method, (ranks, stages), (others, other_stages) = draw.choice(list(victim.METHODS)), draw.choice(PLANS), draw.choice(PLANS)
    out = folder / f"run-{seed}"
    process = start(ranks, method, stages, out)
    try:
        numbers = processes(out, ranks)
        random_moment(out, draw, process)
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
    newest = checkpoints.attributes_of(checkpoints.latest(out)) if checkpoints.all_of(out) else {"epoch": 0, "batch": 0}
    process = start(others, method, other_stages, out, "auto")
    try:
        process.wait(WAIT)
    finally:
        end(process)
    assert process.returncode == 0, output(out, "auto").read_text()
    expect_undisturbed(out, undisturbed(method), f"{method} on {ranks} ranks, then {others}, seed {seed}")
    log = (out / "logs" / "rank-0.log").read_text()
    assert f"from epoch {newest['epoch'] + 1}, batch {newest['batch'] + 1}" in log
    return seconds


def test_kill(rounds, tmp_path, undisturbed):
    seconds = [once(seed, tmp_path, undisturbed) for seed in range(rounds)]
    killed = [s for s in seconds if s is not None]
    assert killed, "the moments were all too late"
    print(f"{len(killed)} of {rounds} killed, ended after {max(killed):.2f} s at most", file=sys.stderr)
