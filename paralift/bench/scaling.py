"""``paralift bench scaling``: training steps on 1, 2, ... ranks, by layers (unflushed, flushed) and by data.

Strong scaling keeps the problem: more ranks share the same network and batch. Weak scaling keeps what a rank has: its samples
where data are shared, its hidden layers where layers are (they are repeated, the batch stays). A series is one way to use
ranks; its programs, on one rank of the same code and on more, take turns (A B C A B C ...). The base of all its figures is its
own run on one rank:

    speed-up = (operations a second on P ranks) / (operations a second on one),     efficiency = speed-up / P

counting the operations of matrix products, so that weak scaling is judged by the same numbers: where the problem is the same,
the speed-up is the ratio of times. Beside it stands what the plan's cost model predicts. More ranks than cores are marked: they
show that it works, not how fast.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from paralift.bench import machine, report
from paralift.bench.clean import start_clean
from paralift.bench.contestants import DATA, LAYERS, Contestant, data, layers, mpi_missing
from paralift.bench.peer_process import PeerProcess, orderly
from paralift.bench.problems import QUICK, SHAPES, Shape
from paralift.bench.scaling_files import write_csv, write_plots
from paralift.bench.turns import STATISTIC, take_turns

MODES = ("strong", "weak")
SERIES = {LAYERS["unflushed"]: "unflushed", LAYERS["flush"]: "flush", DATA: "data"}
"""Ways to use ranks, and their names in arguments."""
QUICKLY = (("strong", LAYERS["unflushed"]), ("weak", LAYERS["flush"]), ("weak", DATA))
"""What a quick run is content with, where it was chosen: every mode and every way once."""


@dataclass(frozen=True)
class Point:
    """One number of ranks in a series.

    Attributes
    ----------
    mode : {"strong", "weak"}
    how : str
        One of `SERIES`.
    ranks : int
    base : Shape
        The problem on one rank.
    """

    mode: str
    how: str
    ranks: int
    base: Shape

    @property
    def shape(self) -> Shape:
        """The problem on these ranks."""
        if self.mode == "strong":
            return self.base
        if self.how == DATA:
            return replace(self.base, batch=self.ranks * self.base.batch)
        first, *hidden, last = self.base.widths
        return replace(self.base, widths=(first, *(hidden * self.ranks), last))

    @property
    def contestant(self) -> Contestant:
        """The program."""
        if self.ranks == 1:
            return Contestant("paralift", "")
        return data(self.ranks) if self.how == DATA else layers(self.ranks, SERIES[self.how])

    def missing(self) -> str | None:
        """Return why it cannot run, or None."""
        shape = self.shape
        if self.how == DATA and shape.batch < self.ranks:
            return f"a batch of {shape.batch}"
        if self.how != DATA and len(shape.widths) - 1 < self.ranks:
            return f"{len(shape.widths) - 1} layers"
        return self.contestant.missing(oversubscribe=True)

    def start(self, block_seconds: float) -> PeerProcess:
        """Start the program."""
        return self.contestant.start(self.shape, block_seconds)

    @property
    def record(self) -> dict[str, Any]:
        """What its record begins with."""
        shape = self.shape
        return {"shape": shape.name, "mode": self.mode, "how": self.how, "ranks": self.ranks,
                "oversubscribed": self.contestant.oversubscribed, "widths": list(shape.widths), "batch": shape.batch,
                "flop": shape.flops}  # fmt: skip


def measure(mode: str, how: str, shape: Shape, ranks: Sequence[int], rounds: int, block_seconds: float) -> list[dict[str, Any]]:
    """Return the records of one series, in the order of `ranks`, which begin with 1."""
    points = [Point(mode, how, n, shape) for n in ranks]
    records: list[dict[str, Any]] = [{**p.record, "status": p.missing()} for p in points]
    entries = [
        (record, lambda point=point: point.start(block_seconds))
        for point, record in zip(points, records, strict=True)
        if record["status"] is None
    ]
    take_turns(entries, rounds)
    relate(records)
    return records


def relate(records: Sequence[dict[str, Any]]) -> None:
    """Add rates, speed-ups and efficiencies, measured and predicted, to the records of a series; its base comes first."""
    base = records[0]
    for r in records:
        if "step_s" in r:
            r["flops"] = r["flop"] / r["step_s"]
            r["predicted_s"] = r["facts"]["predicted_s"]
    for r in records:
        if "step_s" in r and "step_s" in base:
            r["base_step_s"] = base["step_s"]
            r["speed_up"] = r["flops"] / base["flops"]
            r["efficiency"] = r["speed_up"] / r["ranks"]
            r["predicted_speed_up"] = (r["flop"] / r["predicted_s"]) / (base["flop"] / base["predicted_s"])


def numbers(most: int) -> list[int]:
    """Return the numbers of ranks up to `most`: the powers of two, and `most` itself."""
    return sorted({2**k for k in range(most.bit_length()) if 2**k <= most} | {most})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code: 1 if a program failed, 2 for wrong arguments."""
    argv = list(sys.argv[1:] if argv is None else argv)
    cores = len(machine.cores())
    parser = report.arguments("paralift bench scaling", "Training steps on 1, 2, ... ranks; --out also gets a CSV and plots.")
    parser.add_argument("--ranks", type=int, default=cores, help="most ranks (default: the cores, here %(default)s)")
    parser.add_argument("--shapes", default="small,deep64", help=f"some of {','.join(s.name for s in SHAPES)}")
    parser.add_argument("--modes", default=",".join(MODES), help="some of %(default)s")
    parser.add_argument("--series", default=",".join(SERIES.values()), help="some of %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="turns of every program (default %(default)s)")
    parser.add_argument("--block", type=float, default=0.2, help="seconds of a block (default %(default)s)")
    args = report.parse(parser, argv)
    if isinstance(args, int):
        return args
    known = {"shapes": [s.name for s in SHAPES], "modes": list(MODES), "series": list(SERIES.values())}
    wrong = [name for key, names in known.items() for name in getattr(args, key).split(",") if name not in names]
    if wrong or min(args.ranks, args.rounds) < 1 or not args.block > 0:
        print(f"paralift bench scaling: {wrong or 'a number that is not positive'}: expected shapes of {known['shapes']}, "
              f"modes of {known['modes']}, series of {known['series']}, at least one rank and round, a positive block",
              file=sys.stderr)  # fmt: skip
        return 2
    if (reason := mpi_missing(args.ranks)) is not None:
        print(f"paralift bench scaling: {args.ranks} ranks were asked for, but {reason}; install both: "
              "pip install 'paralift[mpi]', or take --ranks 1", file=sys.stderr)  # fmt: skip
        return 2
    code = start_clean("paralift.bench.scaling", argv)
    if code is not None:
        return code
    with orderly():
        return _run(args, argv)


def _run(args: Any, argv: Sequence[str]) -> int:
    shapes = [QUICK] if args.quick else [s for s in SHAPES if s.name in args.shapes.split(",")]
    rounds, block = (2, 0.02) if args.quick else (args.rounds, args.block)
    ranks = numbers(min(2, args.ranks) if args.quick else args.ranks)
    series = [(mode, how) for mode in args.modes.split(",") for how, name in SERIES.items() if name in args.series.split(",")]
    if args.quick:
        series = [s for s in series if s in QUICKLY] or series
    record: dict[str, Any] = {"machine": machine.describe(["paralift", "bench", "scaling", *argv])}
    record["rates"] = machine.rates(args.quick)
    record["statistic"] = STATISTIC
    record["base"] = "one rank of the same code, in turn with the others of its series"
    record["points"] = []
    for shape in shapes:
        for mode, how in series:
            found = measure(mode, how, shape, ranks, rounds, block)
            record["points"] += found
            show(shape, mode, how, found)
    record["rates_after"] = machine.rates(args.quick)
    report.write(args, "scaling", record)
    if args.out is not None:
        for path in [write_csv(args.out, record["points"]), *write_plots(args.out, record["points"], len(machine.cores()))]:
            print(f"written: {path}")
    return int(any(p["status"].startswith("failed") for p in record["points"]))


def show(shape: Shape, mode: str, how: str, records: Sequence[dict[str, Any]]) -> None:
    """Print one series' table."""
    rows = []
    for r in records:
        name = f"{r['ranks']}{'*' if r['oversubscribed'] else ''}"
        if r["status"] != "measured":
            rows.append((name, *[""] * 6, r["status"]))
            continue
        times = [f"{1e3 * r[key]:.3f}" for key in ("step_s", "min_step_s", "predicted_s")]
        keys = ("speed_up", "efficiency", "predicted_speed_up")
        related = [f"{r[key]:.2f}" if key in r else "" for key in keys]
        facts = r["facts"]
        rows.append((name, *times, *related, f"blocks {facts['bounds']}, {facts['micro_batches']} parts"))
    columns = ("ranks", "ms a step", "fastest", "predicted", "speed-up", "efficiency", "predicted speed-up", "")
    report.show(f"{mode} scaling, {how}, {shape.name}: {shape.label} on one rank", columns, rows)
    if any(r["oversubscribed"] for r in records):
        print(f"* more ranks than the {len(machine.cores())} cores: shows that it works, not how fast")


if __name__ == "__main__":
    sys.exit(main())
