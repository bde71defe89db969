"""``paralift bench plan``: predicted steps and memory beside measured ones, on one rank and on two.

Every configuration is a program of its own that measures costs as a run does at its start, predicts, and then takes the very
steps that ``paralift bench peers`` measures. What is compared: the prediction of the first measurement with the median of all
blocks of steps; the bytes of the buffers with the growth of the resident memory.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from paralift.bench import machine, report
from paralift.bench.clean import clean, start_clean
from paralift.bench.contestants import CHILDREN, mpi_missing, start_ranks
from paralift.bench.peer_process import PeerProcess, orderly
from paralift.bench.problems import QUICK, SHAPES, Shape
from paralift.bench.turns import take_turns

LARGE = Shape("large", (1024,) * 9 + (10,), 512)
"""Measured for its memory, too."""


@dataclass(frozen=True)
class Case:
    """Ranks and what they share.

    Attributes
    ----------
    how : str
    ranks, stages : int
    schedule : str or None
    """

    how: str
    ranks: int
    stages: int
    schedule: str | None = None

    def missing(self) -> str | None:
        """Return why it cannot run here, or None."""
        if self.ranks > len(machine.cores()):
            return f"needs {self.ranks} cores"
        return mpi_missing(self.ranks)

    def start(self, shape: Shape, block_seconds: float) -> PeerProcess:
        """Start its program for a shape."""
        cores = machine.cores()[-self.ranks :]
        options = [*shape.arguments, f"--block={block_seconds}", f"--stages={self.stages}",
                   f"--cores={','.join(map(str, cores))}"]  # fmt: skip
        if self.schedule is not None:
            options.append(f"--schedule={self.schedule}")
        program, environment = [str(CHILDREN / "plan_step.py"), *options], clean(os.environ)
        if self.ranks > 1:
            return start_ranks(program, self.ranks, environment, cores)
        return PeerProcess([sys.executable, *program], environment, cores)


CASES = (
    Case("1 rank", 1, 1),
    Case("2 ranks, layers", 2, 2),
    Case("2 ranks, layers, flushed", 2, 2, "flush"),
    Case("2 ranks, data", 2, 1),
)


def examine(shape: Shape, cases: Sequence[Case], rounds: int, block_seconds: float) -> list[dict[str, Any]]:
    """Measure one shape; return a record for each case, in order."""
    records: list[dict[str, Any]] = [{"name": case.how, "status": case.missing()} for case in cases]
    here = [(r, case) for r, case in zip(records, cases, strict=True) if r["status"] is None]
    take_turns([(r, partial(case.start, shape, block_seconds)) for r, case in here], rounds)
    for record, _ in here:
        if record["status"] == "measured":
            judge(record)
    return records


def judge(record: dict[str, Any]) -> None:
    """Add what was measured, and prediction over measurement: of seconds, and of the largest memory of a rank."""
    facts, blocks = record["facts"], [seconds for blocks in record["rounds"] for seconds in blocks]
    record["block_s"] = median(blocks)
    record["seconds_ratio"] = facts["predicted_s"] / record["block_s"]
    record["memory_ratio"] = max(facts["predicted_bytes"]) / max(1, *facts["bytes"])


def show(shape: Shape, records: Sequence[dict[str, Any]]) -> None:
    """Print one shape's table."""
    rows = []
    for r in records:
        if r["status"] != "measured":
            rows.append((r["name"], *[""] * 7, r["status"]))
            continue
        f = r["facts"]
        seconds = (f["predicted_s"], r["block_s"])
        parts = (f["exchange_s"], f["reduction_s"] + f["bubble_s"])
        memory = (max(f["predicted_bytes"]), max(f["bytes"]))
        rows.append((
            r["name"], *(f"{1e3 * s:.3f}" for s in seconds), f"{r['seconds_ratio']:.3f}", *(f"{1e3 * s:.3f}" for s in parts),
            *(f"{m / 2**20:.1f}" for m in memory), f"blocks {f['bounds']}, {f['micro_batches']} parts",
        ))  # fmt: skip
    columns = ("", "predicted ms", "measured", "ratio", "messages", "sums, waiting", "predicted MiB", "measured", "")
    report.show(f"{shape.name}: {shape.label}", columns, rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code: 1 if a program failed."""
    argv = list(sys.argv[1:] if argv is None else argv)
    known = {s.name: s for s in (*SHAPES, LARGE)}
    parser = report.arguments("paralift bench plan", "Predicted steps and memory beside measured ones.")
    parser.add_argument("--shapes", default=",".join(known), help="some of %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every program (default %(default)s)")
    parser.add_argument("--block", type=float, default=0.2, help="seconds of a block (default %(default)s)")
    args = report.parse(parser, argv)
    if isinstance(args, int):
        return args
    names = args.shapes.split(",")
    wrong = set(names) - set(known)
    if wrong or args.rounds < 1 or not args.block > 0:
        print(f"paralift bench plan: {sorted(wrong) or 'a number that is not positive'}: expected shapes of {list(known)}, "
              "at least one round, a positive block", file=sys.stderr)  # fmt: skip
        return 2
    code = start_clean("paralift.bench.plan", argv)
    if code is not None:
        return code
    with orderly():
        return _run(args, [QUICK] if args.quick else [known[name] for name in names], argv)


def _run(args: Any, shapes: Sequence[Shape], argv: Sequence[str]) -> int:
    rounds, block = (1, 0.02) if args.quick else (args.rounds, args.block)
    record: dict[str, Any] = {"machine": machine.describe(["paralift", "bench", "plan", *argv]), "shapes": []}
    record["statistic"] = "prediction over the median of all blocks, seconds a step; bytes of the rank with most"
    for shape in shapes:
        found = examine(shape, CASES, rounds, block)
        record["shapes"].append({**shape.record, "results": found})
        show(shape, found)
    report.write(args, "plan", record)
    return int(any(r["status"].startswith("failed") for s in record["shapes"] for r in s["results"]))


if __name__ == "__main__":
    sys.exit(main())
