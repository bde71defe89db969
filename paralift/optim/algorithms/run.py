"""A run of an algorithm: what it works on, when it stops, what is written down on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from paralift.kernels import arrays
from paralift.kernels.arrays import Array
from paralift.optim.eigenvalues import largest_eigenvalue
from paralift.optim.problems.composite import CompositeProblem
from paralift.optim.team import Team


class StepError(ValueError):
    """A step, or another parameter, is outside of what the algorithm's theory allows."""


class Diverged(RuntimeError):  # noqa: N818
    """Unknowns or the objective became NaN or infinite."""


@dataclass
class Stop:
    """When a run ends, whichever comes first.

    Attributes
    ----------
    tolerance : float
        On the length of the algorithm's residual, its measure of how far a point is from a solution; 0 for never.
    max_updates : int
    seconds : float
    until : callable or None
        ``until(x)`` is true at a point that is good enough.
    """

    tolerance: float = 0.0
    max_updates: int = 10_000
    seconds: float = math.inf
    until: Callable[[Array], bool] | None = None


@dataclass
class Run:
    """What an algorithm gets.

    Attributes
    ----------
    problem : CompositeProblem
        This rank's part.
    team : Team
    x : Array
        The unknowns; holds the start, and at the end the result.
    stop : Stop
    every : int
        Updates between two lines of the history; 0 for none.
    listeners : sequence of callable
        Called with each line.
    history : list of dict
        update, seconds (of the algorithm, evaluations not counted), objective, residual, bytes.
    replicated : bool
        Whether every rank has the whole problem, not a part of it.
    reason : str
        "tolerance", "until", "updates" or "seconds".
    facts : dict
        What an algorithm has to tell besides: steps, delays.
    averaged : bool
        Whether ranks have copies of their own: the objectives of the history are those of the mean over ranks.
    """

    problem: CompositeProblem
    team: Team
    x: Array
    stop: Stop = field(default_factory=Stop)
    every: int = 0
    listeners: Sequence[Callable[[dict[str, Any]], None]] = ()
    seed: int = 0
    replicated: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)
    reason: str = ""
    updates: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    averaged: bool = False
    _began: float = field(default_factory=time.perf_counter)
    _paused: float = 0.0
    _points: list[tuple[int, Array]] = field(default_factory=list)

    # The whole problem, summed over ranks.

    def gradient(self, x: Array, out: Array) -> None:
        """Write the gradient of the whole f into `out`; collective."""
        self.problem.gradient(x, out)
        self._sum(out)

    def smooth(self, x: Array) -> float:
        """Return the whole f(x); collective."""
        return self._total(self.problem.value(x))

    def objective(self, x: Array) -> float:
        """Return f(x) + r(x); collective."""
        return float(self.smooth(x) + self.problem.penalty(x))

    def lipschitz(self) -> float:
        """Return a Lipschitz constant of the gradient of the whole f, found, or bounded by the sum over ranks; collective."""
        if self.problem.exact_lipschitz is not None:
            return self.problem.exact_lipschitz
        start = self.problem.start
        if not self.problem.curvature(arrays.zeros(start.shape, start), arrays.empty(start.shape, start)):
            return _positive(self._total(self.problem.lipschitz()))

        def multiply(v: Array, out: Array) -> None:
            self.problem.curvature(v, out)
            self._sum(out)

        return _positive(largest_eigenvalue(multiply, start))

    def strong_convexity(self) -> float:
        """Return mu of the whole f: known, or the sum over ranks; collective."""
        if self.problem.exact_convexity is not None:
            return self.problem.exact_convexity
        return self._total(self.problem.strong_convexity())

    def mean(self, x: Array) -> Array:
        """Overwrite `x` by its mean over ranks and return it; collective."""
        self.team.sum(x)
        x /= self.team.size
        return x

    def n_samples(self) -> int:
        """Return the number of samples of all ranks; collective."""
        return round(self._total(self.problem.n_samples))

    def _sum(self, array: Array) -> None:
        if not self.replicated:
            self.team.sum(array)

    def _total(self, number: float) -> float:
        return number if self.replicated else self.team.sums(number)[0]

    # When it ends.

    @property
    def elapsed(self) -> float:
        """Seconds since the start, evaluations not counted."""
        return time.perf_counter() - self._began - self._paused

    def goes_on(self, x: Array, residual: float = math.inf) -> bool:
        """Count an update that led to `x`, write down what is due, and return whether to go on; collective.

        Ranks agree: clocks and a user's `until` speak on the first rank.

        Raises
        ------
        Diverged
            If the residual or the objective is not finite.
        """
        self.updates += 1
        if math.isnan(residual):
            raise Diverged(f"update {self.updates}: the unknowns are not finite; the step is too long, or data are not finite")
        reason = self.wish(x, residual)
        if self.team.size > 1 and (self.stop.until is not None or self.stop.seconds < math.inf):
            said = self.team.largest(REASONS.index(reason) if self.team.rank == 0 else -1)
            reason = REASONS[int(said)]
        if self.every and (reason or self.updates % self.every == 0):
            self.write(x, residual, self.paused(lambda: self.objective(self.mean(x.copy()) if self.averaged else x)))
        self.reason = reason
        return not reason

    def goes_on_alone(self, x: Array, residual: float = math.inf, **more: Any) -> bool:
        """Do the same on this rank, without a word to the others; objectives of the history come after the run (`settle`).

        Raises
        ------
        ArithmeticError
            If the residual is not finite: on this rank alone, so that the job ends.
        """
        self.updates += 1
        if math.isnan(residual):
            raise ArithmeticError(
                f"update {self.updates}: the unknowns are not finite; the step is too long, or data are not finite"
            )
        self.reason = self.wish(x, residual)
        if self.every and (self.reason or self.updates % self.every == 0):
            self.write(x, residual, **more)
            self._points.append((len(self.history) - 1, x.copy()))
            if len(self._points) > POINTS:
                self._points = self._points[::2]
        return not self.reason

    def settle(self, gradients: int, letter_bytes: int) -> None:
        """Bring the end of an asynchronous run to all ranks: the first rank's x and reason; collective.

        The history stays on the first rank, and gets the objectives of the points that were kept.

        Parameters
        ----------
        gradients, letter_bytes : int
            Gradients that this rank took, bytes that its letters had.
        """
        team = self.team
        team.from_first(self.x)
        self.reason = REASONS[int(team.largest(REASONS.index(self.reason) if team.rank == 0 else -1))]
        counts = np.array([gradients, letter_bytes, self.updates], dtype=np.float64)
        counts = np.stack(team.gather(counts))
        self.facts.update(gradients=counts[:, 0].astype(int).tolist(), letter_bytes=counts[:, 1].astype(int).tolist())
        self.updates = int(counts[0, 2])
        point = arrays.empty(self.x.shape, self.x)
        for n in range(int(team.largest(len(self._points) if team.rank == 0 else 0))):
            if team.rank == 0:
                point[...] = self._points[n][1]
            team.from_first(point)
            objective = self.paused(lambda: self.objective(point))
            if team.rank == 0:
                self.history[self._points[n][0]]["objective"] = objective
        self._points.clear()

    def wish(self, x: Array, residual: float = math.inf) -> str:
        """Return why this rank would stop at `x`, "" if it would not."""
        if residual <= self.stop.tolerance and self.stop.tolerance > 0:
            return "tolerance"
        if self.stop.until is not None and self.paused(lambda: self.stop.until(x)):  # type: ignore[misc]
            return "until"
        if self.updates >= self.stop.max_updates:
            return "updates"
        return "seconds" if self.elapsed > self.stop.seconds else ""

    def paused(self, act: Callable[[], Any]) -> Any:
        """Return what `act` returns; its seconds do not count."""
        began = time.perf_counter()
        value = act()
        self._paused += time.perf_counter() - began
        return value

    def write(self, x: Array, residual: float, objective: float | None = None, **more: Any) -> None:
        """Add a line to the history and tell it to the listeners.

        Raises
        ------
        Diverged
            If the objective is not finite.
        """
        line = {"update": self.updates, "seconds": self.elapsed, "residual": residual, "bytes": self.team.bytes_sent, **more}
        if objective is not None:
            if not math.isfinite(objective):
                raise Diverged(f"update {self.updates}: the objective is {objective}; the step is too long")
            line["objective"] = objective
        self.history.append(line)
        for listener in self.listeners:
            self.paused(partial(listener, line))


POINTS = 256
"""Points of an asynchronous run that are kept for their objectives; beyond, every second is given up."""
REASONS = ("", "updates", "seconds", "until", "tolerance")


def length(x: Array) -> float:
    """Return the Euclidean length of an array of any shape."""
    flat = x.reshape(-1)
    return float((flat @ flat) ** 0.5) if flat.size else 0.0


def inner(x: Array, y: Array) -> float:
    """Return the inner product of two arrays of one shape."""
    return float(x.reshape(-1) @ y.reshape(-1))


def _positive(constant: float) -> float:
    if not (constant > 0 and np.isfinite(constant)):
        raise StepError(f"the Lipschitz constant of f is {constant}: f is constant, or its data are not finite; give the step")
    return constant


def checked_step(given: float | None, default: float, limit: float, text: str) -> float:
    """Return the step: the default, or what was given if it is positive and below `limit`.

    Raises
    ------
    StepError
        With `text`, the condition that the theory sets.
    """
    if given is None:
        return default
    if not 0 < given < limit:
        raise StepError(f"step = {given:g} was given, but {text}: expected a step greater than 0 and less than {limit:g}")
    return given
