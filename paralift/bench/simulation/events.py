"""The event queue: what happens next, on which rank, until all have done all their tasks.

Three things happen: a task ends (`DONE`), the first byte of a message comes to its receiver's link (`COMES`), its last
byte has arrived (`HERE`). A rank does one task after another in its order (`paralift.bench.simulation.orders`):

- forward(i) waits for the i-th message from below, back(i) for the i-th one from above
- the update of batch t waits until the sum of its gradients over the shards is there
- a message leaves when the task that makes it has ended and the link out is free; it occupies that link, and later the
  receiver's link in, for bytes / bandwidth

Sums go around a ring of the n shards of a stage: every rank sends 2 (n - 1) messages of 1/n of the bytes to the next one, each
after it has received the one before. Software carries them on beside the tasks (see `Pipeline.buckets` for what it costs).

Plain Python, compiled by Numba because a run has tens of millions of events.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numba
import numpy as np

DONE, COMES, HERE = 0, 1, 4
"""Kinds of events; the latter two plus one of the three below."""
UP, DOWN, RING = 0, 1, 2
N_KINDS = 7


class Run(NamedTuple):
    """State and record of a run; times in s, -1 for what has not happened.

    Attributes
    ----------
    tasks : (stages, n) int32
    seconds : (ranks, n)
        Of each task, with the processor's part of its messages.
    wire : (3, stages) float64
        Seconds on the wire of a message up, down and around the ring.
    delay : (3,) float64
        From departure to arrival of the first byte.
    lanes : int
        Links of a rank in one direction: 1 shared one, or 3.
    leaves, comes : (ranks x lanes,)
        When each link out and in is free again.
    at : (ranks,) int64
        Place in the order of the task that runs or is next.
    busy : (ranks,) bool
    here : (2, ranks) int64
        Messages arrived from below and from above.
    ready, passed, received : (ranks, batches) int64
        Of the sum of a batch: whether the own gradient is ready; messages sent and received.
    made : (2, ranks, micro-batches)
        When the message up and down of each micro-batch was ready to leave.
    own : (ranks, batches)
        When the own gradient was ready.
    start : (ranks, n)
        Of each task.
    late : (ranks, n)
        How long a task waited for something that was on its way, not being computed.
    sent, arrived : (3, ranks, n_messages)
        Departure and arrival of messages by their sender and number, if they are kept; n_messages is 0 otherwise.
    """

    tasks: np.ndarray
    seconds: np.ndarray
    wire: np.ndarray
    delay: np.ndarray
    lanes: int
    stages: int
    shards: int
    leaves: np.ndarray
    comes: np.ndarray
    at: np.ndarray
    busy: np.ndarray
    here: np.ndarray
    ready: np.ndarray
    passed: np.ndarray
    received: np.ndarray
    made: np.ndarray
    own: np.ndarray
    start: np.ndarray
    late: np.ndarray
    sent: np.ndarray
    arrived: np.ndarray


@numba.njit
def _event(kind, rank, number, ranks):
    return (number * N_KINDS + kind) * ranks + rank


@numba.njit
def _lane(run, rank, way):
    return rank if run.lanes == 1 else 3 * rank + way


@numba.njit
def _send(run, queue, now, rank, way, number):
    """Let a message leave as soon as the link out is free; `number` is its micro-batch or batch."""
    ranks, lane = run.at.shape[0], _lane(run, rank, way)
    to = rank + 1 if way == UP else rank - 1 if way == DOWN else (rank + run.stages) % ranks
    leaves = max(now, run.leaves[lane])
    run.leaves[lane] = leaves + run.wire[way, rank % run.stages]
    if run.sent.shape[2]:
        run.sent[way, rank, _count(run, rank, way, number)] = leaves
    heapq.heappush(queue, (leaves + run.delay[way], _event(COMES + way, to, number, ranks)))


@numba.njit
def _count(run, rank, way, number):
    """Return the number of a message among those of its sender and way."""
    return number * 2 * (run.shards - 1) + run.passed[rank, number] if way == RING else number


@numba.njit
def _from(run, rank, way):
    ranks = run.at.shape[0]
    return rank - 1 if way == UP else rank + 1 if way == DOWN else (rank - run.stages + ranks) % ranks


@numba.njit
def _comes(run, queue, now, rank, way, number):
    """Receive the bytes of a message as soon as the link in is free."""
    ranks, lane = run.at.shape[0], _lane(run, rank, way)
    end = max(now, run.comes[lane]) + run.wire[way, _from(run, rank, way) % run.stages]
    run.comes[lane] = end
    heapq.heappush(queue, (end, _event(HERE + way, rank, number, ranks)))


@numba.njit
def _here(run, queue, now, rank, way, number):
    """Take note of a message that has arrived; the rank may have waited for it."""
    if run.arrived.shape[2]:
        count = number
        if way == RING:
            count = number * 2 * (run.shards - 1) + run.received[rank, number]
        run.arrived[way, _from(run, rank, way), count] = now
    if way == RING:
        run.received[rank, number] += 1
        _pass_on(run, queue, now, rank, number)
    else:
        run.here[way, rank] += 1
    _try(run, queue, now, rank)


@numba.njit
def _pass_on(run, queue, now, rank, batch):
    """Send what the ring of `batch` lets this rank send."""
    hops = 2 * (run.shards - 1)
    while run.ready[rank, batch] and run.passed[rank, batch] < min(hops, run.received[rank, batch] + 1):
        _send(run, queue, now, rank, RING, batch)
        run.passed[rank, batch] += 1


@numba.njit
def _since(run, rank, kind, number):
    """Return when all that a task needs had been computed somewhere, or -inf if it waits for nothing; inf before that."""
    stage = rank % run.stages
    if kind == 0 and stage > 0:
        return run.made[UP, rank - 1, number] if run.here[UP, rank] > number else np.inf
    if kind == 1 and stage + 1 < run.stages:
        return run.made[DOWN, rank + 1, number] if run.here[DOWN, rank] > number else np.inf
    if kind == 3 and run.shards > 1:
        if not (run.ready[rank, number] and run.received[rank, number] == 2 * (run.shards - 1)):
            return np.inf
        latest = -np.inf
        for other in range(stage, run.at.shape[0], run.stages):
            latest = max(latest, run.own[other, number])
        return latest
    return -np.inf


@numba.njit
def _try(run, queue, now, rank):
    """Start the next task of a rank if it is idle and has what it needs."""
    k = run.at[rank]
    if run.busy[rank] or k == run.tasks.shape[1]:
        return
    task = run.tasks[rank % run.stages, k]
    since = _since(run, rank, task % 4, task // 4)
    if since == np.inf:
        return
    idle_since = run.start[rank, k - 1] + run.seconds[rank, k - 1] if k else 0.0
    run.busy[rank] = True
    run.start[rank, k] = now
    if since > -np.inf:
        run.late[rank, k] = max(0.0, now - max(idle_since, since))
    heapq.heappush(queue, (now + run.seconds[rank, k], _event(DONE, rank, 0, run.at.shape[0])))


@numba.njit
def _done(run, queue, now, rank):
    """End a task: send what it made, start the next one."""
    stage = rank % run.stages
    task = run.tasks[stage, run.at[rank]]
    kind, number = task % 4, task // 4
    if kind == 0 and stage + 1 < run.stages:
        run.made[UP, rank, number] = now
        _send(run, queue, now, rank, UP, number)
    elif kind == 1 and stage > 0:
        run.made[DOWN, rank, number] = now
        _send(run, queue, now, rank, DOWN, number)
    elif kind == 2 and run.shards > 1:
        run.ready[rank, number] = 1
        run.own[rank, number] = now
        _pass_on(run, queue, now, rank, number)
    run.at[rank] += 1
    run.busy[rank] = False
    _try(run, queue, now, rank)


@numba.njit
def play(run):
    """Play all events in the order of their times; return how many there were."""
    ranks, n = run.at.shape[0], 0
    queue = [(0.0, _event(DONE, 0, 0, ranks))]
    queue.pop()
    for rank in range(ranks):
        _try(run, queue, 0.0, rank)
    while queue:
        now, event = heapq.heappop(queue)
        rank, rest = event % ranks, event // ranks
        kind, number = rest % N_KINDS, rest // N_KINDS
        if kind == DONE:
            _done(run, queue, now, rank)
        elif kind < HERE:
            _comes(run, queue, now, rank, kind - COMES, number)
        else:
            _here(run, queue, now, rank, kind - HERE, number)
        n += 1
    return n
