"""What algorithms know of other ranks: sums, a word from the first rank, letters. Alone, all others are walls.

`paralift.parallel.team` has the same over MPI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from paralift.kernels.arrays import Array


class Mailbox(Protocol):
    """Letters between ranks that nobody waits for: some numbers and an array each, delivered whole and exactly once.

    Letters between two ranks may overtake each other.

    Attributes
    ----------
    bytes_sent : int
    """

    bytes_sent: int

    def post(self, to: int, head: Sequence[float], body: Array | None = None) -> None:
        """Send a letter: up to `HEAD` numbers, and an array of the agreed size or none; returns at once, both may be reused."""

    def pending(self, to: int) -> int:
        """Return how many letters to a rank are still on their way."""

    def collect(self, wait: float = 0.0) -> list[tuple[int, np.ndarray, Array]]:
        """Return what has arrived as (sender, head, body); wait up to some seconds for a first letter.

        Bodies are the mailbox's own and stay as they are until the next call; a letter without body has an empty one.
        """

    def close(self) -> None:
        """Wait until all letters of this rank have been taken, and end; collective. Letters not collected are dropped."""


HEAD = 4
"""Numbers of a letter's head."""


class Team(Protocol):
    """The ranks that solve a problem together.

    Attributes
    ----------
    rank, size : int
    bytes_sent : int
        By this rank, so far, for sums counted as a ring would send them.
    """

    rank: int
    size: int
    bytes_sent: int

    def sum(self, array: Array) -> None:
        """Overwrite an array by its sum over ranks; collective, the same bits on all."""

    def sums(self, *numbers: float) -> list[float]:
        """Return the sums of numbers over ranks; collective."""

    def largest(self, number: float) -> float:
        """Return the largest number of all ranks; collective."""

    def from_first(self, array: Array) -> None:
        """Overwrite an array by the first rank's; collective."""

    def gather(self, array: Array) -> Sequence[Array]:
        """Return the arrays of all ranks, of the same shape and dtype, in the order of ranks; collective."""

    def swap(self, neighbours: Sequence[int], array: Array) -> Mapping[int, Array]:
        """Send an array to each neighbour, and return theirs; all of them name this rank, too."""

    def mailbox(self, like: Array) -> Mailbox:
        """Return a mailbox for arrays like this one; collective."""


class Alone:
    """A team of one rank."""

    rank, size, bytes_sent = 0, 1, 0

    def sum(self, array: Array) -> None:
        """Leave the array as it is."""

    def sums(self, *numbers: float) -> list[float]:
        """Return the numbers."""
        return list(numbers)

    def largest(self, number: float) -> float:
        """Return the number."""
        return number

    def from_first(self, array: Array) -> None:
        """Leave the array as it is."""

    def gather(self, array: Array) -> Sequence[Array]:
        """Return the array alone."""
        return [array]

    def swap(self, neighbours: Sequence[int], array: Array) -> Mapping[int, Array]:
        """Return nothing: there are no neighbours."""
        if neighbours:
            raise ValueError(f"neighbours {list(neighbours)} were given to a rank that is alone")
        return {}

    def mailbox(self, like: Array) -> Mailbox:
        """Return a mailbox without anybody to write to."""
        return _Nobody()


class _Nobody:
    bytes_sent = 0

    def post(self, to: int, head: Sequence[float], body: Array | None = None) -> None:
        raise ValueError(f"a letter to rank {to} was posted by a rank that is alone")

    def pending(self, to: int) -> int:
        return 0

    def collect(self, wait: float = 0.0) -> list[tuple[int, np.ndarray, Array]]:
        return []

    def close(self) -> None:
        pass
