"""Ranks that are threads, for runs of thousands of updates: a meeting is one lock a rank, not a barrier."""

from __future__ import annotations

import threading
from contextlib import suppress

import numpy as np
from crew import DEADLINE, Crew


def in_step(size, act):
    """Return what ``act(team)`` returns on each of `size` threads; the first error of any of them is raised."""
    room, results, errors = _Room(size), [None] * size, []

    def work(rank):
        try:
            results[rank] = act(Walker(room, rank))
        except BaseException as error:  # noqa: BLE001
            errors.append(error)
            room.leave()

    threads = [threading.Thread(target=work, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    if errors:
        raise ([e for e in errors if not isinstance(e, _Left)] or errors)[0]
    assert not any(thread.is_alive() for thread in threads), "ranks were still running at the deadline"
    return results


class _Left(Exception):
    """Another rank failed."""


class _Room:
    """Two tables: ranks write to one while others may still read the other."""

    def __init__(self, size):
        self.size, self.present, self.left = size, 0, False
        self.door = threading.Lock()
        self.tables = [[None] * size for _ in range(2)]
        self.gates = [[_shut() for _ in range(size)] for _ in range(2)]  # a lock is faster than what is built of locks

    def meet(self, rank, turn, array):
        self.tables[turn][rank] = array
        with self.door:
            self.present += 1
            last = self.present == self.size
            self.present = 0 if last else self.present
        if last:
            for k in range(self.size):
                if k != rank:
                    self.gates[turn][k].release()
        elif not self.gates[turn][rank].acquire(timeout=DEADLINE) or self.left:
            raise _Left
        return list(self.tables[turn])

    def leave(self):
        self.left = True
        for gates in self.gates:
            for gate in gates:
                with suppress(RuntimeError):  # it was open
                    gate.release()


def _shut():
    gate = threading.Lock()
    gate.acquire()
    return gate


class Walker(Crew):
    """One rank of a team of threads; no mailboxes."""

    def __init__(self, room, rank):
        self.room, self.rank, self.size, self.bytes_sent, self.turn = room, rank, room.size, 0, 0

    def gather(self, array):
        self.turn ^= 1
        return self.room.meet(self.rank, self.turn, np.array(array))
