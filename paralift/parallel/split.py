"""Exact splits: consecutive blocks into stages, so that the slowest stage is as fast as can be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def split(
    costs: Sequence[float] | np.ndarray,
    stages: int,
    lower: Sequence[float] | np.ndarray | None = None,
    upper: Sequence[float] | np.ndarray | None = None,
    allowed: np.ndarray | None = None,
) -> tuple[int, ...]:
    """Return the bounds of the contiguous split with the least slowest stage, by dynamic programming.

    Blocks a to b (exclusive) cost ``sum(costs[a:b]) + lower[a] + upper[b]``. Only stages that are no slower than the slowest
    one of a first, simple split are looked at, which leaves about n^2 pairs in all instead of n^2 for each stage.

    Parameters
    ----------
    costs : sequence of n floats
        One for each block, not negative.
    stages : int
        At most n.
    lower, upper : sequence of n + 1 floats, optional
        What a stage pays for its lower and its upper end, not negative.
    allowed : bool array of shape (n + 1, n + 1), optional
        Whether blocks a to b may be one stage, at [a, b].

    Returns
    -------
    tuple of stages + 1 ints

    Raises
    ------
    ValueError
        If there are more stages than blocks, or `allowed` leaves no split.
    """
    n = len(costs)
    if not 1 <= stages <= n:
        raise ValueError(f"{stages} stages of {n} blocks, expected at least 1 and at most as many as blocks")
    total = np.concatenate([[0.0], np.cumsum(costs)])
    low, high = (np.zeros(n + 1) if ends is None else np.asarray(ends, float) for ends in (lower, upper))
    within = _longest(total, low, high, stages) if allowed is None else _longest_allowed(allowed)
    price = _prices(total, low, high, within, allowed)
    best = np.full(n + 1, np.inf)
    best[0] = 0.0
    taken = np.zeros((stages + 1, n + 1), dtype=int)
    for s in range(1, stages + 1):
        padded = np.concatenate([np.full(within, np.inf), best])
        before = np.lib.stride_tricks.sliding_window_view(padded, within)[: n + 1]
        slowest = np.maximum(before, price)
        taken[s] = slowest.argmin(axis=1)
        best = slowest[np.arange(n + 1), taken[s]]
    if not np.isfinite(best[n]):
        raise ValueError(f"no split of {n} blocks into {stages} stages is allowed")
    bounds = [n]
    for s in range(stages, 0, -1):
        stop = bounds[-1]
        bounds.append(stop - within + int(taken[s, stop]))
    return tuple(reversed(bounds))


def _longest(total: np.ndarray, low: np.ndarray, high: np.ndarray, stages: int) -> int:
    """Return how many blocks a stage may have so that it can be part of a best split."""
    n = len(total) - 1
    inner = np.searchsorted(total, total[n] * np.arange(1, stages) / stages)
    bounds = [0]
    for s, wanted in enumerate(inner, start=1):
        bounds.append(int(np.clip(wanted, bounds[-1] + 1, n - stages + s)))
    a, b = np.array(bounds), np.array([*bounds[1:], n])
    bound = (total[b] - total[a] + low[a] + high[b]).max() * (1 + 1e-9)
    starts = np.searchsorted(total, total - bound)  # costs at ends only make stages shorter
    return max(1, int((np.arange(n + 1) - starts).max()))


def _longest_allowed(allowed: np.ndarray) -> int:
    a, b = np.nonzero(allowed)
    return max(1, int((b - a).max(initial=1)))


def _prices(
    total: np.ndarray, low: np.ndarray, high: np.ndarray, within: int, allowed: np.ndarray | None
) -> np.ndarray:
    """Return the cost of blocks a to b at [b, a - b + within], shape (n + 1, within), inf where there is no such stage."""
    n = len(total) - 1
    b = np.arange(n + 1)[:, None]
    a = b - within + np.arange(within)[None, :]
    first = np.maximum(a, 0)
    price = total[b] - total[first] + low[first] + high[b]
    price[a < 0] = np.inf
    if allowed is not None:
        price[~allowed[first, b]] = np.inf
    return price
