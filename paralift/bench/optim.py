"""``paralift bench optim``: algorithms for f + r on ranks of different speed, on a lasso with a known answer.

One rank's gradients take longer than the others', and links take time: both are injected by sleeping, so that more ranks than
this machine has cores can be compared. Seconds are those to F - F* <= the target.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from paralift import optim
from paralift.bench import machine, report
from paralift.bench.clean import start_clean
from paralift.bench.contestants import CHILDREN, mpi_missing
from paralift.launch import mpi_environment, mpirun_command

ALGORITHMS: Mapping[str, optim.Algorithm] = {
    "proximal gradient": optim.ProximalGradientDescent(),
    "proximal gradient, step 1.98/L": optim.ProximalGradientDescent(1.98),
    "FISTA": optim.FISTA(),
    "PIAG, waiting": optim.PIAG(synchronous=True),
    "PIAG": optim.PIAG(),
    "PIAG, first rule": optim.PIAG(optim.FirstAdaptive()),
    "PIAG, second rule": optim.PIAG(optim.SecondAdaptive()),
    "averaging": optim.AveragedProximalGradient(),
    "NIDS, ring": optim.NIDS(optim.graphs.ring),
    "ADMM": optim.ConsensusADMM(),
    "EF21, 4 bits": optim.EF21(optim.compression.Quantizer(optim.compression.e3m0(), norm="max", rounding="nearest")),
}
ASYNCHRONOUS = ("PIAG", "averaging")
REFERENCE = "proximal gradient"
DEADLINE = 3600.0


@dataclass(frozen=True)
class Disturbance:
    """What happens to ranks and links.

    Attributes
    ----------
    work : float
        Seconds of a rank's gradient, besides its own.
    slow : float
        By which that of `slow_rank` is longer.
    slow_rank : int
    latency : float
        Seconds of a letter; a sum over ranks takes two.
    spread : float
        Relative, of all these times: from (1 - spread) to (1 + spread).
    target, limit : float
        Of F - F*; seconds after which a run is given up.
    samples : int
        Of each rank.
    every : int
        Updates between two points of a curve.
    runs : int
        Of each algorithm.
    """

    work: float = 2e-3
    slow: float = 10.0
    slow_rank: int = 1
    latency: float = 0.0
    spread: float = 0.0
    target: float = 1e-8
    limit: float = 120.0
    samples: int = 100
    every: int = 20
    runs: int = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Compare; return the exit code: 1 if the ranks failed or a run did not arrive, 2 for wrong arguments."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = report.arguments("paralift bench optim", "Algorithms for f + r on ranks of different speed.")
    parser.add_argument("--ranks", type=int, default=4, help="default %(default)s")
    parser.add_argument("--slow", type=float, default=10.0, help="how many times slower rank 1 is (default %(default)s)")
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds of a letter (default %(default)s)")
    parser.add_argument("--work", type=float, default=2.0, help="milliseconds of a gradient (default %(default)s)")
    storms = "instead: N runs of the asynchronous ones with random times; letters overtake each other"
    parser.add_argument("--storms", type=int, default=0, metavar="N", help=storms)
    args = report.parse(parser, argv)
    if isinstance(args, int):
        return args
    if args.ranks < 2 or min(args.slow, args.work) <= 0 or min(args.latency, args.storms) < 0:
        print("paralift bench optim: expected at least 2 ranks, slow and work > 0, latency and storms >= 0", file=sys.stderr)
        return 2
    missing = mpi_missing(args.ranks)
    if missing:
        print(f"paralift bench optim: {missing}; pip install 'paralift[mpi]'", file=sys.stderr)
        return 2
    code = start_clean("paralift.bench.optim", argv)
    return _run(args, argv) if code is None else code


def _run(args: Any, argv: Sequence[str]) -> int:
    times = {"work": args.work * 1e-3, "slow": args.slow, "latency": args.latency * 1e-3}
    if args.storms:
        how = Disturbance(**{**times, "latency": times["latency"] or 1e-3}, spread=0.9, target=1e-7, every=0, runs=args.storms)
        names = list(ASYNCHRONOUS)
    else:
        how, names = Disturbance(**times), list(ALGORITHMS)
    if args.quick:
        how = Disturbance(
            **{**asdict(how), "work": 2e-4, "target": 1e-2, "limit": 20.0, "runs": how.runs if args.storms else 1}
        )
        names = [name for name in names if name in (REFERENCE, *ASYNCHRONOUS)]
    try:
        runs = on_ranks(args.ranks, names, how)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"paralift bench optim: {error}", file=sys.stderr)
        return 1
    results = summarise(names, runs)
    show(results, f"{args.ranks} ranks, one {args.slow:g} times slower: to F - F* <= {how.target:g}")
    record = {"machine": machine.describe(["paralift", "bench", "optim", *argv]), "ranks": args.ranks}
    report.write(args, "optim-storms" if args.storms else "optim", {**record, "disturbance": asdict(how), "results": results})
    return int(any(r["arrived"] < r["runs"] for r in results))


def on_ranks(ranks: int, names: Sequence[str], how: Disturbance) -> list[dict[str, Any]]:
    """Return the runs of the algorithms on as many ranks; raise OSError if they failed."""
    command = [*mpirun_command(ranks), str(CHILDREN / "optim_ranks.py"), ";".join(names), json.dumps(asdict(how))]
    environment = mpi_environment({**os.environ, "OMPI_MCA_mpi_yield_when_idle": "1"})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE)
    runs = [json.loads(line)["run"] for line in done.stdout.splitlines() if line.startswith('{"run"')]
    if done.returncode or len(runs) < len(names) * how.runs:
        raise OSError(f"{ranks} ranks: exit code {done.returncode}, {len(runs)} runs; {done.stderr.strip()[-400:]}")
    return runs


def summarise(names: Sequence[str], runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a record of each algorithm: medians over its runs, and the runs themselves without all but the first curve."""
    results = []
    for name in names:
        own = [dict(run) for run in runs if run["name"] == name]
        for run in own[1:]:
            del run["curve"]
        found: dict[str, Any] = {"name": name, "runs": len(own), "arrived": sum(run["reason"] == "until" for run in own)}
        for key in ("seconds", "updates", "bytes"):
            found[key] = median(run[key] for run in own)
        found["largest_gap"] = max(run["gap"] for run in own)
        results.append({**found, "single": own})
    return results


def show(results: Sequence[Mapping[str, Any]], title: str) -> None:
    """Print the table."""
    reference = next((r["seconds"] for r in results if r["name"] == REFERENCE), None)
    rows = []
    for r in results:
        ratio = "" if reference is None else f"{r['seconds'] / reference:.2f}"
        gradients = r["single"][0]["gradients"]
        rows.append((
            r["name"], f"{r['seconds']:.2f} s", ratio, f"{r['updates']:.0f}", f"{r['bytes'] / 1e3:.0f} kB",
            "" if gradients is None else " ".join(map(str, gradients)), f"{r['arrived']} of {r['runs']}",
        ))  # fmt: skip
    columns = ("", "median", "of the reference", "updates", "sent by all", "gradients by rank", "arrived")
    report.show(title, columns, rows)


if __name__ == "__main__":
    sys.exit(main())
