"""Two processes of PyTorch, one thread and one core each, that take steps together over gloo.

Process 0 converses with the benchmark and starts process 1, which reads from a pipe what to run: it sleeps between blocks, and
ends when process 0 does, however that ends. Both meet at a store in process 0 on the loopback; nothing leaves the machine.

A program brings several ways to take a step (splits, numbers of micro-batches, ...). They are tried for a short time, and the
fastest is measured; with ``--compile`` it is also tried compiled.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import loop
import torch
import torch.distributed as dist

PATIENCE = timedelta(seconds=600)
"""For anything that one process waits for the other: a compiler may take minutes."""
GRACE = 5.0
"""Seconds that process 1 has to end."""


@dataclass(frozen=True)
class Way:
    """One way to take a step.

    Attributes
    ----------
    facts : dict
        What tells it from the others.
    build : callable (compiled) -> step
        Called on both processes at the same time.
    """

    facts: dict[str, Any]
    build: Callable[[bool], Callable[[], None]]


def arguments() -> argparse.ArgumentParser:
    """Return a parser of what every pair takes."""
    parser = loop.arguments()
    parser.add_argument("--cores", required=True, help="one for each process")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--port", type=int, help="of the store: given to process 1 by process 0")
    return parser


def main(args: argparse.Namespace, ways: Callable[[int], Sequence[Way]]) -> None:
    """Meet, then answer (process 0) or follow; `ways` takes the number of the process."""
    rank = 0 if args.port is None else 1
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(args.cores.split(",")[rank])})
    torch.set_num_threads(1)
    torch.manual_seed(0)
    loopback = {"lo", "lo0"} & {name for _, name in socket.if_nameindex()}
    if loopback:
        os.environ["GLOO_SOCKET_IFNAME"] = loopback.pop()
    store = dist.TCPStore("127.0.0.1", args.port or 0, 2, rank == 0, PATIENCE, wait_for_workers=False)
    if rank == 0:
        with follower(store.port) as process:
            lead(args, Pair(ways(0), store, process))
    else:
        follow(Pair(ways(1), store))


@contextmanager
def follower(port: int) -> Iterator[subprocess.Popen[str]]:
    """Start process 1; at the end of the block it is told to end, and killed if it does not."""
    command = [sys.executable, *sys.argv, f"--port={port}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sys.stderr, text=True)
    assert process.stdin is not None
    try:
        yield process
    finally:
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Pair:
    """One of the two processes.

    Parameters
    ----------
    ways : sequence of Way
    store : Store
        Where they meet.
    process : Popen, optional
        Process 1; without it this is process 1.
    """

    def __init__(self, ways: Sequence[Way], store: dist.Store, process: subprocess.Popen[str] | None = None) -> None:
        self.ways = ways
        self.process = process
        self._steps: dict[tuple[int, bool], Callable[[], None]] = {}
        dist.init_process_group("gloo", store=store, rank=int(process is None), world_size=2, timeout=PATIENCE)

    def timed(self, way: int, compiled: bool, n: int) -> float:
        """Take `n` steps; return the seconds of the slower process."""
        if self.process is not None:
            assert self.process.stdin is not None
            self.process.stdin.write(f"{way} {int(compiled)} {n}\n")
            self.process.stdin.flush()
        if (way, compiled) not in self._steps:
            self._steps[way, compiled] = self.ways[way].build(compiled)
        step = self._steps[way, compiled]
        dist.barrier()
        start = time.perf_counter()
        for _ in range(n):
            step()
        dist.barrier()
        return time.perf_counter() - start

    def leave(self) -> None:
        """Let process 1 stop following, and part."""
        if self.process is not None:
            assert self.process.stdin is not None
            self.process.stdin.close()
        dist.barrier()
        dist.destroy_process_group()


def lead(args: argparse.Namespace, pair: Pair) -> None:
    """Try the ways, then answer."""

    def trial(choices: Sequence[tuple[int, bool]]) -> dict[tuple[int, bool], float]:
        return loop.trial({choice: partial(pair.timed, *choice) for choice in choices}, args.block)

    tried = trial([(way, False) for way in range(len(pair.ways))])
    if args.compile:
        tried |= trial([(min(tried, key=tried.__getitem__)[0], True)])
    way, compiled = min(tried, key=tried.__getitem__)
    facts = {
        "torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability(), "processes": 2,
        **pair.ways[way].facts, "compiled": compiled,
        "tried": [{**pair.ways[w].facts, "compiled": c, "step_s": seconds} for (w, c), seconds in tried.items()],
    }  # fmt: skip
    loop.serve(lambda n: pair.timed(way, compiled, n), args.block, facts)
    pair.leave()


def follow(pair: Pair) -> None:
    """Take as many steps as process 0 says, until it says no more."""
    for line in sys.stdin:
        way, compiled, n = map(int, line.split())
        pair.timed(way, bool(compiled), n)
    pair.leave()
