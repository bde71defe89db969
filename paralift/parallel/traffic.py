"""What a rank sent, received and waited for: running totals, and their difference between two moments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from paralift.parallel.cost import Line
from paralift.parallel.persistent import PersistentMessages


class Traffic(NamedTuple):
    """Totals of one rank.

    Attributes
    ----------
    waited : float
        Seconds in waits for messages of neighbouring stages that had not arrived, or not left, yet.
    summed : float
        Seconds in waits for sums over shards.
    n_messages, n_bytes : float
        Messages of neighbouring stages, sent and received.
    """

    waited: float = 0.0
    summed: float = 0.0
    n_messages: float = 0
    n_bytes: float = 0

    def since(self, before: Traffic) -> Traffic:
        """Return what came after an earlier moment."""
        return Traffic(*(a - b for a, b in zip(self, before, strict=True)))

    def plus(self, other: Traffic) -> Traffic:
        """Return both together."""
        return Traffic(*(a + b for a, b in zip(self, other, strict=True)))

    def alone(self, message: Line) -> float:
        """Return the seconds that the messages would take one after another, with nothing to hide behind."""
        return message.start * self.n_messages + message.each * self.n_bytes


def traffic(messages: PersistentMessages, sums: Iterable[float]) -> Traffic:
    """Return the totals of messages and of the waits for sums."""
    return Traffic(messages.waited, sum(sums), messages.n_messages, messages.n_bytes)
