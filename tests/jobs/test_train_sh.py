"""The logic of jobs/train.sh without SLURM: a launcher and an scontrol that only take down what they were asked for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE = 30.0
LAUNCHER = """#!/bin/bash
[ "$1" = --version ] && echo '{says}' && exit
printf '%s\\n' "$*" > {folder}/asked
trap 'mkdir -p {new}; exit {code}' {stop}
touch {folder}/ready
for i in $(seq 300); do sleep 0.1; done
"""
SCONTROL = """#!/bin/bash
echo "$@" >> {folder}/scontrol
"""
ARRAY = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}


def executable(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def job(folder, number, new="step-000000002", code=75, says="mpirun (Open MPI) 5.0.11", stop="USR2", **environment):
    """Start a run that has a checkpoint, send the batch shell a signal; return (exit code, output, calls of scontrol)."""
    (folder / "run/checkpoints/step-000000001").mkdir(parents=True)
    new = folder / "run/checkpoints" / new
    launcher = LAUNCHER.format(folder=folder, new=new, code=code, says=says, stop=stop)
    for name in ("mpirun", "srun"):
        executable(folder / "bin" / name, launcher)
    executable(folder / "bin/scontrol", SCONTROL.format(folder=folder))
    slurm = {"SLURM_JOB_ID": "9", "SLURM_JOB_NODELIST": "n1", "SLURM_NTASKS": "3", "SLURM_JOB_NUM_NODES": "1"}
    known = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "PYTHON": sys.executable, "MPIRUN": f"{folder}/bin/mpirun"}
    process = subprocess.Popen(
        ["bash", "jobs/train.sbatch", "some.toml", str(folder / "run"), "--quiet"],
        cwd=ROOT, env={**os.environ, **slurm, **known, **environment}, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        begin = time.monotonic()
        while not (folder / "ready").exists():
            assert process.poll() is None and time.monotonic() - begin < DEADLINE
            time.sleep(0.02)
        process.send_signal(number)
        output, _ = process.communicate(timeout=DEADLINE)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    calls = folder / "scontrol"
    return process.returncode, output, calls.read_text().splitlines() if calls.exists() else []


@pytest.mark.parametrize(("environment", "task"), [({}, "9"), (ARRAY, "7_2")])
def test_the_time_limit_sends_this_task_back_to_the_queue(tmp_path, environment, task):
    """An array's last task has the array's number as its own: a requeue by it would take the other tasks, too."""
    code, output, calls = job(tmp_path, signal.SIGUSR1, **environment)
    assert (code, calls) == (0, [f"requeue {task}"])
    assert f"to go on from {tmp_path}/run/checkpoints/step-000000002" in output
    asked = (tmp_path / "asked").read_text().strip()
    assert asked.startswith("-n 3 --bind-to none ")
    assert asked.endswith(f"train some.toml --out {tmp_path}/run --resume auto --quiet")


def test_threads_of_a_rank_are_those_that_slurm_gave(tmp_path):
    job(tmp_path, signal.SIGUSR1, SLURM_CPUS_PER_TASK="2")
    assert "--threads 2" in (tmp_path / "asked").read_text()


def test_no_progress_ends_the_circle(tmp_path):
    code, output, calls = job(tmp_path, signal.SIGUSR1, new="step-000000001")
    assert (code, calls) == (75, [])
    assert "no checkpoint is new" in output and "sbatch --time" in output


def test_an_unfinished_checkpoint_is_no_progress(tmp_path):
    code, _, calls = job(tmp_path, signal.SIGUSR1, new="step-000000002.part")
    assert (code, calls) == (75, [])


@pytest.mark.parametrize("code", [0, 1, 76])
def test_a_run_that_ended_by_itself_is_not_repeated(tmp_path, code):
    assert job(tmp_path, signal.SIGUSR1, code=code)[::2] == (code, [])


def test_a_signal_that_nobody_listened_to_is_no_failure(tmp_path):
    """SIGUSR2 kills a rank that draws its last plots: the next start finds nothing left to do."""
    assert job(tmp_path, signal.SIGUSR1, code=128 + signal.SIGUSR2)[::2] == (0, ["requeue 9"])


def test_sigterm_saves_and_leaves_the_rest_to_slurm(tmp_path):
    code, output, calls = job(tmp_path, signal.SIGTERM)
    assert (code, calls) == (75, [])
    assert (tmp_path / "run/checkpoints/step-000000002").is_dir() and "SIGTERM: checkpoint" in output


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_hydra_is_asked_by_the_signal_that_it_outlives(tmp_path, number):
    """MPICH's launcher dies of SIGUSR2, and hands SIGTERM on."""
    code, _, calls = job(tmp_path, number, says="HYDRA build details:", stop="TERM")
    assert (code, calls) == ((0, ["requeue 9"]) if number == signal.SIGUSR1 else (75, []))


@pytest.mark.parametrize("code", [75, 128 + signal.SIGKILL, 128 + signal.SIGTERM])
def test_srun(tmp_path, code):
    """srun kills the ranks that end a moment later than the first: a new checkpoint says that the run stopped as it should."""
    found, _, calls = job(tmp_path, signal.SIGUSR1, code=code, LAUNCHER="srun", SLURM_CPUS_PER_TASK="2")
    assert (found, calls) == (0, ["requeue 9"])
    asked = (tmp_path / "asked").read_text().strip()
    assert asked.startswith(f"--ntasks=3 --kill-on-bad-exit=1 --cpus-per-task=2 {sys.executable} -m mpi4py")
    assert asked.endswith(f"train some.toml --out {tmp_path}/run --resume auto --threads 2 --quiet")


def test_srun_that_is_killed_before_a_checkpoint(tmp_path):
    code, _, calls = job(tmp_path, signal.SIGUSR1, new="step-000000001", code=137, LAUNCHER="srun")
    assert (code, calls) == (137, [])


def test_a_launcher_does_not_hear_sigterm(tmp_path):
    script = "import os, signal; os.kill(os.getpid(), 15); print(signal.sigpending() == {signal.SIGTERM})"
    command = [sys.executable, "jobs/deaf.py", sys.executable, "-c", script]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE).stdout == "True\n"


@pytest.mark.parametrize(
    ("environment", "seen"),
    [
        ({"CUDA_VISIBLE_DEVICES": "2,5", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}, "5"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b", "SLURM_LOCALID": "0"}, "GPU-a"),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "3", "SLURM_LOCALID": "0"}, "3"),
        ({}, "0"),
    ],
)
def test_a_rank_sees_a_gpu_of_its_own(environment, seen):
    assert own_gpu(environment).stdout == f"{seen}\n"


def test_more_ranks_than_gpus_are_refused():
    found = own_gpu({"CUDA_VISIBLE_DEVICES": "4", "SLURM_LOCALID": "1"})
    assert found.returncode == 2 and "rank 1 of this node has no GPU of its own: CUDA_VISIBLE_DEVICES is 4" in found.stderr


def own_gpu(environment):
    command = ["jobs/own-gpu.sh", "bash", "-c", "echo $CUDA_VISIBLE_DEVICES"]
    environment = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False)
