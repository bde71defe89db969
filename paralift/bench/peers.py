"""``paralift bench peers``: training steps of perceptrons by ParaLift, PyTorch and JAX, side by side.

Every configuration is a program of its own, started once for a shape and warmed up; then they are asked for blocks of steps
in turn (A B C A B C ...), so that the machine's drift meets all of them alike. What is compared: the median over the rounds
of the fastest block of a round. Steps of one rank or thread are kept on one core. ParaLift gathers its samples from a data
set; the peers find their batches ready.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

from paralift.bench import machine, report
from paralift.bench.clean import clean, start_clean
from paralift.bench.peer_process import PeerError, PeerProcess
from paralift.launch import LaunchError, mpi_environment, mpirun_command

CHILDREN = Path(__file__).parent / "children"
BLOCKS = 3
"""Blocks of a round."""
PAUSE = 0.02
"""Seconds between two programs' turns, so that threads of the last one have gone to sleep."""
PEERS = ("torch", "jax")


@dataclass(frozen=True)
class Shape:
    """A perceptron and its batch."""

    name: str
    widths: tuple[int, ...]
    batch: int

    @property
    def text(self) -> str:
        """The widths, as programs take them."""
        return "-".join(map(str, self.widths))

    @property
    def label(self) -> str:
        """The widths for people, with long runs counted."""
        runs: list[list[int]] = []
        for width in self.widths:
            if runs and runs[-1][0] == width:
                runs[-1][1] += 1
            else:
                runs.append([width, 1])
        return "-".join(f"{w}x{n}" if n > 2 else "-".join([str(w)] * n) for w, n in runs) + f", {self.batch}"

    @property
    def flops(self) -> float:
        """Operations of the matrix products of a step: three a layer, two in the first, whose input needs no pull."""
        products = [2.0 * self.batch * a * b for a, b in pairwise(self.widths)]
        return 3.0 * sum(products) - products[0]


SHAPES = (
    Shape("small", (40, 256, 256, 256, 10), 128),
    Shape("wide", (784, 1024, 1024, 1024, 1024, 10), 256),
    Shape("deep64", (64,) * 33 + (10,), 64),
    Shape("deep128", (128,) * 17 + (10,), 128),
)
QUICK = Shape("quick", (40, 64, 64, 10), 32)


