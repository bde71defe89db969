"""``paralift bench project``: weak scaling carried to 1,024 ranks by the cost model of plans, beside a simulation.

A projection, not a measurement: one block is timed on one core of this machine, the links are numbers that are given. The
model (`paralift.parallel.predict`) and the simulation (`paralift.bench.simulation`) get the same numbers; the simulation plays
every task and message of every rank, with links that carry one message after another, rings hop by hop, and, where wanted,
computing times that vary.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paralift.bench import machine, report
from paralift.bench.clean import start_clean
from paralift.bench.projection.blocks import Measured, measure_block, scaled
from paralift.bench.projection.plot import draw
from paralift.bench.projection.points import KINDS, Setting, largest_loss, project
from paralift.bench.simulation import Link
from paralift.bench.simulation.pipeline import SCHEDULES

REPEATS = 15
QUICK = {"max_ranks": 8, "width": 64, "blocks": 2, "rows": 16, "micro_batches": 4, "stages": 4}
"""What --quick takes instead."""
SAYS = "a projection: one block was measured on one core, nothing on more than one rank"
TEXT = (
    "Weak scaling to many ranks: A PROJECTION by the cost model of plans, beside a discrete-event simulation of the same "
    "schedule. One block is measured on one core of this machine; the links are the numbers given here."
)
FLOPS = (
    "operations a second of one rank: all times of a block are scaled so that its forward pass runs at this rate, software "
    "stays as it is. The default links (25 GB/s, 2 us) belong to nodes whose ranks are faster than a core: 2e12 for a socket, "
    "5e13 for a GPU. Default: as measured here"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Project; return the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = report.parse(_parser(), argv)
    if isinstance(args, int):
        return args
    code = start_clean("paralift.bench.project", argv)
    return _run(args, argv) if code is None else code


def _parser() -> argparse.ArgumentParser:
    parser = report.arguments("paralift bench project", TEXT)
    add = parser.add_argument
    add("--kinds", nargs="+", default=list(KINDS), choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    add("--schedules", nargs="+", default=list(SCHEDULES), choices=SCHEDULES, metavar="NAME", help=", ".join(SCHEDULES))
    add("--max-ranks", type=_whole, default=1024, metavar="P", help="ranks are 1, 2, 4 ... to this (default %(default)s)")
    add("--ranks", type=_whole, nargs="+", metavar="P", help="these numbers of ranks instead")
    add("--width", type=_whole, default=1024, metavar="N", help="of a block's square weights (default %(default)s)")
    add("--blocks", type=_whole, default=4, metavar="N", help="on every rank (default %(default)s)")
    add("--rows", type=_whole, default=64, metavar="N", help="of a micro-batch (default %(default)s)")
    text = "of a batch on a shard, at least: S stages take 2 (S - 1), with shards 3 (S - 1) (default %(default)s)"
    add("--micro-batches", type=_whole, default=16, metavar="M", help=text)
    add("--stages", type=_whole, default=16, metavar="S", help='of the kind "both", then shards (default %(default)s)')
    add("--latency", type=_time, default=2e-6, metavar="S", help="of a message, in s (default %(default)s)")
    add("--bandwidth", type=_rate, default=25e9, metavar="B", help="of a rank's link, in bytes/s (default %(default)g)")
    text = "seconds that a message takes from the processor of each side (default %(default)s)"
    add("--overhead", type=_time, default=1e-6, metavar="S", help=text)
    add("--flops", type=_rate, metavar="F", help=FLOPS)
    text = "standard deviation of the logarithm of a task's time; 0 for none (default %(default)s)"
    add("--jitter", type=_share, default=0.05, metavar="J", help=text)
    add("--seed", type=int, default=0, metavar="N", help="of the jitter (default %(default)s)")
    add("--plot", metavar="FILE.png", help="draw the efficiencies; with --out also into that folder")
    return parser


def _whole(text: str) -> int:
    return _number(int, text, lambda n: n >= 1, "a whole number of 1 or more")


def _time(text: str) -> float:
    return _number(float, text, lambda x: 0 <= x < 1, "seconds from 0 to 1")


def _rate(text: str) -> float:
    return _number(float, text, lambda x: 0 < x < float("inf"), "a finite number above 0")


def _share(text: str) -> float:
    return _number(float, text, lambda x: 0 <= x < 1, "a number from 0 to 1")


def _number(kind: Any, text: str, good: Any, expected: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not good(value):
        raise argparse.ArgumentTypeError(f"{text!r} was given, expected {expected}")
    return value


def _run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    if args.quick:
        vars(args).update(QUICK)
    record: dict[str, Any] = {"is": SAYS, "machine": machine.describe(["paralift", "bench", "project", *argv])}
    record["rates"] = machine.rates(args.quick)
    measured = measure_block(args.width, args.blocks, args.rows, 3 if args.quick else REPEATS)
    setting = _setting(args, measured)
    options = {name: value for name, value in vars(args).items() if name not in ("json", "out", "plot", "quick")}
    record |= {"options": options, "block": measured.record(), "block_flops": args.flops or measured.flops}
    record["points"] = []
    for kind in args.kinds:
        for schedule in args.schedules:
            points = [_point(setting, kind, p, schedule) for p in _ranks(args, kind)]
            _show(f"{kind}, {schedule} ({SAYS})", points, setting)
            record["points"] += points
    _draw(args, record)
    report.write(args, "project", record)
    return 0


def _ranks(args: argparse.Namespace, kind: str) -> list[int]:
    """Return the numbers of ranks of a kind; those that do not fill whole shards of stages are left out."""
    wanted = args.ranks or [1 << k for k in range(args.max_ranks.bit_length())]
    return [p for p in wanted if kind != "both" or p <= args.stages or p % args.stages == 0]


def _setting(args: argparse.Namespace, measured: Measured) -> Setting:
    cost = measured.cost if args.flops is None else scaled(measured.cost, measured.flops / args.flops)
    link = Link(args.latency, args.bandwidth, args.overhead)
    return Setting(
        args.width, args.blocks, args.rows, args.micro_batches, args.stages, cost, measured.step, measured.turn, link,
        args.jitter, args.seed,
    )  # fmt: skip


def _point(setting: Setting, kind: str, ranks: int, schedule: str) -> dict[str, Any]:
    start = time.perf_counter()
    point = project(setting, kind, ranks, schedule)
    return {**point, "simulated_in_s": time.perf_counter() - start}


def _show(title: str, points: Sequence[dict[str, Any]], setting: Setting) -> None:
    """Print the table of one kind and schedule."""
    rows = []
    for p in points:
        still, noisy, below = p["simulation"], p["simulation_with_jitter"], p["model_below_simulation_percent"]
        rows.append((
            f"{p['ranks']} = {p['shards']} x {p['stages']}", str(p["micro_batches"]), f"{1e3 * p['seconds_alone']:.4g}",
            f"{1e3 * p['model']['seconds']:.4g}", f"{1e3 * still['seconds']:.4g}",
            f"{below:.2f} %", f"{p['model']['efficiency']:.3f}", f"{still['efficiency']:.3f}",
            f"{noisy['efficiency']:.3f}", largest_loss(noisy),
        ))  # fmt: skip
    columns = (
        "ranks = shards x stages", "micro-batches", "ms alone", "ms, model", "ms, simulated", "model below",
        "efficiency: model", "simulated", f"with {100 * setting.jitter:g} % jitter", "lost most by",
    )  # fmt: skip
    report.show(title, columns, rows, width=210)


def _draw(args: argparse.Namespace, record: dict[str, Any]) -> None:
    paths = [Path(args.plot)] if args.plot else []
    if args.out is not None:
        paths.append(Path(args.out) / "project.png")
    rate = f"{record['block_flops'] / 1e9:.4g} GFLOP/s a rank"
    title = f"A projection: {args.blocks} blocks of {args.width} a rank, {args.rows} rows a micro-batch, {rate}"
    for path in paths:
        draw(record["points"], path, f"{title}, {args.bandwidth / 1e9:g} GB/s, {1e6 * args.latency:g} us")
        print(f"written: {path}")


if __name__ == "__main__":
    sys.exit(main())
