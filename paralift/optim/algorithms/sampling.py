"""Minibatches of samples that are split over ranks: all ranks draw the same, each works on its own of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from paralift.optim.algorithms.run import Run


class Minibatches:
    """Uniform minibatches without repetition, the same whatever the number of ranks; collective when made.

    Parameters
    ----------
    run : Run
        Its seed decides.
    size : int
        Samples of a minibatch, of all ranks together.

    Attributes
    ----------
    n_samples : int
        Of all ranks.
    per_pass : int
        Minibatches that make up as many samples as there are.
    """

    def __init__(self, run: Run, size: int) -> None:
        counts = [int(n) for n in np.concatenate([np.atleast_1d(a) for a in run.team.gather(np.array([float(run.problem.n_samples)]))])]
        self.n_samples, self.size = sum(counts), size
        if not 1 <= size <= self.n_samples:
            raise ValueError(f"minibatches of {size} samples were asked for, expected 1 to {self.n_samples}")
        self._first = sum(counts[: run.team.rank])
        self._own = counts[run.team.rank]
        self.per_pass = -(-self.n_samples // size)
        self._rng = np.random.default_rng(run.seed)

    def draw(self) -> np.ndarray:
        """Return this rank's samples of the next minibatch, as numbers of its own rows, in order."""
        if self.size == 1:
            drawn = self._rng.integers(self.n_samples, size=1)
        else:
            drawn = self._rng.choice(self.n_samples, self.size, replace=False)
        own = drawn - self._first
        return np.sort(own[(own >= 0) & (own < self._own)])

    def one_pass(self) -> Iterator[np.ndarray]:
        """Yield as many minibatches as make up a pass."""
        for _ in range(self.per_pass):
            yield self.draw()


def expected_smoothness(n: int, size: int, mean: float, largest: float) -> float:
    """Return the constant of a mean over `n` samples seen through minibatches without repetition.

    n (b - 1) / (b (n - 1)) L + (n - b) / (b (n - 1)) L_max, L of the mean: L_max for b = 1, L for b = n.

    References
    ----------
    Gazagnadou, Gower & Salmon, Optimal mini-batch and step sizes for SAGA, ICML 2019.
    """
    if n == 1:
        return largest
    return (n * (size - 1) * mean + (n - size) * largest) / (size * (n - 1))
