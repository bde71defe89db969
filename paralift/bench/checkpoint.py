"""``paralift bench checkpoint``: what checkpoints cost: seconds beside plain writing, their share of a run, and memory.

A perceptron is trained by two ranks for some epochs, once with a run folder and once without. The folder's file system is asked
for its own speed by writing the same bytes to one file, with fsync, in the same run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from paralift.bench import machine, report
from paralift.bench.clean import start_clean
from paralift.bench.contestants import CHILDREN
from paralift.launch import mpi_environment, mpirun_command

WIDTH, QUICK_WIDTH = 2048, 64
EPOCHS, BATCHES, QUICK_BATCHES = 5, 100, 5
PLAIN = 5
DEADLINE = 900.0
CHUNK = 1 << 22


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = report.arguments("paralift bench checkpoint", "What checkpoints cost.")
    parser.add_argument("--ranks", type=int, default=2, help="default %(default)s")
    parser.add_argument("--folder", help="where the run folders go (default: the system's for temporary files)")
    args = report.parse(parser, argv)
    if isinstance(args, int):
        return args
    if args.ranks < 1:
        print("paralift bench checkpoint: expected at least one rank", file=sys.stderr)
        return 2
    code = start_clean("paralift.bench.checkpoint", argv)
    return _run(args, argv) if code is None else code


def _run(args: Any, argv: Sequence[str]) -> int:
    width, batches = (QUICK_WIDTH, QUICK_BATCHES) if args.quick else (WIDTH, BATCHES)
    with TemporaryDirectory(dir=args.folder) as folder:
        try:
            saved = _trained(args.ranks, width, batches, folder + "/run")
            alone = _trained(args.ranks, width, batches, "")
        except (OSError, subprocess.TimeoutExpired) as error:
            print(f"paralift bench checkpoint: {error}", file=sys.stderr)
            return 1
        plain = [_plain(Path(folder) / "plain", saved["bytes"]) for _ in range(PLAIN)]
    seconds = saved["save_seconds"] / EPOCHS
    found = {
        "bytes": saved["bytes"], "seconds": seconds, "plain_seconds": plain, "epochs": EPOCHS, "ranks": args.ranks,
        "share": saved["save_seconds"] / (saved["save_seconds"] + saved["train_seconds"]),
        "peak_bytes": saved["peak_memory_bytes"], "peak_bytes_without": alone["peak_memory_bytes"], "width": width,
        "memory_bytes": saved["memory_bytes"],
    }  # fmt: skip
    more = max(a - b for a, b in zip(found["peak_bytes"], found["peak_bytes_without"], strict=True))
    rows = [
        ("bytes of a checkpoint", f"{saved['bytes'] / 2**20:.1f} MiB"),
        ("seconds of one", f"{seconds:.3f}"),
        ("plain file of as many bytes, with fsync", f"{median(plain):.3f}"),
        ("share of the run, one an epoch", f"{100 * found['share']:.1f} %"),
        ("seconds of an epoch", f"{saved['train_seconds'] / EPOCHS:.2f}"),
        ("peak memory of a rank, more than without", f"{more / 2**20:.1f} MiB"),
    ]
    report.show(f"checkpoints of {args.ranks} ranks", ("", ""), rows)
    description = machine.describe(["paralift", "bench", "checkpoint", *argv])
    report.write(args, "checkpoint", {"machine": description, **found})
    return 0


def _trained(ranks: int, width: int, batches: int, out: str) -> dict[str, Any]:
    """Train in a process of its own for each rank; return the run's summary, with the bytes of its newest checkpoint."""
    arguments = [str(CHILDREN / "checkpoint_fit.py"), str(width), str(batches), str(EPOCHS), out]
    done = subprocess.run(
        [*mpirun_command(ranks), *arguments], env=mpi_environment(os.environ), capture_output=True, text=True, timeout=DEADLINE
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"bytes"')]
    if done.returncode or not lines:
        raise OSError(f"exit code {done.returncode}; {done.stderr.strip()[-400:]}")
    return dict(json.loads(lines[-1]))


def _plain(path: Path, size: int) -> float:
    """Return the seconds of writing a file, with fsync."""
    chunk = os.urandom(CHUNK)
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for done in range(0, size, CHUNK):
            file.write(chunk[: min(CHUNK, size - done)])
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    path.unlink()
    return seconds


if __name__ == "__main__":
    sys.exit(main())
