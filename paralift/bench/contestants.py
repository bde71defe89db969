"""Who takes part in `paralift bench peers`: a program for every configuration of every library."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from paralift.bench import machine
from paralift.bench.clean import clean
from paralift.bench.peer_process import PeerProcess
from paralift.bench.problems import Problem
from paralift.launch import LaunchError, mpi_environment, mpirun_command

CHILDREN = Path(__file__).parent / "children"
PEERS = ("torch", "jax")


@dataclass(frozen=True)
class Contestant:
    """One configuration.

    Attributes
    ----------
    library : {"paralift", "torch", "jax"}
    how : str
        What distinguishes it from others of the library.
    threads, ranks : int
        Threads of a rank, and ranks (of PyTorch: processes).
    options : tuple of str
        For its program.
    program : str
        The file in `CHILDREN`; by default the library's step in one process, or ParaLift's in any number.
    cuts : bool
        Whether the program must know how to cut the network, and so takes problems that are `cuttable` only.
    """

    library: str
    how: str
    threads: int = 1
    ranks: int = 1
    options: tuple[str, ...] = ()
    program: str = ""
    cuts: bool = False

    @property
    def name(self) -> str:
        """Name in tables and records."""
        unit = "rank" if self.library == "paralift" else "process"
        parts = [self.library]
        if self.library == "paralift" or self.ranks > 1:
            parts.append(_count(self.ranks, unit))
        if self.threads > 1 or len(parts) == 1:
            parts.append(_count(self.threads, "thread"))
        return ", ".join(filter(None, (*parts, self.how)))

    @property
    def n_cores(self) -> int:
        """Cores that it needs."""
        return self.threads * self.ranks

    @property
    def oversubscribed(self) -> bool:
        """Whether it needs more cores than there are."""
        return self.n_cores > len(machine.cores())

    @property
    def record(self) -> dict[str, object]:
        """What its record begins with."""
        return {"name": self.name, "library": self.library, "how": self.how, "threads": self.threads, "ranks": self.ranks}

    def missing(self, oversubscribe: bool = False) -> str | None:
        """Return why it cannot run here, or None; `oversubscribe` allows more ranks than cores."""
        if self.library != "paralift" and find_spec(self.library) is None:
            return "not installed"
        if self.oversubscribed and not oversubscribe:
            return f"needs {self.n_cores} cores"
        return mpi_missing(self.ranks) if self.library == "paralift" else None

    def environment(self) -> dict[str, str]:
        """Return the environment of its program: nothing that pins slow kernels, and as many threads as it is to have."""
        found = clean(os.environ, self.threads)
        if self.library == "jax":
            eigen = "true" if self.threads > 1 else "false"
            found["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={eigen} intra_op_parallelism_threads={self.threads}"
            found["JAX_PLATFORMS"] = "cpu"
        return found

    def start(self, problem: Problem, block_seconds: float) -> PeerProcess:
        """Start its program for a problem."""
        cores, environment = spread(self.n_cores), self.environment()
        program = [str(CHILDREN / (self.program or f"{self.library}_step.py")), *problem.arguments,
                   f"--block={block_seconds}", *self.options]  # fmt: skip
        if self.library == "paralift" or self.ranks > 1:
            program.append(f"--cores={','.join(map(str, cores))}")
        elif self.library == "torch":
            program.append(f"--threads={self.threads}")
        if self.library == "paralift" and self.ranks > 1:
            return start_ranks(program, self.ranks, environment, cores)
        return PeerProcess([sys.executable, *program], environment, cores)


def spread(n: int) -> list[int]:
    """Return a core for each of `n` threads: the last ones, and again from the first where there are too few."""
    cores = machine.cores()
    return cores[-n:] if n <= len(cores) else [cores[k % len(cores)] for k in range(n)]


def mpi_missing(ranks: int) -> str | None:
    """Return why `ranks` ranks cannot be started here, or None."""
    if ranks == 1:
        return None
    if find_spec("mpi4py") is None:
        return "mpi4py is not installed"
    try:
        mpirun_command(ranks)
    except LaunchError:
        return "no MPI launcher"
    return None


def start_ranks(program: Sequence[str], ranks: int, environment: dict[str, str], cores: Sequence[int]) -> PeerProcess:
    """Start a program on `ranks` ranks, which bind themselves to cores; more ranks than cores yield while they wait."""
    launcher, *rest = mpirun_command(ranks)
    if ranks > len(set(cores)):
        environment = {"OMPI_MCA_mpi_yield_when_idle": "1", **environment}
    return PeerProcess([launcher, "--bind-to", "none", *rest, *program], mpi_environment(environment), cores)


LAYERS = {"unflushed": "layers, unflushed", "flush": "layers, flushed"}
"""Names of the schedules of stages."""
DATA = "data"
PLANNED = "as planned"
COPIES = "each alone"
PIPELINING = "pipelining"
"""What the names of PyTorch's pipelines begin with."""


def layers(ranks: int, schedule: str) -> Contestant:
    """Return ParaLift with a stage of layers on each rank."""
    options = (f"--stages={ranks}", f"--schedule={schedule}")
    return Contestant("paralift", LAYERS[schedule], ranks=ranks, options=options)


def data(ranks: int) -> Contestant:
    """Return ParaLift with a shard of the data on each rank."""
    return Contestant("paralift", DATA, ranks=ranks, options=("--stages=1",))


def planned(ranks: int) -> Contestant:
    """Return ParaLift as a run would choose by its prediction: layers or data, and how."""
    return Contestant("paralift", PLANNED, ranks=ranks, options=("--planned",))


def copies(ranks: int) -> Contestant:
    """Return ParaLift on so many ranks that each train alone: what cores that work at once cost one another."""
    return Contestant("paralift", COPIES, ranks=ranks, options=("--copies",))


def entrants(problem: Problem, contestants: Sequence[Contestant]) -> list[Contestant]:
    """Return those whose programs know the problem."""
    return [c for c in contestants if problem.cuttable or not c.cuts]


def contestants(peers: Sequence[str], quick: bool, compiled_pairs: bool = True) -> list[Contestant]:
    """Return what is compared; ParaLift on one rank first."""
    found = [Contestant("paralift", ""), copies(2), Contestant("paralift", "", threads=2)]
    found += [layers(2, "unflushed"), layers(2, "flush"), data(2), planned(2)]
    for threads in (1, 2):
        if "torch" in peers:
            found.append(Contestant("torch", "eager", threads))
            if not quick:
                found.append(Contestant("torch", "compiled", threads, options=("--compile",)))
        if "jax" in peers:
            found.append(Contestant("jax", "jitted", threads))
    return found + (_pairs(quick, compiled_pairs and not quick) if "torch" in peers else [])


def _pairs(quick: bool, compiled_too: bool) -> list[Contestant]:
    """Return PyTorch on two processes: its pipelines and its data parallelism, compiled where that is faster."""
    compiled = ("--compile",) if compiled_too else ()
    more = ("--micro-batches=2,4",) if quick else compiled
    found = [
        Contestant("torch", f"{PIPELINING} {name}", ranks=2, options=(f"--schedule={name}", *more),
                   program="torch_pipeline_step.py", cuts=True)
        for name in ("GPipe", "1F1B")
    ]  # fmt: skip
    return [*found, Contestant("torch", "DistributedDataParallel", ranks=2, options=compiled, program="torch_ddp_step.py")]


def _count(n: int, unit: str) -> str:
    plural = f"{unit}es" if unit.endswith("s") else f"{unit}s"
    return f"{n} {unit if n == 1 else plural}"
