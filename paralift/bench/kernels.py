"""``paralift bench kernels``: fused kernels in bytes moved a second, as a share of a copy measured in the same run.

Bytes are each input read once and each output written once; a copy of one of the arrays is timed before each run. One thread,
on one core; on a CUDA device times come from events. The same formula by whole-array operations stands beside. More than
100 % is no mistake: a processor reads the lines that a copy is going to overwrite, and a kernel that works in place needs
what it reads.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from paralift.bench import machine, report
from paralift.bench.clean import start_clean
from paralift.bench.kernel_cases import Arrays, Case, cases
from paralift.bench.protocol import REPEATS, Timing, once

SHAPE = (16384, 1024)
"""16 Mi numbers: far beyond every cache."""
QUICK_SHAPE = (256, 192)
DTYPES = ("float32", "float64")
PATIENCE = 2.0
"""Seconds after which a formula is not run a second time."""

Clock = Callable[[Callable[[], Any]], float]


def measure_case(case: Case, arrays: Arrays, repeats: int, clock: Clock) -> dict[str, Any]:
    """Return the record of a case: the times of kernel, copy and formula, bytes a second, share of the copy."""
    work, row = arrays.of(case), arrays.row
    kernel: list[float] = []
    copy: list[float] = []
    formula: list[float] = []
    for k in range(repeats + 1):  # the first one compiles
        arrays.prepare(case)
        copied = clock(arrays.copy)
        ran = clock(lambda: case.kernel.run(case.act, work, row))
        if k:
            copy.append(copied)
            kernel.append(ran)
    while len(formula) < min(repeats, 3) and not (formula and formula[-1] > PATIENCE):
        arrays.prepare(case)
        formula.append(clock(lambda: case.kernel.formula(case.act, work, row)))
    return _record(case, arrays, Timing(tuple(kernel)), Timing(tuple(copy)), Timing(tuple(formula)))


def _record(case: Case, arrays: Arrays, kernel: Timing, copy: Timing, formula: Timing) -> dict[str, Any]:
    n_bytes = case.kernel.n_moved * arrays.n_bytes
    rate, yardstick = n_bytes / kernel.median, 2 * arrays.n_bytes / copy.median
    return {
        "family": case.kernel.family, "variant": case.variant, "dtype": arrays.dtype, "shape": list(arrays.pattern.shape),
        "bytes": n_bytes, "bytes_per_s": rate, "copy_bytes_per_s": yardstick, "share_of_copy": rate / yardstick,
        "times_faster_than_formula": formula.median / kernel.median,
        "kernel": kernel.record(), "copy": copy.record(), "formula": formula.record(),
    }  # fmt: skip


def run_all(
    xp: ModuleType, shape: tuple[int, int], dtypes: Sequence[str], families: Sequence[str], repeats: int, clock: Clock
) -> list[dict[str, Any]]:
    """Return the records of all cases of some kernels (all if none is named)."""
    records = []
    for dtype in dtypes:
        arrays = Arrays(xp, shape, dtype)
        chosen = [c for c in cases() if not families or c.kernel.family in families]
        records += [measure_case(case, arrays, repeats, clock) for case in chosen]
    return records


def cuda() -> tuple[ModuleType, Clock, dict[str, Any]] | str:
    """Return CuPy, a clock by events and what device it is, or why there is none."""
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
    except ImportError:
        return "CuPy is not installed"
    except Exception as error:  # CuPy's own, which cannot be named without it
        return f"no CUDA device: {error}"
    if not count:
        return "no CUDA device"

    def clock(work: Callable[[], Any]) -> float:
        # What was put back before is still on its way, so that the device never waits for a launch.
        start, stop = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        work()
        stop.record()
        stop.synchronize()
        return cupy.cuda.get_elapsed_time(start, stop) / 1e3

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    facts = {"name": properties["name"].decode(), "bytes": int(properties["totalGlobalMem"]), "cupy": cupy.__version__}
    return cupy, clock, {**facts, "runtime": cupy.cuda.runtime.runtimeGetVersion()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = report.parse(_parser(), argv)
    if isinstance(args, int):
        return args
    code = start_clean("paralift.bench.kernels", argv)
    return _run(args, argv) if code is None else code


def _parser() -> argparse.ArgumentParser:
    parser = report.arguments("paralift bench kernels", "Fused kernels against a copy of the same run.")
    families = sorted({c.kernel.family for c in cases()})
    parser.add_argument("--families", nargs="+", default=[], choices=families, metavar="FAMILY", help=", ".join(families))
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=DTYPES, metavar="DTYPE", help=", ".join(DTYPES))
    parser.add_argument("--repeats", type=int, default=2 * REPEATS, help="at least 1 (default %(default)s)")
    return parser


def _run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    shape, repeats = (QUICK_SHAPE, 2) if args.quick else (SHAPE, max(1, args.repeats))
    record: dict[str, Any] = {"machine": machine.describe(["paralift", "bench", "kernels", *argv])}
    record["rates"] = machine.rates(args.quick)
    with machine.one_core():
        record["cpu"] = run_all(np, shape, args.dtypes, args.families, repeats, once)
    show(f"{record['machine']['cpu']}, one core, {shape[0]} x {shape[1]} numbers", record["cpu"])
    found = cuda()
    if isinstance(found, str):
        record["device"] = found
        print(f"device: {found}")
    else:
        xp, clock, record["device"] = found
        record["cuda"] = run_all(xp, shape, args.dtypes, args.families, repeats, clock)
        show(f"{record['device']['name']}, {shape[0]} x {shape[1]} numbers", record["cuda"])
    report.write(args, "kernels", record)
    return 0


def show(title: str, records: Sequence[dict[str, Any]]) -> None:
    """Print the table of one device."""
    rows = []
    for r in records:
        spread, copy = f"{100 * r['kernel']['spread']:.0f} %", f"{r['copy_bytes_per_s'] / 1e9:.1f}"
        rows.append((
            f"{r['family']} {r['variant']}", r["dtype"], f"{1e3 * r['kernel']['median_s']:.3f}", spread,
            f"{r['bytes_per_s'] / 1e9:.1f}", copy, f"{100 * r['share_of_copy']:.0f} %",
            f"{1e3 * r['formula']['median_s']:.3f}", f"{r['times_faster_than_formula']:.1f}",
        ))  # fmt: skip
    columns = ("kernel", "dtype", "ms", "spread", "GB/s", "copy GB/s", "of copy", "formula ms", "times faster")
    report.show(title, columns, rows)


if __name__ == "__main__":
    sys.exit(main())
