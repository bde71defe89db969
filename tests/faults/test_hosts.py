"""Two hosts, one rank each: a cut link, a slow one, a stopped rank on the other host.

A cut link raises nothing in MPI: the stall watch must name who waits for whom, and end the run on both hosts.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import crossing
import hosts
import numpy as np
import pytest

from paralift.exits import STALLED
from paralift.launch import mpirun_command

METHODS = ["flush", "unflushed", "halo"]
WIDTH = 32
PATIENCE, CALM = 4.0, 40.0
"""Seconds that ranks wait: with a fault that stays, with none."""
LIMIT = 20.0
"""Seconds after the patience until a run that does not end counts as hanging."""
WAIT = 60.0
ENDLESS = 100_000
DELAY, RATE = 1e-3, 12.5e6
RUN = "import os, sys; from paralift.launch import run; sys.exit(run(sys.argv[1:], os.environ))"
WIDE = 512
"""Width at which a message of a micro-batch only leaves once the receiver asks for it."""
NAMED = r"has waited [\d.]+ s for (\w of linear2 (from|to reach)|a sum over .+, with|an agreement with) rank {other} \("
"""What a rank says of the other one; the middle of the pipeline lies behind linear2."""


def long(*values):
    return pytest.param(*values, marks=pytest.mark.long)


FEW = [("flush", WIDTH), *(long(method, WIDTH) for method in METHODS if method != "flush")]
"""All methods; one of them in the short form."""


@pytest.fixture
def two_hosts(tmp_path):
    lacking = hosts.lacking()
    if lacking:
        pytest.skip(f"no namespaces for two hosts: {lacking}")
    with hosts.two_hosts(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def known():
    return {}


@pytest.fixture
def undisturbed(launch, tmp_path, known):
    """Parameters after two epochs on one host; everything is compiled then, so that no rank waits for a compiler."""

    def of(method):
        if method not in known:
            out = tmp_path / "undisturbed"
            outcome = launch(2, [crossing.__file__, method, str(WIDTH), "2", str(CALM), str(out)], deadline=WAIT)
            assert outcome.code == 0, outcome.output
            known[method] = final(out)
        return known[method]

    return of


def final(out):
    with np.load(out / "final.npz") as file:
        return {name: file[name] for name in file.files if name != "seconds"}


def seconds_of_a_step(out):
    with np.load(out / "final.npz") as file:
        return float(np.median(file["seconds"]))


class Job:
    """A run on two hosts, started on the first as a user does."""

    def __init__(self, where, method, epochs, patience, out, width=WIDTH):
        self.where, self.out, self.screen = where, out, Path(f"{out}.txt")
        ranks = [*mpirun_command(2), crossing.__file__, method, str(width), str(epochs), str(patience), str(out)]
        command = [*where.inside(0), sys.executable, "-c", RUN, *ranks]
        with self.screen.open("wb") as screen:  # no pipe: what hangs on the other host would hold it open
            self.process = subprocess.Popen(command, env=where.environment(), stdout=screen, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()

    def trains(self):
        """Wait until an epoch is done."""
        metrics, begin = self.out / "metrics.jsonl", time.monotonic()
        while not (metrics.is_file() and metrics.read_text()):
            assert time.monotonic() - begin < WAIT and self.process.poll() is None, self.said()
            time.sleep(0.02)

    def ends(self, seconds):
        """Return the exit code, once there is one and no rank is left on either host."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the run hangs: {self.said()}") from None
        begin = time.monotonic()
        while self.where.ranks(0) or self.where.ranks(1):
            assert time.monotonic() - begin < WAIT, "a rank is left"
            time.sleep(0.05)
        return code

    def said(self):
        return self.screen.read_text(errors="replace")

    def log(self, rank):
        return (self.out / "logs" / f"rank-{rank}.log").read_text()

    def error(self, rank):
        """Return the line by which a rank gave up."""
        return next(line for line in self.log(rank).splitlines() if " ERROR " in line)


@pytest.mark.long
def test_ranks_meet_over_the_network(two_hosts, tmp_path, undisturbed):
    expected = undisturbed("flush")
    with Job(two_hosts, "flush", 2, CALM, tmp_path / "run") as job:
        assert job.ends(WAIT) == 0, job.said()
    arrays = 2 * crossing.BATCHES * 2 * crossing.BATCH * WIDTH * 8  # x up and g down, in float64
    assert two_hosts.traffic(0) > arrays
    assert [re.search(r"process \d+ on (\S+),", job.log(rank))[1] for rank in (0, 1)] == ["paralift-0", "paralift-1"]
    assert same(final(job.out), expected)


@pytest.mark.parametrize(("method", "width"), FEW + [long("unflushed", WIDE)])
def test_a_cut_link_is_named_and_ends_the_run(two_hosts, tmp_path, undisturbed, method, width):
    undisturbed(method)
    with Job(two_hosts, method, ENDLESS, PATIENCE, tmp_path / "run", width) as job:
        job.trains()
        two_hosts.cut()
        assert job.ends(PATIENCE + LIMIT) == STALLED, job.said()
    for rank in (0, 1):  # the second one's words do not cross the link: they are in its logbook
        assert re.search(NAMED.format(other=1 - rank), job.error(rank)), job.error(rank)
        assert "that is too long, the job is ended" in job.error(rank)
    assert "paralift: rank 0 (shard 0, stage 0): has waited" in job.said()


@pytest.mark.parametrize("method", ["unflushed", *(long(m) for m in METHODS if m != "unflushed")])
def test_a_stopped_rank_on_the_other_host_is_named_and_ends_the_run(two_hosts, tmp_path, undisturbed, method):
    undisturbed(method)
    with Job(two_hosts, method, ENDLESS, PATIENCE, tmp_path / "run") as job:
        job.trains()
        (stopped,) = two_hosts.ranks(1)
        os.kill(stopped, signal.SIGSTOP)
        assert job.ends(PATIENCE + LIMIT) == STALLED, job.said()
    assert re.search(NAMED.format(other=1), job.error(0)), job.error(0)
    assert " ERROR " not in job.log(1)


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_a_slow_link_changes_nothing_but_the_time(two_hosts, tmp_path, undisturbed, method):
    expected = undisturbed(method)
    two_hosts.slow(DELAY, RATE)
    with Job(two_hosts, method, 2, CALM, tmp_path / "run") as job:
        assert job.ends(WAIT) == 0, job.said()
    assert same(final(job.out), expected)
    seconds = seconds_of_a_step(job.out)
    assert method == "unflushed" or seconds > 2 * DELAY  # up and down again in each step: the link really was slow
    print(f"{method}: {1e3 * seconds:.2f} ms a step over the slow link", file=sys.stderr)


@pytest.mark.long
def test_a_link_that_comes_back_is_waited_for(two_hosts, tmp_path, undisturbed):
    expected = undisturbed("flush")
    with Job(two_hosts, "flush", 2, CALM, tmp_path / "run") as job:
        job.trains()
        two_hosts.cut()
        time.sleep(1.0)
        two_hosts.restore()
        assert job.ends(WAIT) == 0, job.said()
    assert same(final(job.out), expected)


def same(found, expected):
    """Return whether two sets of parameters have the same bits."""
    return found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in expected)
