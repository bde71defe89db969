"""Print what `test_hosts` looks at, in seconds: python tests/faults/hosts_table.py [ROUNDS], as root on Linux."""

import os
import signal
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import hosts
import test_hosts
from test_hosts import CALM, DELAY, ENDLESS, LIMIT, METHODS, PATIENCE, RATE, Job


def said(job, rank, level, begin):
    """Return when a rank wrote its last line of a level, in seconds after a moment."""
    line = [line for line in job.log(rank).splitlines() if f" {level} has waited" in line][-1]
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp() - begin


def fault(method, act):
    """Return the seconds from a fault to the warning and to the error of the first rank, and to the end of the run."""
    with tempfile.TemporaryDirectory() as name, hosts.two_hosts(Path(name)) as two:
        with Job(two, method, ENDLESS, PATIENCE, Path(name, "run")) as job:
            job.trains()
            begin = time.time()
            act(two)
            job.ends(PATIENCE + LIMIT)
            end = time.time() - begin
            return said(job, 0, "WARNING", begin), said(job, 0, "ERROR", begin), end


def step(method, width, slow):
    """Return the seconds of a step, the median of two epochs."""
    with tempfile.TemporaryDirectory() as name, hosts.two_hosts(Path(name)) as two:
        if slow:
            two.slow(DELAY, RATE)
        with Job(two, method, 2, CALM, Path(name, "run"), width) as job:
            assert job.ends(4 * CALM) == 0, job.said()
            return test_hosts.seconds_of_a_step(job.out)


def cut(two):
    two.cut()


def stop(two):
    os.kill(two.ranks(1)[0], signal.SIGSTOP)


def shown(values):
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def main(rounds=3):
    print(f"Patience {PATIENCE:g} s, {rounds} rounds: median (smallest to largest) seconds after the fault\n")
    print("| fault | method | warning | error | end of the run |\n|---|---|---|---|---|")
    for act in (cut, stop):
        for method in METHODS:
            columns = zip(*(fault(method, act) for _ in range(rounds)), strict=True)
            print(f"| {act.__name__} | {method} | " + " | ".join(map(shown, columns)) + " |", flush=True)
    print(f"\nSlow: {1e3 * DELAY:g} ms and {RATE / 1e6:g} MB/s; milliseconds a step\n")
    print("| method | width | fast | slow |\n|---|---|---|---|")
    for method in METHODS:
        for width in (test_hosts.WIDTH, test_hosts.WIDE):
            pairs = [[1e3 * step(method, width, slow) for slow in (False, True)] for _ in range(rounds)]
            print(f"| {method} | {width} | " + " | ".join(map(shown, zip(*pairs, strict=True))) + " |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
