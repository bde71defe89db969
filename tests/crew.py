"""Ranks that are threads: what algorithms need of a team, without MPI; letters may be late and overtake each other.

An error on one rank ends the others where they next wait, or look for letters.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque

import numpy as np

from paralift.optim.team import HEAD

DEADLINE = 60.0


def together(size, act, lateness=0.0, seed=0):
    """Return what ``act(team)`` returns on each of `size` threads; the first error of any of them is raised.

    With `lateness` a letter arrives after a random time of up to so many seconds.
    """
    office = _Office(size, lateness, seed)
    results, errors = [None] * size, []

    def work(rank):
        try:
            results[rank] = act(Crew(office, rank))
        except BaseException as error:  # noqa: BLE001
            errors.append(error)
            office.barrier.abort()

    threads = [threading.Thread(target=work, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    if errors:
        first = [e for e in errors if not isinstance(e, threading.BrokenBarrierError)]
        raise (first or errors)[0]
    assert not any(thread.is_alive() for thread in threads), "ranks were still running at the deadline"
    return results


class _Office:
    def __init__(self, size, lateness, seed):
        self.size, self.lateness, self.draw = size, lateness, random.Random(seed)
        self.barrier = threading.Barrier(size, timeout=DEADLINE)
        self.table = [None] * size
        self.lock = threading.Condition()
        self.letters = [deque() for _ in range(size)]


class Crew:
    """One rank of a team of threads."""

    def __init__(self, office, rank):
        self.office, self.rank, self.size, self.bytes_sent = office, rank, office.size, 0

    def gather(self, array):
        self.office.table[self.rank] = np.array(array)
        self.office.barrier.wait()
        found = [np.array(a) for a in self.office.table]
        self.office.barrier.wait()
        return found

    def sum(self, array):
        array[...] = np.sum(self.gather(array), axis=0)
        self.bytes_sent += array.nbytes

    def sums(self, *numbers):
        return list(np.sum(self.gather(np.array(numbers, dtype=float)), axis=0))

    def largest(self, number):
        return float(max(self.gather(np.array(number))))

    def from_first(self, array):
        array[...] = self.gather(array)[0]

    def swap(self, neighbours, array):
        everybody = self.gather(array)
        self.bytes_sent += array.nbytes * len(neighbours)
        return {k: everybody[k] for k in neighbours}

    def mailbox(self, like):
        return _Mailbox(self, like)


class _Mailbox:
    def __init__(self, crew, like):
        self.crew, self.office, self.like, self.bytes_sent = crew, crew.office, like, 0

    def post(self, to, head, body=None):
        assert len(head) <= HEAD and to != self.crew.rank
        numbers = np.zeros(HEAD)
        numbers[: len(head)] = head
        body = np.empty(0, self.like.dtype) if body is None else np.array(body)
        assert body.size in (0, self.like.size)
        self.bytes_sent += body.nbytes
        with self.office.lock:
            due = time.monotonic() + self.office.draw.uniform(0, self.office.lateness)
            self.office.letters[to].append((due, self.crew.rank, numbers, body))
            self.office.lock.notify_all()

    def pending(self, to):
        with self.office.lock:
            return sum(letter[1] == self.crew.rank for letter in self.office.letters[to])

    def collect(self, wait=0.0):
        until = time.monotonic() + wait
        mine = self.office.letters[self.crew.rank]
        if self.office.barrier.broken:
            raise threading.BrokenBarrierError
        with self.office.lock:
            while True:
                now = time.monotonic()
                ready = [letter for letter in mine if letter[0] <= now]
                if ready or now >= until:
                    break
                self.office.lock.wait(min([until - now, *(letter[0] - now for letter in mine)]))
            late = [letter for letter in mine if letter[0] > now]
            mine.clear()
            mine.extend(late)
        ready.sort(key=lambda letter: letter[0])
        return [letter[1:] for letter in ready]

    def close(self):
        self.office.barrier.wait()