@dataclass(frozen=True)
class Contestant:
    """One configuration.

    Attributes
    ----------
    library : {"paralift", "torch", "jax"}
    how : str
        What distinguishes it from others of the library.
    threads, ranks : int
        Threads of a rank, and ranks.
    options : tuple of str
        For its program.
    """

    library: str
    how: str
    threads: int = 1
    ranks: int = 1
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name in tables and records."""
        unit, n = ("rank", self.ranks) if self.library == "paralift" else ("thread", self.threads)
        return ", ".join(filter(None, (self.library, f"{n} {unit}{'s' if n > 1 else ''}", self.how)))

    @property
    def n_cores(self) -> int:
        """Cores that it needs."""
        return self.threads * self.ranks

    def missing(self) -> str | None:
        """Return why it cannot run here, or None."""
        if self.library != "paralift" and find_spec(self.library) is None:
            return "not installed"
        if self.n_cores > len(machine.cores()):
            return f"needs {self.n_cores} cores"
        if self.ranks > 1 and find_spec("mpi4py") is None:
            return "mpi4py is not installed"
        if self.ranks > 1:
            try:
                mpirun_command(self.ranks)
            except LaunchError:
                return "no MPI launcher"
        return None

    def start(self, shape: Shape, block_seconds: float) -> PeerProcess:
        """Start its program for a shape."""
        cores = machine.cores()[-self.n_cores :]
        environment = clean(os.environ, self.threads)
        program = [str(CHILDREN / f"{self.library}_step.py"), f"--widths={shape.text}", f"--batch={shape.batch}",
                   f"--block={block_seconds}", *self.options]  # fmt: skip
        python = [sys.executable]
        if self.library == "paralift":
            program.append(f"--cores={','.join(map(str, cores))}")
        if self.library == "torch":
            program.append(f"--threads={self.threads}")
        if self.library == "jax":
            eigen = "true" if self.threads > 1 else "false"
            environment["XLA_FLAGS"] = (
                f"--xla_cpu_multi_thread_eigen={eigen} intra_op_parallelism_threads={self.threads}"
            )
            environment["JAX_PLATFORMS"] = "cpu"
        if self.ranks > 1:
            launcher, *rest = mpirun_command(self.ranks)
            python = [launcher, "--bind-to", "none", *rest]  # ranks bind themselves
            environment = mpi_environment(environment)
        return PeerProcess([*python, *program], environment, cores)


def contestants(peers: Sequence[str], quick: bool) -> list[Contestant]:
    """Return what is compared; ParaLift on one rank first."""
    found = [
        Contestant("paralift", ""),
        Contestant("paralift", "layers, flushed", ranks=2, options=("--stages=2",)),
        Contestant("paralift", "data", ranks=2, options=("--stages=1",)),
    ]
    for threads in (1, 2):
        if "torch" in peers:
            found.append(Contestant("torch", "eager", threads))
            if not quick:
                found.append(Contestant("torch", "compiled", threads, options=("--compile",)))
        if "jax" in peers:
            found.append(Contestant("jax", "jitted", threads))
    return found


def compare(shape: Shape, field: Sequence[Contestant], rounds: int, block_seconds: float) -> list[dict[str, Any]]:
    """Measure one shape; return a record for each contestant, in order."""
    records: list[dict[str, Any]] = []
    with ExitStack() as stack:
        running = []
        for contestant in field:
            record = {"name": contestant.name, "library": contestant.library, "how": contestant.how,
                      "threads": contestant.threads, "ranks": contestant.ranks, "status": "measured", "rounds": []}  # fmt: skip
            records.append(record)
            if (reason := contestant.missing()) is not None:
                record["status"] = reason
                continue
            process = stack.enter_context(contestant.start(shape, block_seconds))
            if _answered(record, "facts", process.ready):
                running.append((record, process))
        for _ in range(rounds):
            for record, process in running:
                if record["status"] == "measured":
                    time.sleep(PAUSE)
                    _answered(record, "rounds", lambda process=process: process.blocks(BLOCKS))
    for record in records:
        _judge(record, shape)
    return records


def _answered(record: dict[str, Any], key: str, ask: Any) -> bool:
    """Store an answer; where the program failed, say so in the record instead."""
    try:
        answer = ask()
    except PeerError as error:
        record["status"] = f"failed: {error}"
        return False
    if key == "rounds":
        record["rounds"].append(answer)
    else:
        record[key] = answer
    return True


def _judge(record: dict[str, Any], shape: Shape) -> None:
    """Add the statistics to a record: the median over rounds of the fastest block, the fastest of all, and the rate."""
    if record["status"] == "measured":
        fastest = [min(blocks) for blocks in record["rounds"]]
        record["step_s"] = median(fastest)
        record["min_step_s"] = min(fastest)
        record["spread"] = (max(fastest) - min(fastest)) / record["step_s"]
        record["flops"] = shape.flops / record["step_s"]


def ratios(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return ParaLift's times against the best peer's: one rank against one thread, all cores, and the efficiency.

    `one_rank` is a share of the best single-threaded peer's time (lower is better), `all_cores` how many times faster the
    best of ParaLift is than the best peer of all, `efficiency` the speed-up of the best two ranks over one rank, halved.
    """
    own = [r for r in records if r["library"] == "paralift" and "step_s" in r]
    peers = [r for r in records if r["library"] != "paralift" and "step_s" in r]
    single = [r["step_s"] for r in own if r["ranks"] == 1]
    double = [r["step_s"] for r in own if r["ranks"] == 2]
    peer_single = [r["step_s"] for r in peers if r["threads"] == 1]
    found = {}
    if single and peer_single:
        found["one_rank"] = single[0] / min(peer_single)
    if own and peers:
        found["all_cores"] = min(r["step_s"] for r in peers) / min(r["step_s"] for r in own)
    if single and double:
        found["efficiency"] = single[0] / (2 * min(double))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code: 1 if a program failed, 0 even where a peer is not installed."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = report.arguments("paralift bench peers", "Training steps of ParaLift, PyTorch and JAX, side by side.")
    parser.add_argument("--peers", default=",".join(PEERS), help="torch,jax, one of them, or none")
    parser.add_argument("--shapes", default=",".join(s.name for s in SHAPES), help="some of %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="turns of every program (default %(default)s)")
    parser.add_argument("--block", type=float, default=0.2, help="seconds of a block (default %(default)s)")
    args = report.parse(parser, argv)
    if isinstance(args, int):
        return args
    peers = [] if args.peers == "none" else args.peers.split(",")
    names = args.shapes.split(",")
    wrong = (set(peers) - set(PEERS)) | (set(names) - {s.name for s in SHAPES})
    if wrong or args.rounds < 1 or not args.block > 0:
        print(f"paralift bench peers: {sorted(wrong) or 'a number that is not positive'}: expected peers of {PEERS}, "
              f"shapes of {[s.name for s in SHAPES]}, at least one round, a positive block", file=sys.stderr)  # fmt: skip
        return 2
    code = start_clean("paralift.bench.peers", argv)
    if code is not None:
        return code
    with orderly():
        return _run(args, peers, names, argv)


@contextmanager
def orderly() -> Iterator[None]:
    """Let a termination signal end the block by SystemExit, so that it ends the programs that it started."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(args: Any, peers: Sequence[str], names: Sequence[str], argv: Sequence[str]) -> int:
    shapes = [QUICK] if args.quick else [s for s in SHAPES if s.name in names]
    rounds, block = (2, 0.02) if args.quick else (args.rounds, args.block)
    record: dict[str, Any] = {"machine": machine.describe(["paralift", "bench", "peers", *argv])}
    record["rates"] = machine.rates(args.quick)
    record["statistic"] = "median over rounds of the fastest block of a round, seconds a step"
    record["shapes"] = []
    for shape in shapes:
        found = compare(shape, contestants(peers, args.quick), rounds, block)
        compared = ratios(found)
        record["shapes"].append({"name": shape.name, "widths": list(shape.widths), "batch": shape.batch,
                                 "flop": shape.flops, "results": found, "ratios": compared})  # fmt: skip
        show(shape, found, compared, record["rates"]["gemm_flops"])
    record["rates_after"] = machine.rates(args.quick)
    report.write(args, "peers", record)
    failed = [r for s in record["shapes"] for r in s["results"] if r["status"].startswith("failed")]
    return int(bool(failed))


def show(shape: Shape, records: Sequence[dict[str, Any]], compared: dict[str, float], gemm: float) -> None:
    """Print one shape's table."""
    rows = []
    for r in records:
        if r["status"] == "measured":
            rate = f"{r['flops'] / 1e9:.1f}"
            share = f"{r['flops'] / gemm / (r['ranks'] * r['threads']):.2f}"
            plan = r["facts"]
            more = f"blocks {plan['bounds']}, {plan['micro_batches']} parts" if r["library"] == "paralift" else ""
            rows.append((r["name"], f"{1e3 * r['step_s']:.3f}", f"{1e3 * r['min_step_s']:.3f}",
                         f"{100 * r['spread']:.0f} %", rate, share, more))  # fmt: skip
        else:
            rows.append((r["name"], "", "", "", "", "", r["status"]))
    columns = ("", "ms a step", "fastest", "spread", "GFLOP/s", "of GEMM a core", "")
    report.show(f"{shape.name}: {shape.label}", columns, rows)
    texts = {"one_rank": "one rank / best 1-thread peer: {:.2f}", "all_cores": "times faster than the best peer: {:.2f}",
             "efficiency": "efficiency at 2 ranks: {:.2f}"}  # fmt: skip
    print("   ".join(texts[key].format(value) for key, value in compared.items()))


if __name__ == "__main__":
    sys.exit(main())
