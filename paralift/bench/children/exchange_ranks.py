"""Two ranks that exchange messages in several ways and time them: ParaLift's windows, and raw mpi4py on the same bytes.

After ``{"ready": facts}`` every line of JSON is a job for both ranks: ``{"what": "message" or "overlap", "bytes": n,
"block": s, "repeats": r}``; the answer is ``{"result": ...}`` with the raw seconds of every repeat on the slower rank. A round
trip is one message up, from rank 0 to rank 1, and one down; seconds are those of half of it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from loop import block_steps, say
from mpi4py import MPI

import paralift as pl
from paralift.lifted.stage import Stage
from paralift.parallel.exchange import Messages
from paralift.parallel.grid import Grid

WIDTH = 2
"""Numbers of a sample: the smallest message is one sample."""
PRODUCTS = ((1 << 17, 64), (1 << 22, 128), (1 << 62, 256))
"""Up to how many bytes of a message which width of the matrix products beside it: several products a message."""

Work = Callable[[], Any]


def main() -> None:
    """Take jobs until there are no more."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cores", required=True, help="one for each rank")
    args = parser.parse_args()
    comm = MPI.COMM_WORLD
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(args.cores.split(",")[comm.rank])})
    with Grid(comm, 1, 2) as grid:
        if comm.rank == 0:
            say({"ready": {"mpi": MPI.Get_library_version().strip("\0 \n").splitlines()[0], "mpi4py": _mpi4py()}})
        while True:
            job = comm.bcast(_next_job() if comm.rank == 0 else None)
            if job is None:
                return
            what = {"message": message, "overlap": overlap}[job.pop("what")]
            result = what(grid, **job)
            if comm.rank == 0:
                say({"result": result})


def _mpi4py() -> str:
    import mpi4py

    return mpi4py.__version__


def _next_job() -> dict[str, Any] | None:
    line = sys.stdin.readline()
    return json.loads(line) if line.strip() else None


class Windows:
    """ParaLift's exchange between two stages whose cut carries `n_bytes`: x goes up, its pull comes down."""

    def __init__(self, grid: Grid, n_bytes: int) -> None:
        rows = n_bytes // (WIDTH * 4)
        net = pl.Sequential(pl.Linear(WIDTH, WIDTH), pl.ReLU(), pl.Linear(WIDTH, WIDTH))
        stage = Stage(net, grid.stage, grid.stage + 1, np.zeros(1, np.float32))
        self.window = stage.state(rows).window(0, rows)
        self.x, self.g = self.window.x[1], self.window.g[1]
        for array in (self.x, self.g):
            array[...] = 1.0
            assert array.nbytes == n_bytes
        self.messages = Messages(grid)
        self.progress: Work = self.messages.progress
        self.free: Work = self.messages.free

    def begin_up(self) -> None:
        """Start the message up; at either end only its own part does anything."""
        self.messages.receive_x(self.window)
        self.messages.send_x(self.window)

    def end_up(self) -> None:
        """Wait for it."""
        self.messages.wait_x(self.window)
        self.messages.finish()

    def begin_down(self) -> None:
        """Start the message down."""
        self.messages.receive_g(self.window)
        self.messages.send_g(self.window)

    def end_down(self) -> None:
        """Wait for it."""
        self.messages.wait_g(self.window)
        self.messages.finish()

    def trip(self) -> None:
        """Go up and come down."""
        self.begin_up()
        self.end_up()
        self.begin_down()
        self.end_down()


class Persistent:
    """Raw persistent requests on the same arrays."""

    def __init__(self, comm: Any, x: np.ndarray, g: np.ndarray) -> None:
        if comm.rank == 0:
            up, down = comm.Send_init(x, 1, 1), comm.Recv_init(g, 1, 2)
        else:
            up, down = comm.Recv_init(x, 0, 1), comm.Send_init(g, 0, 2)
        self.requests = [up, down]
        self.begin_up, self.end_up, self.begin_down, self.end_down = up.Start, up.Wait, down.Start, down.Wait

    def progress(self) -> None:
        """Let messages advance."""
        MPI.Request.Testall(self.requests)

    def trip(self) -> None:
        """Go up and come down."""
        up, down = self.requests
        up.Start()
        up.Wait()
        down.Start()
        down.Wait()

    def free(self) -> None:
        """Free the requests."""
        for request in self.requests:
            request.Free()


