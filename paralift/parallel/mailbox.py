"""Letters between ranks over MPI: an algorithm writes and looks for them when it likes, and waits for nobody.

Each pair of ranks has a few receives that are always open, made once as persistent requests. Letters leave by synchronous sends, which end when the
receiver has taken them into such a place: what is on its way is therefore counted exactly, and bounded where the sender asks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from paralift.kernels.arrays import Array, family, from_host, to_host
from paralift.optim.team import HEAD
from paralift.parallel.activity import ACTIVITY

PLACES = 2
"""Receives that are open for each other rank."""
NAP = 2e-5
"""Seconds between two looks of a rank that waits."""
TAG = 7


class Mailbox:
    """Letters of some numbers and an array; see `paralift.optim.team.Mailbox`.

    Parameters
    ----------
    comm : Comm
        Of this mailbox alone, freed by `close`; letters cannot be mistaken for another one's.
    like : Array
        Bodies have its shape and dtype; those on a device pass through the host.
    """

    def __init__(self, comm: Any, like: Array) -> None:
        self.comm, self.like, self.bytes_sent = comm, like, 0
        self._head = HEAD * 8
        self._length = self._head + int(np.prod(like.shape)) * like.dtype.itemsize
        self._sent: dict[int, list[tuple[Any, np.ndarray]]] = {}
        self._free: list[np.ndarray] = []
        self._places: list[np.ndarray] = []
        self._sources: list[int] = []
        self._taken: list[int] = []
        self._requests: list[Any] = []
        for rank in range(comm.Get_size()):
            if rank != comm.Get_rank():
                self._sent[rank] = []
                for _ in range(PLACES):
                    place = np.empty(self._length, np.uint8)
                    self._places.append(place)
                    self._sources.append(rank)
                    self._requests.append(comm.Recv_init(place, rank, TAG))
        for request in self._requests:
            request.Start()

    def post(self, to: int, head: Sequence[float], body: Array | None = None) -> None:
        """Send a letter; numbers and array are copied."""
        if len(head) > HEAD:
            raise ValueError(f"a letter with {len(head)} numbers was posted, expected at most {HEAD}")
        buffer = self._free.pop() if self._free else np.empty(self._length, np.uint8)
        numbers = buffer[: self._head].view(np.float64)
        numbers[: len(head)] = head
        length = self._head
        if body is not None:
            buffer[self._head :].view(self.like.dtype)[...] = to_host(body).reshape(-1)
            length = self._length
        self._sent[to].append((self.comm.Issend(buffer[:length], to, TAG), buffer))
        self.bytes_sent += length

    def pending(self, to: int) -> int:
        """Return how many letters to a rank are still on their way."""
        on_their_way = []
        for request, buffer in self._sent[to]:
            if request.Test():
                self._free.append(buffer)
            else:
                on_their_way.append((request, buffer))
        self._sent[to] = on_their_way
        return len(on_their_way)

    def collect(self, wait: float = 0.0) -> list[tuple[int, np.ndarray, Array]]:
        """Return what has arrived as (sender, head, body), valid until the next call; wait up to some seconds for a first letter."""
        for place in self._taken:
            self._requests[place].Start()
        self._taken = []
        letters = self._arrived()
        if letters or not wait:
            return letters
        until = time.monotonic() + wait
        with ACTIVITY.waiting("a letter from another rank"):
            while not letters and time.monotonic() < until:
                time.sleep(NAP)
                letters = self._arrived()
        return letters

    def _arrived(self) -> list[tuple[int, np.ndarray, Array]]:
        from mpi4py import MPI

        statuses = [MPI.Status() for _ in self._requests]
        places = MPI.Request.Testsome(self._requests, statuses) or []
        self._taken.extend(places)
        return [self._letter(place, status.Get_count(MPI.BYTE)) for place, status in zip(places, statuses, strict=False)]

    def _letter(self, place: int, length: int) -> tuple[int, np.ndarray, Array]:
        buffer = self._places[place]
        body = buffer[self._head : length].view(self.like.dtype)
        if length == self._length:
            body = body.reshape(self.like.shape)
        if family(self.like) != "numpy":
            body = from_host(body.copy(), self.like)
        return self._sources[place], buffer[: self._head].view(np.float64), body

    def close(self) -> None:
        """Wait until all letters of all ranks have been taken, dropping those that nobody collects, and free everything; collective."""
        end = None
        with ACTIVITY.waiting("the last letters of the other ranks"):
            while end is None or not end.Test():
                self.collect()
                if end is None and not any([self.pending(rank) for rank in self._sent]):
                    end = self.comm.Ibarrier()
                time.sleep(NAP)
        taken = set(self._taken)
        for place, request in enumerate(self._requests):
            if place not in taken:
                request.Cancel()
                request.Wait()
            request.Free()
        self._requests = []
        self.comm.Free()
