"""How everything here is timed: warm up, wait for all, repeat, keep every raw time.

A repeat starts and ends with a barrier (and, on a device, a synchronisation), so it takes the time of the slowest rank.
Statistics are made from the raw times when they are shown: median, minimum and spread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

REPEATS = 5
"""Least number of repeats of a published figure."""


def nothing() -> None:
    """Do nothing: the barrier of one rank, and the preparation of work that needs none."""


@dataclass(frozen=True)
class Timing:
    """Repeated times of one thing.

    Parameters
    ----------
    seconds : tuple of float
        Raw times, in the order in which they were taken; at least one, all finite.
    """

    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.seconds:
            raise ValueError("Timing: no times were given, expected at least one")

    @property
    def median(self) -> float:
        """Median, in seconds."""
        return median(self.seconds)

    @property
    def minimum(self) -> float:
        """Shortest time, in seconds."""
        return min(self.seconds)

    @property
    def spread(self) -> float:
        """Distance of the upper from the lower quartile over the median; 0 for a single time."""
        if len(self.seconds) < 2:
            return 0.0
        lower, _, upper = quantiles(self.seconds, n=4, method="inclusive")
        return (upper - lower) / self.median

    def record(self) -> dict[str, Any]:
        """Return the raw times and their statistics for a JSON file."""
        found = {"median_s": self.median, "min_s": self.minimum, "spread": self.spread}
        return {**found, "raw_s": list(self.seconds)}


def once(work: Callable[[], Any], barrier: Callable[[], Any] = nothing) -> float:
    """Return the seconds of one run of `work` between two barriers."""
    barrier()
    start = time.perf_counter()
    work()
    barrier()
    return time.perf_counter() - start


def measure(
    work: Callable[[], Any],
    *,
    repeats: int = REPEATS,
    warm_up: int = 1,
    prepare: Callable[[], Any] = nothing,
    barrier: Callable[[], Any] = nothing,
) -> Timing:
    """Time `work`.

    Parameters
    ----------
    work : callable
    repeats, warm_up : int
        Timed runs, at least 1, and runs before them that compile and allocate.
    prepare : callable
        Called before every run, outside of the timed part.
    barrier : callable
        Called at both ends of the timed part: a barrier of the ranks, a synchronisation of the device, or both.
    """
    times = []
    for k in range(warm_up + repeats):
        prepare()
        seconds = once(work, barrier)
        if k >= warm_up:
            times.append(seconds)
    return Timing(tuple(times))
