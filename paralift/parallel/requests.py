"""Requests: messages in pieces that every MPI can count, waits that are timed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from paralift.parallel.activity import ACTIVITY

PIECE = 1 << 30
"""Bytes of one message at most: counts and sizes stay within 31 bits, which is all that some MPIs take."""


def pieces(start: int, stop: int, itemsize: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of at most `PIECE` bytes that make up the range of numbers start to stop; one if it is empty."""
    width = max(1, PIECE // itemsize)
    yield start, min(start + width, stop)
    for low in range(start + width, stop, width):
        yield low, min(low + width, stop)


def wait_all(requests: Sequence[Any], what: str = "messages") -> float:
    """Wait for requests one by one; return the seconds waited, 0 where all have arrived already.

    Parameters
    ----------
    requests : sequence of MPI requests
    what : str
        For the stall watch.
    """
    waited = 0.0
    for request in requests:
        if not request.Test():
            start = time.perf_counter()
            with ACTIVITY.waiting(what):
                request.Wait()
            waited += time.perf_counter() - start
    return waited


def test_all(requests: Sequence[Any]) -> bool:
    """Return whether all requests are done; the look lets all messages of the process advance."""
    return bool(type(requests[0]).Testall(requests))
