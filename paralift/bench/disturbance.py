"""Ranks that are slow and links that are late, on purpose: a problem whose gradients take time, a team whose letters do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paralift.kernels.arrays import Array
from paralift.optim.problems.composite import CompositeProblem
from paralift.optim.problems.linear import LeastSquares
from paralift.optim.team import Mailbox, Team


class Late(LeastSquares):
    """Least squares whose gradients take `seconds` more for all samples, and in proportion for some.

    Parameters
    ----------
    part : LeastSquares
    seconds : float
        On average.
    spread : float
        Times are drawn from seconds (1 - spread) to seconds (1 + spread).
    seed : int
    """

    def __init__(self, part: LeastSquares, seconds: float, spread: float = 0.0, seed: int = 0) -> None:
        super().__init__(part.rows, part.targets, part.regularizer, part.scale)
        self.exact_lipschitz, self.exact_convexity = part.exact_lipschitz, part.exact_convexity
        self.seconds, self.spread, self._rng = seconds, spread, np.random.default_rng(seed)

    def gradient(self, x: Array, out: Array, rows: Array | slice | None = None) -> None:
        """Wait, then write the gradient."""
        self._wait(rows)
        super().gradient(x, out, rows)

    def nearest(self, centre: Array, rho: float, out: Array, rows: Array | None = None) -> bool:
        """Wait as for a gradient, then solve."""
        self._wait(rows)
        return super().nearest(centre, rho, out, rows)

    def _wait(self, rows: Array | slice | None) -> None:
        share = 1.0 if rows is None else len(self.targets[rows]) / self.n_samples
        time.sleep(share * self.seconds * (1.0 + self.spread * self._rng.uniform(-1.0, 1.0)))

    def split(self, parts: int) -> list[CompositeProblem]:
        """Return parts that take their share of the time."""
        pieces = super().split(parts)
        for piece in pieces:
            assert isinstance(piece, Late)
            piece.seconds, piece.spread = self.seconds * piece.n_samples / self.n_samples, self.spread
        return pieces

    def _part(self, span: slice) -> LeastSquares:
        return Late(LeastSquares(self.rows[span], self.targets[span], self.regularizer, self.scale), 0.0, seed=span.start)


class LateTeam:
    """A team whose links take time; everything else is the team's.

    Parameters
    ----------
    team : Team
    seconds : float
        That a letter or a sum takes more.
    spread : float
        Letters take from seconds (1 - spread) to seconds (1 + spread), so that with more than 0 they overtake each other.
    seed : int
    """

    def __init__(self, team: Team, seconds: float, spread: float = 0.0, seed: int = 0) -> None:
        self._team, self._seconds, self._spread, self._seed = team, seconds, spread, seed
        self.rank, self.size = team.rank, team.size

    @property
    def bytes_sent(self) -> int:
        """Those of the team."""
        return self._team.bytes_sent

    def sum(self, array: Array) -> None:
        """Sum, after the time that a sum takes: there and back."""
        time.sleep(2.0 * self._seconds)
        self._team.sum(array)

    def sums(self, *numbers: float) -> list[float]:
        """Return the sums of numbers: words of the bookkeeping, which take no more time."""
        return self._team.sums(*numbers)

    def largest(self, number: float) -> float:
        """Return the largest number of all ranks."""
        return self._team.largest(number)

    def from_first(self, array: Array) -> None:
        """Overwrite an array by the first rank's."""
        self._team.from_first(array)

    def gather(self, array: Array) -> Sequence[Array]:
        """Return the arrays of all ranks, after the time that a letter takes."""
        time.sleep(self._seconds)
        return self._team.gather(array)

    def swap(self, neighbours: Sequence[int], array: Array) -> Mapping[int, Array]:
        """Exchange arrays, after the time that a letter takes."""
        time.sleep(self._seconds)
        return self._team.swap(neighbours, array)

    def mailbox(self, like: Array) -> Mailbox:
        """Return a mailbox whose letters are held back."""
        return LateMailbox(self._team.mailbox(like), self._seconds, self._spread, self._seed + self.rank)


class LateMailbox:
    """Letters that are read some time after they came, in the order in which they are due."""

    def __init__(self, box: Mailbox, seconds: float, spread: float, seed: int) -> None:
        self._box, self._seconds, self._spread, self._rng = box, seconds, spread, np.random.default_rng(seed)
        self._held: list[tuple[float, tuple[int, np.ndarray, Array]]] = []
        self.bytes_sent = 0

    def post(self, to: int, head: Sequence[float], body: Array | None = None) -> None:
        """Send a letter."""
        self._box.post(to, head, body)
        self.bytes_sent = self._box.bytes_sent

    def pending(self, to: int) -> int:
        """Return how many letters to a rank are still on their way, as far as this rank knows."""
        return self._box.pending(to)

    def collect(self, wait: float = 0.0) -> list[tuple[int, np.ndarray, Any]]:
        """Return the letters that are due; wait up to some seconds for a first one."""
        until = time.monotonic() + wait
        while True:
            for sender, head, body in self._box.collect():
                due = time.monotonic() + self._seconds * (1.0 + self._spread * self._rng.uniform(-1.0, 1.0))
                self._held.append((due, (sender, head.copy(), body.copy())))
            now = time.monotonic()
            due_now = sorted((entry for entry in self._held if entry[0] <= now), key=lambda entry: entry[0])
            if due_now or now >= until:
                self._held = [entry for entry in self._held if entry[0] > now]
                return [letter for _, letter in due_now]
            time.sleep(1e-4)

    def close(self) -> None:
        """End."""
        self._box.close()
