"""``paralift bench race``: seconds of training until a deep residual network reaches a test accuracy, beside PyTorch and JAX.

Programs start from the same weights and take the same batches (the network and data of `lateness`). Seconds count training
only: no start, no compilation, no evaluation. Each seed is run by every program in turn, so that drift meets all alike.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from paralift.bench import machine, report
from paralift.bench.clean import start_clean
from paralift.bench.contestants import CHILDREN, Contestant, spread
from paralift.launch import mpi_environment, mpirun_command

TARGET = 0.80
EPOCHS = 15
DEADLINE = 1800.0


@dataclass(frozen=True)
class Runner(Contestant):
    """One configuration of the race."""

    def run(self, seed: int, epochs: int, samples: int) -> list[dict[str, float]]:
        """Return seconds of training and test accuracy after each epoch; raise OSError if the program failed."""
        cores, environment = spread(self.n_cores), self.environment()
        command = [sys.executable, str(CHILDREN / f"race_{self.library}.py"), str(seed), str(epochs), str(samples),
                   ",".join(map(str, cores)), *self.options]  # fmt: skip
        if self.ranks > 1:
            launcher, *rest = mpirun_command(self.ranks)
            command = [launcher, "--bind-to", "none", *rest, *command[1:]]
            environment = mpi_environment(environment)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE)
        lines = [line for line in done.stdout.splitlines() if line.startswith('{"epochs"')]
        if done.returncode or not lines:
            raise OSError(f"{self.name}: exit code {done.returncode}; {done.stderr.strip()[-400:]}")
        return list(json.loads(lines[-1])["epochs"])


def runners(peers: Sequence[str], quick: bool) -> list[Runner]:
    """Return who takes part."""
    found = [Runner("paralift", "unflushed", ranks=2), Runner("paralift", "")]
    for threads in (1,) if quick else (1, 2):
        if "torch" in peers:
            found.append(Runner("torch", "eager", threads))
            if not quick:
                found.append(Runner("torch", "compiled", threads, options=("--compile",)))
        if "jax" in peers:
            found.append(Runner("jax", "jitted", threads))
    return found


def until(epochs: Sequence[Mapping[str, float]], target: float) -> float | None:
    """Return the seconds of training until the accuracy first reaches the target; None if it never does."""
    seconds = 0.0
    for epoch in epochs:
        seconds += epoch["seconds"]
        if epoch["accuracy"] >= target:
            return seconds
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the race; return the exit code: 1 if a program failed, 0 even where a peer is not installed."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = report.arguments("paralift bench race", "Seconds until a test accuracy, beside PyTorch and JAX.")
    parser.add_argument("--peers", default="torch,jax", help="torch,jax, one of them, or none")
    parser.add_argument("--seeds", type=int, default=5, help="default %(default)s")
    parser.add_argument("--target", type=float, default=TARGET, help="test accuracy (default %(default)s)")
    args = report.parse(parser, argv)
    if isinstance(args, int):
        return args
    peers = [] if args.peers == "none" else args.peers.split(",")
    if set(peers) - {"torch", "jax"} or args.seeds < 1 or not 0 < args.target < 1:
        print("paralift bench race: expected --peers of torch,jax, at least one seed, a target in (0, 1)", file=sys.stderr)
        return 2
    code = start_clean("paralift.bench.race", argv)
    return _run(args, peers, argv) if code is None else code


def _run(args: Any, peers: Sequence[str], argv: Sequence[str]) -> int:
    seeds, epochs, samples = (1, 1, 1000) if args.quick else (args.seeds, EPOCHS, 20000)
    field = runners(peers, args.quick)
    records: list[dict[str, Any]] = [{**r.record, "status": r.missing() or "measured", "seeds": []} for r in field]
    for seed in range(seeds):
        for runner, record in zip(field, records, strict=True):
            if record["status"] != "measured":
                continue
            try:
                found = runner.run(seed, epochs, samples)
            except (OSError, subprocess.TimeoutExpired) as error:
                record["status"] = f"failed: {error}"
                continue
            record["seeds"].append({"epochs": found, "until_s": until(found, args.target)})
            print(f"seed {seed}, {record['name']}: {_seconds(until(found, args.target))}", flush=True)
    compared = summarise(records)
    show(records, compared, args.target)
    record = {"machine": machine.describe(["paralift", "bench", "race", *argv]), "target": args.target}
    report.write(args, "race", {**record, "results": records, "ratio": compared})
    return int(any(r["status"].startswith("failed") for r in records))


def summarise(records: Sequence[dict[str, Any]]) -> float | None:
    """Add the median time to records whose runs all arrived; return the best peer's time over that of ParaLift's 2 ranks."""
    for record in records:
        times = [run["until_s"] for run in record["seeds"]]
        if times and None not in times:
            record["median_s"] = median(times)
    own = [r["median_s"] for r in records if r["library"] == "paralift" and r["ranks"] == 2 and "median_s" in r]
    peers = [r["median_s"] for r in records if r["library"] != "paralift" and "median_s" in r]
    return min(peers) / min(own) if own and peers else None


def show(records: Sequence[dict[str, Any]], compared: float | None, target: float) -> None:
    """Print the table."""
    rows = []
    for r in records:
        times = " ".join(_seconds(run["until_s"]) for run in r["seeds"])
        seconds = [e["seconds"] for run in r["seeds"] for e in run["epochs"]]
        epoch = f"{median(seconds):.3f}" if seconds else ""
        rows.append((r["name"], _seconds(r.get("median_s")) if seconds else r["status"], times, epoch))
    report.show(f"seconds of training to test accuracy {target:g}", ("", "median", "seeds", "an epoch"), rows)
    if compared is not None:
        print(f"2 ranks, times faster than the best peer: {compared:.2f}")


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f} s"


if __name__ == "__main__":
    sys.exit(main())
