"""The job scripts under a real SLURM of two nodes: to the end, over the time limit, cancelled, an array, GPUs, a study."""

import csv
import json
import random
import sys
import time
from pathlib import Path

import cluster
import numpy as np
import pytest

from paralift.training import checkpoints
from paralift.training.result import Reason

ROOT = Path(__file__).parents[2]
LONG = 70
"""Epochs that last some seconds: a signal meets the run in the middle."""


def submit(slurm, name, *arguments, options=(), script="train.sbatch", **environment):
    """Submit a script of the folder; return the job's number. Its log lies where waiting in vain shows it."""
    log = f"--output={slurm.folder}/job-{name}.log"
    return slurm.submit("--ntasks=2", log, *options, f"jobs/{script}", *map(str, arguments), "--quiet", cwd=ROOT, **environment)


def epochs(run):
    """Return how many epochs a run has recorded."""
    metrics = run / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


def learning(slurm, run):
    slurm.until(lambda: epochs(run) > 2, f"{run} to learn")


def summary(run):
    return json.loads((run / "summary.json").read_text())


def params(run):
    return checkpoints.load_params(checkpoints.latest(run))[0]


@pytest.mark.parametrize("nodes", [1, 2])
def test_to_the_end(slurm, config, tmp_path, nodes):
    """On two nodes mpirun's daemon on the second one is started by srun, and the transport is left to MPI."""
    run = tmp_path / "run"
    job = submit(slurm, f"end-{nodes}", config(2), run, options=[f"--nodes={nodes}"])
    found = slurm.end(job)
    assert (found["JobState"], found["Restarts"], found["NumNodes"]) == ("COMPLETED", "0", str(nodes))
    assert (summary(run)["ranks"], summary(run)["epoch"]) == (2, 2)


def test_a_mistake_fails_and_is_not_repeated(slurm, tmp_path):
    job = submit(slurm, "mistake", tmp_path / "absent.toml", tmp_path / "run")
    found = slurm.end(job)
    assert (found["JobState"], found["ExitCode"], found["Restarts"]) == ("FAILED", "2:0", "0")
    assert "absent.toml: No such file" in (slurm.folder / "job-mistake.log").read_text()


def test_time_limit(slurm, config, tmp_path, launch):
    """Checkpoint, requeue, resume: the parameters of a run that nobody disturbed, bit for bit."""
    run, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    job = submit(slurm, "limit", config(LONG), run)
    learning(slurm, run)
    slurm.call("scancel", "--batch", "--signal=USR1", job)
    begin = time.monotonic()
    slurm.until(lambda: slurm.job(job)["JobState"] == "PENDING", "the requeue")
    stopped = time.monotonic()
    stop, path = summary(run), checkpoints.latest(run)
    assert stop["reason"] == str(Reason.STOPPED) and checkpoints.intact(path) == ""
    slurm.until(lambda: slurm.job(job)["JobState"] != "PENDING", "the second start")
    waited = time.monotonic() - stopped
    outcome = launch(2, ["-m", "paralift", "train", config(LONG), "--out", str(undisturbed), "--quiet"], deadline=100.0)
    assert outcome.code == 0, outcome.output
    found = slurm.end(job)
    assert (found["JobState"], found["Restarts"], found["ExitCode"]) == ("COMPLETED", "1", "0:0")
    assert summary(run)["reason"] == str(Reason.EPOCHS_DONE) and epochs(run) == LONG
    assert f"to go on from {path}" in (slurm.folder / "job-limit.log").read_text()
    for block, arrays in params(undisturbed).items():
        for name, expected in arrays.items():
            np.testing.assert_array_equal(params(run)[block][name], expected, err_msg=f"{block}.{name}")
    print(f"stopped {stopped - begin:.2f} s after the signal, {waited:.2f} s in the queue", file=sys.stderr)


def test_cancelled(slurm, config, tmp_path, moment):
    """At a random moment: SLURM's SIGTERM leaves whole checkpoints only, the newest of the very end."""
    run = tmp_path / "run"
    job = submit(slurm, f"cancel-{moment}", config(10 * LONG), run)
    learning(slurm, run)
    time.sleep(random.Random(moment).uniform(0.0, 1.0))
    slurm.call("scancel", job)
    begin = time.monotonic()
    found = slurm.end(job)
    slurm.until(lambda: job not in slurm.call("squeue", "--noheader", "--format=%A").split(), "the end of the processes")
    print(f"ended {time.monotonic() - begin:.2f} s after scancel", file=sys.stderr)
    assert (found["JobState"], found["Restarts"]) == ("CANCELLED", "0")
    assert [text for text in map(checkpoints.intact, checkpoints.all_of(run)) if text] == []
    assert summary(run)["reason"] == str(Reason.STOPPED)
    assert f"checkpoint {checkpoints.latest(run)}" in (run / "logs/rank-0.log").read_text().splitlines()[-1]


def test_cancelled_on_two_nodes(slurm, config, tmp_path):
    """The daemon that mpirun has on each node hears SLURM's SIGTERM no more than mpirun does."""
    run = tmp_path / "run"
    job = submit(slurm, "cancel-nodes", config(10 * LONG), run, options=["--nodes=2"])
    learning(slurm, run)
    slurm.call("scancel", job)
    slurm.end(job)
    slurm.until(lambda: (run / "summary.json").exists(), "the summary")
    assert summary(run)["reason"] == str(Reason.STOPPED) and checkpoints.intact(checkpoints.latest(run)) == ""


