"""A SLURM of its own in a folder: munged, slurmctld and several slurmd on this machine; nothing is left behind."""

from __future__ import annotations

import getpass
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
CPUS = 8
"""CPUs that every node claims, whatever there is: ranks of tests share them."""
DEADLINE = 120.0
"""Seconds until a job counts as hanging; an idle machine needs a tenth."""
START = 30.0
GRACE = 5.0
POLL = 0.05
SOCKET = 107
"""Characters of a socket's path; slurmd makes one for each step of a job in its node's spool folder."""
STEP = 4294967295
"""The largest number of a step: that of a batch script is near it."""
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY")

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A requeued job waits until the credential of its last start has expired: 120 s, unless told otherwise.
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CryptoType=crypto/munge
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=20
MinJobAge=600
GresTypes=gpu
# MPICH names its shared memory after the job, and a killed job leaves it behind.
FirstJobId={job}
{nodes}
PartitionName=debug Nodes=ALL Default=YES MaxTime=60 State=UP
"""

NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=4000 Gres=gpu:2"

GRES = """
Name=gpu File=/dev/null
Name=gpu File=/dev/zero
"""
"""Two GPUs a node that SLURM may give away; nobody computes on them."""


def missing() -> list[str]:
    """Return the daemons that are not installed."""
    return [name for name in DAEMONS if program(name) is None]


def program(name: str) -> str | None:
    """Return the path of a daemon: their folder is on root's PATH alone."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))


class Cluster:
    """What tests ask of a running SLURM.

    Parameters
    ----------
    folder : path
        Of its configuration and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH"))},
            "SLURM_CONF": str(folder / "slurm.conf"),
        }

    def call(self, *command: str, cwd: Path | None = None, **environment: str) -> str:
        """Run a command, in a folder and with more variables; return what it prints, and fail where it fails."""
        found = subprocess.run(
            command, env={**self.environment, **environment}, cwd=cwd, text=True, timeout=START, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert found.returncode == 0, f"{' '.join(command)}: {found.stdout}"
        return found.stdout

    def submit(self, *arguments: str, cwd: Path, **environment: str) -> str:
        """Submit a job from a folder; return its number."""
        return self.call("sbatch", "--parsable", *arguments, cwd=cwd, **environment).strip()

    def job(self, number: str) -> dict[str, str]:
        """Return what SLURM says of a job, by the names of ``scontrol show job``."""
        words = self.call("scontrol", "show", "job", "-o", number).splitlines()[0].split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def end(self, number: str, deadline: float = DEADLINE) -> dict[str, str]:
        """Wait for the end of a job and return what SLURM says of it."""
        return self.until(lambda: (job := self.job(number))["JobState"] in OVER and job, f"job {number} to end", deadline)

    def until(self, true: Callable[[], object], what: str, deadline: float = DEADLINE):
        """Wait until something is true and return it."""
        begin = time.monotonic()
        while not (found := true()):
            logs = "".join(f"\n{path}:\n{path.read_text()[-2000:]}" for path in self.folder.glob("job-*.log"))
            assert time.monotonic() - begin < deadline, f"waited {deadline} s for {what}; {self.call('squeue')}{logs}"
            time.sleep(POLL)
        return found


@contextmanager
def running(folder: Path, nodes: int = 0) -> Iterator[Cluster]:
    """Start a SLURM of so many nodes in a folder; end it and all of its jobs behind the block, however that ends.

    Nodes are n1, n2, ...; without a number there is one, with the name of this machine: PMIx looks for what SLURM knows of a
    node under the name that the machine itself has.

    Raises
    ------
    ValueError
        If the folder's path is so long that no job could start.
    """
    host = socket.gethostname().partition(".")[0]
    names = [f"n{i + 1}" for i in range(nodes)] or [host]
    longest = len(str(folder / f"spool-{names[-1]}" / f"{names[-1]}_99999.{STEP}"))
    if longest > SOCKET:
        raise ValueError(f"sockets in {folder} would have {longest} characters, at most {SOCKET}: take a shorter folder")
    port, job = free_ports(len(names) + 1), random.SystemRandom().randrange(1000, 60000)
    lines = [NODE.format(name=name, host=host, port=port + 1 + i, cpus=CPUS) for i, name in enumerate(names)]
    text = CONF.format(host=host, user=getpass.getuser(), folder=folder, port=port, job=job, nodes="\n".join(lines))
    (folder / "slurm.conf").write_text(text)
    (folder / "gres.conf").write_text(GRES)
    (folder / "state").mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    cluster = Cluster(folder)
    daemons: list[subprocess.Popen] = []

    def start(name: str, *arguments: str) -> None:
        with (folder / f"{name}-{len(daemons)}.out").open("wb") as output:
            command = [str(program(name)), *arguments]
            daemons.append(subprocess.Popen(command, env=cluster.environment, stdout=output, stderr=output))

    try:
        own = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid", "log-file": "munged.log"}
        files = [f"--{key}={folder / name}" for key, name in {**own, "seed-file": "munged.seed"}.items()]
        start("munged", "--force", "--foreground", *files)
        cluster.until((folder / "munge.sock").exists, "munged", START)
        conf = str(folder / "slurm.conf")
        start("slurmctld", "-D", "-c", "-f", conf)
        for name in names:
            (folder / f"spool-{name}").mkdir()
            start("slurmd", "-D", "-c", "-N", name, "-f", conf)
        cluster.until(lambda: idle(cluster) == len(names), f"{len(names)} idle nodes", START)
        yield cluster
    finally:
        end(cluster, daemons)


def idle(cluster: Cluster) -> int:
    """Return how many nodes wait for work; none while the controller starts."""
    command = ["sinfo", "--noheader", "--Node", "--states=idle", "--format=%N"]
    found = subprocess.run(command, env=cluster.environment, capture_output=True, text=True, check=False)
    return len(set(found.stdout.split()))


def end(cluster: Cluster, daemons: list[subprocess.Popen]) -> None:
    """Kill all jobs and daemons."""
    try:
        subprocess.run(["scancel", "--user", getpass.getuser()], env=cluster.environment, timeout=GRACE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        pass
    for daemon in reversed(daemons):
        daemon.terminate()
    for daemon in daemons:
        try:
            daemon.wait(GRACE)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
    begin = time.monotonic()
    while (left := ours(cluster)) and time.monotonic() - begin < GRACE:  # jobs outlive the daemons, and start processes still
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(POLL)


def ours(cluster: Cluster) -> list[int]:
    """Return the processes that were started with this cluster's configuration."""
    mark, found = f"SLURM_CONF={cluster.folder / 'slurm.conf'}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def free_ports(n: int) -> int:
    """Return the first of `n` free ports in a row."""
    for first in range(26817, 60000, 16):
        try:
            for port in range(first, first + n):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise RuntimeError("no free ports")