def blocking(comm: Any, x: np.ndarray, g: np.ndarray) -> Work:
    """Return a round trip by Send and Recv."""

    def first() -> None:
        comm.Send(x, 1, 1)
        comm.Recv(g, 1, 2)

    def second() -> None:
        comm.Recv(x, 0, 1)
        comm.Send(g, 0, 2)

    return second if comm.rank else first


def message(grid: Grid, bytes: int, block: float, repeats: int) -> dict[str, Any]:
    """Return the seconds of a message by each way, measured in turn."""
    windows = Windows(grid, bytes)
    persistent = Persistent(grid.pipe, windows.x, windows.g)
    ways = {"paralift": windows.trip, "persistent": persistent.trip, "send_recv": blocking(grid.pipe, windows.x, windows.g)}
    found = in_turn(grid, ways, block, repeats)
    windows.free()
    persistent.free()
    return {name: [0.5 * seconds for seconds in times] for name, times in found.items()}


def overlap(grid: Grid, bytes: int, block: float, repeats: int) -> dict[str, Any]:
    """Return the seconds of a message, of about as long a computation, and of both together; without and with progress.

    Half a round trip is one message, during which both ranks compute.
    """
    windows = Windows(grid, bytes)
    persistent = Persistent(grid.pipe, windows.x, windows.g)
    product, width = product_for(bytes)
    lone = in_turn(grid, {"message": windows.trip, "product": product}, block, 3)
    n = max(2, math.ceil(0.5 * min(lone["message"]) / min(lone["product"])))

    def compute(between: Work | None = None) -> None:
        for _ in range(n):
            product()
            if between is not None:
                between()

    def twice() -> None:
        compute()
        compute()

    ways: dict[str, Work] = {"compute": twice}
    for name, way in (("paralift", windows), ("persistent", persistent)):
        ways |= {f"{name}_message": way.trip, f"{name}_both": both(way, compute),
                 f"{name}_progress": both(way, partial(compute, way.progress))}  # fmt: skip
    found = in_turn(grid, ways, block, repeats)
    windows.free()
    persistent.free()
    halved = {name: [0.5 * seconds for seconds in times] for name, times in found.items()}
    return {"n_products": n, "width": width, **halved}


def both(way: Any, compute: Work) -> Work:
    """Return a round trip with a computation during each of its messages."""

    def trip() -> None:
        way.begin_up()
        compute()
        way.end_up()
        way.begin_down()
        compute()
        way.end_down()

    return trip


def product_for(n_bytes: int) -> tuple[Work, int]:
    """Return a matrix product to compute while a message travels, and its width."""
    width = next(width for most, width in PRODUCTS if n_bytes <= most)
    a, b, c = (np.full((width, width), 0.5, np.float32) for _ in range(3))
    return (lambda: np.dot(a, b, out=c)), width


def in_turn(grid: Grid, ways: dict[str, Work], block: float, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of one call of each, `repeats` blocks in turn; both ranks get the same answer."""
    steps = {name: block_steps(lambda n, work=work: timed(grid, work, n), block) for name, work in ways.items()}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, work in ways.items():
            found[name].append(timed(grid, work, steps[name]) / steps[name])
    return found


def timed(grid: Grid, work: Work, n: int) -> float:
    """Return the seconds of `n` calls between barriers, on the slower rank."""
    grid.world.Barrier()
    start = time.perf_counter()
    for _ in range(n):
        work()
    grid.world.Barrier()
    seconds = np.array([time.perf_counter() - start])
    grid.world.Allreduce(MPI.IN_PLACE, seconds, MPI.MAX)
    return float(seconds[0])


if __name__ == "__main__":
    main()
