"""When the stages of a wave are done: the recurrence over stages and micro-batches behind every predicted step.

    F(s, i) starts when stage s is free and the message of F(s - 1, i) is there
    B(s, i) starts when stage s is free and the message of B(s + 1, i) is there

Stage s works in the order of `paralift.parallel.schedule`: ahead = lead (S - s - 1) micro-batches forward, then one forward and
one back in turn; after the last micro-batch of a batch has come back it takes the gradients. Tasks of one place in

    lead 1:  F(s, i): s + i for i <= ahead, s + 2 i behind             B(s, i): 2 S - 1 - s + 2 i
    lead 2:  F(s, i): s + i for i <= ahead, s + 2 i - ahead behind     B(s, i): s + 2 i + ahead + 1

are independent of each other, and depend on smaller places only: they are computed at once, one for each stage.
"""

from __future__ import annotations

import numpy as np

SETTLED, WATCHED = 4, 6
"""Batches until an unflushed wave has found its pace, and over which it is taken."""
MANY, FEWER = 16, 2
"""With so many micro-batches a batch, so many batches do for both."""


def ends(
    forward: np.ndarray, back: np.ndarray, rest: np.ndarray, up: np.ndarray, down: np.ndarray, micro_batches: int,
    batches: int = 1, lead: int = 1,
) -> np.ndarray:  # fmt: skip
    """Return when each stage has finished each batch, without a flush between batches; shape (stages, batches), in s.

    Parameters
    ----------
    forward, back : (stages,) arrays
        Seconds of one micro-batch.
    rest : (stages,) array
        Seconds after the last micro-batch of a batch: gradients, update.
    up, down : (stages - 1,) arrays
        Seconds of the messages of one micro-batch across each cut.
    micro_batches : int
        Of a batch.
    batches : int
    lead : {1, 2}
        See `Plan.lead`.
    """
    stages, n = len(forward), micro_batches * batches
    above, below = np.append(up, 0.0), np.insert(down, 0, 0.0)  # the cuts of each stage
    free, done = np.zeros(stages), np.zeros((stages, batches))
    has_x, has_g = np.zeros((stages + 1, n)), np.zeros((stages + 1, n))  # when messages arrive; of nobody, at once
    s = np.arange(stages)
    ahead = lead * (stages - s - 1)
    waits = ahead if lead == 1 else 0 * ahead  # places that a stage leaves empty before its first B
    for place in range(2 * (stages + n) + int((ahead + waits).max())):
        behind = place - s + ahead - waits  # 2 i, if the place is that of a forward in turn
        late = place - s > ahead
        i = np.where(late, np.where(behind % 2 == 0, behind // 2, -1), place - s)
        go = s[(i >= 0) & (i < n) & ((i > ahead) | ~late)]
        if go.size:
            free[go] = np.maximum(free[go], has_x[go, i[go]]) + forward[go]
            has_x[go + 1, i[go]] = free[go] + above[go]
        m, odd = np.divmod(place - s - ahead - waits - 1, 2)
        come = s[(odd == 0) & (m >= 0) & (m < n)]
        if come.size:
            free[come] = np.maximum(free[come], has_g[come + 1, m[come]]) + back[come]
            has_g[come, m[come]] = free[come] + below[come]
            last = come[(m[come] + 1) % micro_batches == 0]
            free[last] += rest[last]
            done[last, m[last] // micro_batches] = free[last]
    return done


def flushed(
    forward: np.ndarray, back: np.ndarray, rest: np.ndarray, up: np.ndarray, down: np.ndarray, micro_batches: int
) -> float:
    """Return the seconds of one batch, from an empty pipe to the last stage's update; arguments as in `ends`."""
    return float(ends(forward, back, rest, up, down, micro_batches).max())


def unflushed(
    forward: np.ndarray, back: np.ndarray, rest: np.ndarray, up: np.ndarray, down: np.ndarray, micro_batches: int,
    lead: int = 1,
) -> float:  # fmt: skip
    """Return the seconds from batch to batch once the wave has found its pace; arguments as in `ends`.

    Even where messages are free that can be more than what the slowest stage works: while a stage takes its gradients, its
    neighbours get no micro-batches, and few micro-batches leave little to do meanwhile.
    """
    load = micro_batches * (forward + back) + rest
    if len(forward) == 1:
        return float(load[0])
    settled, watched = (SETTLED, WATCHED) if micro_batches < MANY else (FEWER, FEWER)
    done = ends(forward, back, rest, up, down, micro_batches, settled + watched, lead)[int(load.argmax())]
    return max(float(load.max()), float(done[-1] - done[-1 - watched]) / watched)
