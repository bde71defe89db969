"""An exception on each rank in turn at each phase, signals and Ctrl-C: exit codes, what is said, and that nothing is left."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from paralift.exits import STALLED, STOPPED
from paralift.launch import mpi_environment
from paralift.training import checkpoints

SCRIPT = """
    import sys
    import numpy as np
    import paralift as pl
    from mpi4py import MPI
    from paralift.training import checkpoints, run, worker

    def fail(*arguments, **more):
        raise KeyError("here")

    class Failing(pl.optim.SGD):
        def step(self, *arguments, **more):
            if arguments[4] == 30:
                fail()
            super().step(*arguments, **more)

    rule = pl.optim.SGD(0.1)
    if MPI.COMM_WORLD.Get_rank() == {rank}:
        if "{phase}" == "buffers":
            worker.OptimizerStep = fail
        elif "{phase}" == "training":
            rule = Failing(0.1)
        elif "{phase}" == "evaluation":
            worker.Worker.evaluate = fail
        elif "{phase}" == "checkpoint":
            checkpoints.Writing.write = fail
        elif "{phase}" == "result":
            worker.Worker.params = fail
    rng = np.random.default_rng(0)
    net = pl.Sequential(pl.Linear(4, 8), pl.ReLU(), pl.Linear(8, 3), pl.Softmax())
    data = rng.standard_normal((160, 4)), rng.integers(0, 3, 160)
    settings = dict(stages=2, plan="counted", progress=False, out=sys.argv[1], patience=60)
    pl.fit(net, data, optimizer=rule, epochs=3, batch_size=8, **settings)
"""
PHASES = {
    "buffers": "the start, reading data and making buffers",
    "training": "training, epoch 2, batch",
    "evaluation": "the evaluation after epoch 1",
    "checkpoint": "writing the checkpoint of epoch 1, batch 0",
    "result": "the evaluation after epoch 3",
}


@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("phase", PHASES)
def test_an_exception(launch, tmp_path, phase, rank):
    script, out = tmp_path / "failing.py", tmp_path / "run"
    script.write_text(textwrap.dedent(SCRIPT.format(phase=phase, rank=rank)))
    begin = time.monotonic()
    outcome = launch(2, [str(script), str(out)], deadline=60.0)
    print(f"{phase}, rank {rank}: code {outcome.code} after {time.monotonic() - begin:.2f} s", file=sys.stderr)
    assert not outcome.hung and outcome.code == 1
    assert f"rank {rank} (shard 0, stage {rank}) failed in {PHASES[phase]}" in outcome.output
    assert "KeyError: 'here'" in outcome.output
    assert not [text for text in map(checkpoints.intact, checkpoints.all_of(out)) if text]


STOPPED_SCRIPT = """
    import os, signal, sys
    import numpy as np
    import paralift as pl
    from mpi4py import MPI
    from paralift.parallel import {module}

    if MPI.COMM_WORLD.Get_rank() == 1:
        {module}.{function} = lambda *arguments: os.kill(os.getpid(), signal.SIGSTOP)
    rng = np.random.default_rng(0)
    net = pl.Sequential(pl.Linear(4, 8), pl.ReLU(), pl.Linear(8, 3), pl.Softmax())
    pl.fit(net, (rng.standard_normal((160, 4)), rng.integers(0, 3, 160)), progress=False, patience=3)
"""
MEASURING = {
    ("measure", "measure_here"): "an agreement with rank 1",
    ("links", "_pair"): "a message of rank 1",
    ("links", "_sum"): "a sum over all ranks",
}


@pytest.mark.parametrize("where", [next(iter(MEASURING)), *(pytest.param(k, marks=pytest.mark.long) for k in [*MEASURING][1:])])
def test_a_rank_that_is_stopped_while_the_plan_is_measured(launch, tmp_path, where):
    script = tmp_path / "stopped.py"
    script.write_text(textwrap.dedent(STOPPED_SCRIPT.format(module=where[0], function=where[1])))
    begin = time.monotonic()
    outcome = launch(2, [str(script)], deadline=60.0)
    print(f"{'.'.join(where)}: code {outcome.code} after {time.monotonic() - begin:.2f} s", file=sys.stderr)
    assert not outcome.hung and outcome.code == STALLED
    waited = rf"paralift: rank 0: has waited [0-9.]+ s for {MEASURING[where]} \(the start, measuring the plan\)"
    assert len(re.findall(waited, outcome.output)) == 2 and "that is too long, the job is ended" in outcome.output


CONFIG = """
data = "digits"
network = ["Linear(64, 64)", "ReLU()", "Linear(64, 10)", "Softmax()"]
[training]
epochs = 100000
[parallel]
stages = 2
plan = "counted"
"""


END_SCRIPT = """
    import os, signal, sys
    from mpi4py import MPI
    from paralift import cli
    from paralift.training import plots

    def stop(*arguments):
        os.kill(os.getpid(), signal.SIGSTOP)

    if MPI.COMM_WORLD.Get_rank() == {rank}:
        {module}.{function} = stop
    sys.exit(cli.main(["train", "--quiet", "--epochs=1", "--out", sys.argv[1], sys.argv[2]]))
