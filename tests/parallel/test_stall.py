"""The stall watch names what a rank waits for, and ends the job; a rank that is only slow is named, and waited for."""

import textwrap
import time

import pytest

from paralift.exits import STALLED

SCRIPT = """
    import os, signal, sys, time
    import numpy as np
    import paralift as pl
    from mpi4py import MPI

    PIDS = tuple(MPI.COMM_WORLD.allgather(os.getpid()))

    class Stopping(pl.optim.SGD):
        def step(self, *arguments, **more):
            if MPI.COMM_WORLD.Get_rank() == 1 and arguments[4] == 20:
                {act}
            return super().step(*arguments, **more)

    rng = np.random.default_rng(0)
    net = pl.Sequential(pl.Linear(4, 8), pl.ReLU(), pl.Linear(8, 3), pl.Softmax())
    data = rng.standard_normal((640, 4)), rng.integers(0, 3, 640)
    pl.fit(net, data, optimizer=Stopping(0.1), epochs=3, batch_size=8, stages={stages}, plan="counted", progress=False,
           schedule="{schedule}", patience={patience}, out=sys.argv[1])
    print("all done")
"""
STOP = "os.kill(os.getpid(), signal.SIGSTOP)"


def run(launch, tmp_path, **values):
    script = tmp_path / "stopping.py"
    script.write_text(textwrap.dedent(SCRIPT.format(**values)))
    return launch(2, [str(script), str(tmp_path / "run")], deadline=90.0)


@pytest.mark.parametrize(("stages", "schedule"), [(2, "unflushed"), (2, "flush"), (1, "flush")])
def test_a_stopped_rank_is_named_and_the_job_ends(launch, tmp_path, stages, schedule):
    start = time.monotonic()
    outcome = run(launch, tmp_path, stages=stages, schedule=schedule, act=STOP, patience=4)
    assert not outcome.hung and time.monotonic() - start < 60
    assert outcome.code == STALLED
    what = "g of linear1 from rank 1" if stages == 2 else "for the sum of gradients over shards"
    assert "paralift: rank 0" in outcome.output and what in outcome.output
    if stages == 2:
        assert "from rank 1 (training, epoch 1, batch 2" in outcome.output
    log = (tmp_path / "run" / "logs" / "rank-0.log").read_text()
    assert "that is too long, the job is ended" in log


def test_a_slow_rank_is_named_and_waited_for(launch, tmp_path):
    outcome = run(launch, tmp_path, stages=2, schedule="unflushed", act="time.sleep(3)", patience=20)
    assert outcome.code == 0 and outcome.output.count("all done") == 2
    assert "has waited 2" in outcome.output and "from rank 1" in outcome.output


def test_ranks_that_are_suspended_together_go_on(launch, tmp_path):
    """A batch system that suspends a job stops all its ranks: no rank has waited for another meanwhile."""
    suspend = "os.system('(kill -STOP %d %d; sleep 6; kill -CONT %d %d) &' % (PIDS * 2))"
    outcome = run(launch, tmp_path, stages=2, schedule="unflushed", act=suspend, patience=4)
    assert outcome.code == 0 and outcome.output.count("all done") == 2
