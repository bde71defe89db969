"""A disk that is full, a folder that cannot be written to, two runs in one folder: named, and older checkpoints stay whole."""

import ctypes
import os
import subprocess
import sys
import textwrap

import pytest

from paralift.training import checkpoints

SCRIPT = """
    import resource, signal, sys
    import numpy as np
    import paralift as pl
    from mpi4py import MPI

    class Filling(pl.optim.SGD):
        '''From step 30 on, no file of rank 1 may grow beyond a few bytes: the system says so as it says that a disk is full.'''
        def step(self, theta, gradient, states, segments, step, *more):
            if step == 30 and MPI.COMM_WORLD.Get_rank() == {rank}:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
            super().step(theta, gradient, states, segments, step, *more)

    rng = np.random.default_rng(0)
    net = pl.Sequential(pl.Linear(40, 80), pl.ReLU(), pl.Linear(80, 3), pl.Softmax())
    data = rng.standard_normal((160, 40)), rng.integers(0, 3, 160)
    try:
        settings = dict(stages=2, plan="counted", progress=False, out=sys.argv[1])
        pl.fit(net, data, optimizer=Filling(0.1), epochs=3, batch_size=8, **settings)
    except RuntimeError as error:
        sys.stderr.write(f"rank {{MPI.COMM_WORLD.Get_rank()}}: {{type(error).__name__}}: {{error}}\\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        sys.stderr.flush()
        sys.exit(3)
"""


@pytest.mark.parametrize("rank", [0, 1])
def test_full_disk(launch, tmp_path, rank):
    """The first epoch's checkpoint is written, the second finds no room on one rank."""
    script, out = tmp_path / "filling.py", tmp_path / "run"
    script.write_text(textwrap.dedent(SCRIPT.format(rank=rank)))
    outcome = launch(2, [str(script), str(out)], deadline=90.0)
    assert not outcome.hung and outcome.code == 3
    if rank:
        assert f"AgreedError: checkpoint {out}/checkpoints/step-000000040 could not be written: rank 1: " in outcome.output
        assert "older checkpoints are as they were" in outcome.output
    else:  # rank 0 finds out one line earlier
        assert "AgreedError: rank 0: OSError: [Errno 27] an epoch cannot be recorded: File too large" in outcome.output
        assert f"{out}/metrics.jsonl" in outcome.output
    assert [path.name for path in checkpoints.all_of(out)] == ["step-000000020"]
    assert checkpoints.intact(checkpoints.latest(out)) == ""
    assert not list((out / "checkpoints").glob(".*"))


PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
"""From <linux/prctl.h> and <linux/capability.h>."""
TRAIN = """
    import sys
    import numpy as np
    import paralift as pl

    rng = np.random.default_rng(0)
    net = pl.Sequential(pl.Linear(4, 8), pl.ReLU(), pl.Linear(8, 3), pl.Softmax())
    data = rng.standard_normal((64, 4)), rng.integers(0, 3, 64)
    pl.fit(net, data, epochs=int(sys.argv[2]), out=sys.argv[1], plan="counted", progress=False, resume="auto")
"""


def obey_permissions():
    """Take away what lets root write everywhere: behind an exec the process is refused like anyone else."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if os.geteuid() == 0 and libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "a capability cannot be dropped")


def train(tmp_path, out, epochs=2, preexec=None):
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(TRAIN))
    return subprocess.Popen(
        [sys.executable, str(script), str(out), str(epochs)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=preexec,
    )  # fmt: skip


def test_two_runs_in_one_folder(tmp_path):
    first = train(tmp_path, tmp_path / "run", epochs=100_000)
    try:
        while not (tmp_path / "run" / "metrics.jsonl").exists() or not checkpoints.all_of(tmp_path / "run"):
            assert first.poll() is None
        second, _ = train(tmp_path, tmp_path / "run").communicate(timeout=60)
        assert f"is in use by another run (process {first.pid} on" in second
    finally:
        first.kill()
        first.communicate()
    again = train(tmp_path, tmp_path / "run", epochs=1)  # the lock went with its process
    assert again.communicate(timeout=60) and again.returncode == 0


def test_a_file_instead_of_a_folder(tmp_path):
    (tmp_path / "run").write_text("mine")
    process = train(tmp_path, tmp_path / "run")
    text, _ = process.communicate(timeout=60)
    assert process.returncode != 0 and "run" in text and "Not a directory" in text or "File exists" in text
    assert (tmp_path / "run").read_text() == "mine"


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "run").mkdir(mode=0o555)
    process = train(tmp_path, tmp_path / "run", preexec=obey_permissions)
    text, _ = process.communicate(timeout=60)
    assert process.returncode != 0 and "Permission denied" in text and str(tmp_path / "run") in text
    assert list((tmp_path / "run").iterdir()) == []


def test_checkpoints_that_cannot_be_written(tmp_path):
    """The folder was there before, and no longer takes anything new; what it holds stays."""
    first = train(tmp_path, tmp_path / "run", epochs=1)
    assert first.communicate(timeout=60) and first.returncode == 0
    folder = tmp_path / "run" / "checkpoints"
    before = checkpoints.latest(tmp_path / "run")
    folder.chmod(0o555)
    try:
        process = train(tmp_path, tmp_path / "run", epochs=2, preexec=obey_permissions)
        text, _ = process.communicate(timeout=60)
    finally:
        folder.chmod(0o755)
    assert process.returncode != 0 and "Permission denied" in text and "older checkpoints are as they were" in text
    assert checkpoints.all_of(tmp_path / "run") == [before] and checkpoints.intact(before) == ""
