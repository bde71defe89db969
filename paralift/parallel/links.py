"""What messages cost, measured: between neighbouring ranks and in sums over all of them, in a few milliseconds.

Two times of each: until it has arrived (a ping-pong), and how long it keeps the processor (start and wait around a pause in
which the network could have done its work). In shared memory the processor moves the bytes, and the second is not much less.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from paralift.parallel.activity import ACTIVITY
from paralift.parallel.cost import Line

REPEATS = 8
LEAST_BYTES = 1 << 12
MOST_BYTES = 1 << 22
"""Larger messages are not sent: the line goes on."""
APART = 4
"""Ratio of the two sizes of a line."""
PAUSE = 3.0
"""Times the time of a message that the pause lasts."""


@dataclass(frozen=True)
class Links:
    """Lines of bytes, named as in `Costs`."""

    message: Line
    sum: Line
    handling: Line
    sum_handling: Line


def measure_links(comm: Any, message_bytes: int, sum_bytes: int) -> Links:
    """Measure all links of a communicator at once; collective, the result is each rank's own.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        Of two ranks at least.
    message_bytes, sum_bytes : int
        The largest amounts that will be sent.
    """
    arrival, handling = {}, {}
    with ACTIVITY.waiting(f"a message of rank {comm.Get_rank() ^ 1}"):
        for size in _two_sizes(message_bytes):
            arrival[size], handling[size] = _pair(comm, size)
    hops, parts = 2 * (comm.Get_size() - 1), comm.Get_size()
    sums, busy = {}, {}
    with ACTIVITY.waiting("a sum over all ranks"):
        for size in _two_sizes(sum_bytes):
            seconds, occupied = _sum(comm, size)
            sums[size / parts], busy[size / parts] = seconds / hops, occupied / hops
    message, total = _line(arrival), _line(sums)
    return Links(message, total, _part(_line(handling), message), _part(_line(busy), total))


def _part(line: Line, whole: Line) -> Line:
    """Return a line that is nowhere above `whole`, of which it is a part: measured lines may cross."""
    return Line(min(line.start, whole.start), min(line.each, whole.each))


def _two_sizes(size: int) -> tuple[int, int]:
    large = min(MOST_BYTES, max(LEAST_BYTES, size))
    return large // APART, large


def _line(seconds: dict[Any, float]) -> Line:
    (few, short), (many, long) = sorted(seconds.items())
    each = max(0.0, (long - short) / (many - few))
    start = long - each * many
    return Line(start, each) if start >= 0 else Line(0.0, long / many)


def _pair(comm: Any, size: int) -> tuple[float, float]:
    """Return the seconds of a message, and those for which it keeps a processor; ranks 0 and 1, 2 and 3, ... at a time."""
    rank, peer = comm.Get_rank(), comm.Get_rank() ^ 1
    if peer >= comm.Get_size():
        return 0.0, 0.0
    out, into = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    send, receive = comm.Send_init(out, peer), comm.Recv_init(into, peer)

    def ping_pong() -> None:
        for request in (send, receive) if rank < peer else (receive, send):
            request.Start()
            request.Wait()

    arrival = _median(ping_pong) / 2
    busy = _occupied(lambda: (receive.Start(), send.Start()), lambda: (receive.Wait(), send.Wait()), PAUSE * arrival)
    send.Free()
    receive.Free()
    return arrival, min(arrival, busy / 2)


def _sum(comm: Any, size: int) -> tuple[float, float]:
    """Return the seconds of a sum over all ranks, and those for which it keeps a processor."""
    from mpi4py import MPI

    values = np.zeros(size // 4, np.float32)
    requests: list[Any] = []

    def start() -> None:
        requests.append(comm.Iallreduce(MPI.IN_PLACE, values))

    def wait() -> None:
        requests.pop().Wait()

    def both() -> None:
        start()
        wait()

    whole = _median(both)
    return whole, min(whole, _occupied(start, wait, PAUSE * whole))


def _median(work: Callable[[], Any]) -> float:
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def _occupied(start: Callable[[], Any], wait: Callable[[], Any], pause: float) -> float:
    """Return the median seconds of start and wait, with a busy pause between them in which nothing is asked of MPI."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        start()
        started = time.perf_counter()
        while time.perf_counter() - started < pause:
            pass
        again = time.perf_counter()
        wait()
        times.append(started - began + time.perf_counter() - again)
    return float(np.median(times))