def test_seeds(slurm, config, tmp_path):
    """Two seeds; a signal to one leaves the other alone, though one of them has the array's number as its own."""
    runs = [tmp_path / f"seed-{seed}" for seed in range(2)]
    array = submit(slurm, "seeds-%a", config(LONG), tmp_path, options=["--array=0-1"], script="seeds.sbatch")
    for run in runs:
        learning(slurm, run)
    (last,) = [seed for seed in range(2) if slurm.job(f"{array}_{seed}")["JobId"] == array]
    slurm.call("scancel", "--batch", "--signal=USR1", f"{array}_{last}")
    slurm.until(lambda: slurm.job(f"{array}_{last}")["Restarts"] == "1", "the requeue")
    ends = [slurm.end(f"{array}_{seed}") for seed in range(2)]
    assert [end["JobState"] for end in ends] == ["COMPLETED"] * 2
    assert [end["Restarts"] for end in ends] == ["1" if seed == last else "0" for seed in range(2)]
    assert [(summary(run)["seed"], epochs(run)) for run in runs] == [(0, LONG), (1, LONG)]


PYTHON = """#!/bin/bash
[ -n "$OMPI_COMM_WORLD_RANK" ] && echo "rank $OMPI_COMM_WORLD_RANK sees GPU $CUDA_VISIBLE_DEVICES"
exec {python} "$@"
"""


def test_each_rank_has_a_gpu(slurm, config, tmp_path):
    """SLURM gives away two GPUs that are none, for a configuration that trains on CPUs: what counts is what ranks see."""
    python, run = tmp_path / "python", tmp_path / "run"
    python.write_text(PYTHON.format(python=sys.executable))
    python.chmod(0o755)
    others = {"PYTHON": str(python), "MPIRUN": str(Path(sys.executable).with_name("mpirun"))}
    options = ["--cpus-per-task=1", "--gpus-per-node=2"]
    job = submit(slurm, "gpu", config(2), run, options=options, script="train-gpu.sbatch", **others)
    found, log = slurm.end(job), (slurm.folder / "job-gpu.log").read_text()
    assert found["JobState"] == "COMPLETED" and summary(run)["ranks"] == 2, log
    assert "rank 0 sees GPU 0\n" in log and "rank 1 sees GPU 1\n" in log


TABLE = """
config = "examples/digits.toml"
epochs = 3
batch_size = 64
sbatch = ["--comment=study"]
[[sizes]]
ranks = 1
nodes = 1
time = "00:05:00"
[[sizes]]
ranks = 2
nodes = 1
time = "00:05:00"
"""


def test_study(slurm, tmp_path):
    (tmp_path / "table.toml").write_text(TABLE)
    out = tmp_path / "study"
    command = [sys.executable, "jobs/scaling.py", str(tmp_path / "table.toml"), "--out", str(out), "--submit"]
    lines = slurm.call(*command, cwd=ROOT).splitlines()
    jobs = {Path(line.split(": ")[0]).parent.name: line.split(": ")[1] for line in lines[:-1]}
    assert list(jobs) == ["strong-1", "strong-2", "weak-1", "weak-2"]
    found = {name: slurm.end(job) for name, job in jobs.items()}
    assert {job["JobState"] for job in found.values()} == {"COMPLETED"}, [log.read_text() for log in out.glob("*/job.log")]
    assert {job["Comment"] for job in found.values()} == {"study"}
    assert "scaling.csv" in slurm.call(sys.executable, "jobs/collect.py", str(out), cwd=ROOT)
    with (out / "scaling.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    facts = [(row["mode"], row["ranks"], row["batch_size"], row["status"], row["epochs"]) for row in rows]
    batches = {("strong", "1"): "64", ("strong", "2"): "64", ("weak", "1"): "64", ("weak", "2"): "128"}
    assert facts == [(*point, batch, "ok", "3") for point, batch in batches.items()]
    assert all(float(row[key]) > 0 for row in rows for key in ("step_s", "predicted_s", "efficiency", "predicted_efficiency"))


def test_nothing_survives_a_failing_test(tmp_path_factory):
    """Neither daemons nor the processes of a job that does not want to end."""
    if cluster.missing():
        pytest.skip(f"no {', '.join(cluster.missing())}")
    folder = tmp_path_factory.mktemp("own")  # named after this test, it would be too long for sockets
    with pytest.raises(ZeroDivisionError), cluster.running(folder, 1) as own:
        stubborn = f"trap '' TERM; touch {folder}/started; sleep 300 & wait"
        job = own.submit("--output=/dev/null", "--wrap", stubborn, cwd=folder)
        own.until((folder / "started").exists, f"job {job} to start")
        assert len(cluster.ours(own)) >= 5
        1 / 0  # noqa: B018
    assert cluster.ours(own) == []


def test_a_folder_too_long_for_sockets_is_refused(tmp_path):
    """slurmd would accept jobs there, and hold each of them with "launch failed"."""
    folder = tmp_path / ("long" * 25)
    with pytest.raises(ValueError, match="at most 107: take a shorter folder"), cluster.running(folder, 1):
        pass
    assert not folder.exists()
