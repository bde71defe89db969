"""Ranks that srun starts, under a real SLURM: which of its ways fits which MPI, and the job script by it."""

import subprocess
import sys
from pathlib import Path

import cluster
import numpy as np
import pytest

from paralift.launch import beside
from paralift.launchers import HYDRA, kind_of
from paralift.training import checkpoints

ROOT = Path(__file__).parents[2]
EPOCHS = 70
"""They last some seconds: a signal meets the run in the middle."""
DEADLINE = 60.0
WORLD = "from mpi4py import MPI; print(MPI.COMM_WORLD.Get_rank(), 'of', MPI.COMM_WORLD.Get_size())"


@pytest.fixture(scope="module")
def way():
    """Return (what srun must be told for this MPI, what it must not be told)."""
    return ("pmi2", "none") if kind_of(beside()) is HYDRA else ("pmix", "pmi2")


@pytest.fixture(scope="module")
def lone(tmp_path_factory, environment, way):
    """Return a SLURM of one node that has this machine's name, or skip with the reason."""
    absent = cluster.missing()
    if absent:
        pytest.skip(f"no {', '.join(absent)}: apt-get install slurm-wlm munge, or make test-slurm")
    with cluster.running(tmp_path_factory.mktemp("lone")) as found:
        found.environment |= {**environment, "LAUNCHER": "srun"}
        code, said = srun(found, way[0], "true")
        if "can not load PMIx library" in said:
            pytest.skip("srun finds no PMIx: apt-get install libpmix-dev")
        assert code == 0, said
        yield found


def srun(lone, way, *command, ranks=1):
    """Run a command by srun; return (exit code, output)."""
    found = subprocess.run(
        ["srun", f"--mpi={way}", f"--ntasks={ranks}", *command], env=lone.environment, cwd=ROOT, text=True, timeout=DEADLINE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    return found.returncode, found.stdout


def submit(lone, name, config, run, way):
    log = f"--output={lone.folder}/job-{name}.log"
    options = ["--ntasks=2", log, "jobs/train.sbatch", config, str(run), "--quiet"]
    return lone.submit(*options, cwd=ROOT, SLURM_MPI_TYPE=way)


def learning(lone, run):
    metrics = run / "metrics.jsonl"
    lone.until(lambda: metrics.exists() and len(metrics.read_text().splitlines()) > 2, f"{run} to learn")


def test_ranks_find_each_other(lone, way):
    code, said = srun(lone, way[0], sys.executable, "-m", "mpi4py", "-c", WORLD, ranks=4)
    assert code == 0 and sorted(line for line in said.splitlines() if " of " in line) == [f"{rank} of 4" for rank in range(4)]


def test_ranks_that_do_not_find_each_other_do_not_train(lone, way, tmp_path):
    """With another MPI's way each rank would train alone, and say nothing."""
    train = [sys.executable, "-m", "mpi4py", "-m", "paralift", "train", "examples/digits.toml", "--out", str(tmp_path / "run")]
    code, said = srun(lone, way[1], *train, ranks=2)
    assert code == 2 and "a launcher started 2 processes" in said and "srun --mpi=pmix for Open MPI, --mpi=pmi2" in said
    assert not (tmp_path / "run").exists()


def test_the_time_limit(lone, way, config, tmp_path, launch):
    """Checkpoint, requeue, resume: the parameters of a run that nobody disturbed, bit for bit."""
    run, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    job = submit(lone, "limit", config(EPOCHS), run, way[0])
    learning(lone, run)
    lone.call("scancel", "--batch", "--signal=USR1", job)
    outcome = launch(2, ["-m", "paralift", "train", config(EPOCHS), "--out", str(undisturbed), "--quiet"], deadline=100.0)
    assert outcome.code == 0, outcome.output
    found, log = lone.end(job), (lone.folder / "job-limit.log").read_text()
    assert (found["JobState"], found["Restarts"], found["ExitCode"]) == ("COMPLETED", "1", "0:0"), log
    first, second = (checkpoints.load_params(checkpoints.latest(path))[0] for path in (run, undisturbed))
    for block, arrays in second.items():
        for name, expected in arrays.items():
            np.testing.assert_array_equal(first[block][name], expected, err_msg=f"{block}.{name}")


def test_cancelled(lone, way, config, tmp_path):
    run = tmp_path / "run"
    job = submit(lone, "cancel", config(10 * EPOCHS), run, way[0])
    learning(lone, run)
    lone.call("scancel", job)
    assert lone.end(job)["JobState"] == "CANCELLED"
    lone.until((run / "summary.json").exists, "the summary")
    assert "Stopped by a signal, after a checkpoint" in (run / "summary.json").read_text()
    assert [text for text in map(checkpoints.intact, checkpoints.all_of(run)) if text] == []