"""
ENDS = {
    "curves": ((0, "plots", "plot_run"), STALLED, "paralift: rank 1: has waited .* an agreement with rank 0 .the end, drawing"),
    "Finalize": ((1, "MPI", "Finalize"), 1, "Timeout .*"),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_rank_that_is_stopped_at_the_end(launch, tmp_path, end):
    """No thread of Python runs in MPI_Finalize, so that the exit code there is not the stall watch's."""
    place, code, said = ENDS[end]
    script, config = tmp_path / "ending.py", tmp_path / "short.toml"
    script.write_text(textwrap.dedent(END_SCRIPT.format(**dict(zip(("rank", "module", "function"), place, strict=True)))))
    config.write_text(CONFIG.replace("[training]", "[training]\npatience = 3"))
    begin = time.monotonic()
    outcome = launch(2, [str(script), str(tmp_path / "run"), str(config)], deadline=60.0)
    print(f"{end}: code {outcome.code} after {time.monotonic() - begin:.2f} s", file=sys.stderr)
    assert not outcome.hung and outcome.code == code and re.search(said, outcome.output), outcome.output
    assert checkpoints.intact(checkpoints.latest(tmp_path / "run")) == ""


def running(tmp_path):
    """Start `paralift run` on two ranks; return its process when it has written a checkpoint."""
    (tmp_path / "long.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "paralift", "run", "-n", "2", "--quiet", "--out", "run", "long.toml"]
    environment = mpi_environment({**os.environ, "OMPI_MCA_mpi_yield_when_idle": "1"})
    with (tmp_path / "said.txt").open("wb") as said:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=said, stderr=said)
    begin = time.monotonic()
    while not checkpoints.all_of(tmp_path / "run"):
        assert process.poll() is None and time.monotonic() - begin < 60, (tmp_path / "said.txt").read_text()
        time.sleep(0.02)
    return process


def left(tmp_path):
    """Return the processes that still name the folder."""
    found = subprocess.run(["pgrep", "-f", f"{tmp_path}"], capture_output=True, text=True).stdout.split()
    return [number for number in found if int(number) != os.getpid()]


SIGNALS = [(signal.SIGTERM, STOPPED), (signal.SIGUSR2, STOPPED), (signal.SIGINT, 130)]


@pytest.mark.parametrize(("number", "code"), SIGNALS, ids=["TERM", "USR2", "INT"])
def test_a_signal_to_the_launcher(tmp_path, number, code):
    process = running(tmp_path)
    try:
        begin = time.monotonic()
        process.send_signal(number)
        found = process.wait(30)
        print(f"{number.name}: code {found} after {time.monotonic() - begin:.2f} s", file=sys.stderr)
    finally:
        process.kill()
        process.wait()
    said = (tmp_path / "said.txt").read_text(errors="replace")
    assert found == code, said
    assert not [text for text in map(checkpoints.intact, checkpoints.all_of(tmp_path / "run")) if text]
    if code == STOPPED:
        assert "Stopped by a signal, after a checkpoint. Go on with: --out run --resume auto" in said
        assert "Stopped by a signal" in (tmp_path / "run" / "summary.json").read_text()
    assert not left(tmp_path)


def test_a_checkpoint_on_demand(tmp_path):
    process = running(tmp_path)
    try:
        before = {path.name for path in checkpoints.all_of(tmp_path / "run")}
        process.send_signal(signal.SIGUSR1)
        begin = time.monotonic()
        while not {path.name for path in checkpoints.all_of(tmp_path / "run")} - before:
            assert process.poll() is None and time.monotonic() - begin < 30
        assert process.poll() is None
        process.send_signal(signal.SIGUSR2)
        assert process.wait(30) == STOPPED
    finally:
        process.kill()
        process.wait()
