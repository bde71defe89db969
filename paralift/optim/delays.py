"""Steps for gradients that are late: what a step may be after a delay, and what delays there were.

At update k part i of f brings its gradient at x_{s_i}, s_i = k - tau_i; tau = max_i tau_i. L is a Lipschitz constant of the
gradient of the whole f.

constant, bounded delay:      gamma = 2 c / ((2 tau + 1) L), 0 < c < 1
constant, f strongly convex:  gamma = ((1 + mu / (L (tau + 1)))^(1 / (tau + 1)) - 1) / mu
by the delays as they come:   sum_{t = k - tau}^{k} gamma_t <= h / L, 0 < h < 1
by each part's own delay:     `PartwiseAdaptive`, with a proof

A rule is a frozen description; `begin` gives the object that remembers a run's steps.

References
----------
Sun, Hannah & Yin, NIPS 2017 (bounded); Feyzmahdavian & Johansson, JMLR 24, 2023 (bounded, c = 1/2); Aytekin, Feyzmahdavian &
Johansson, arXiv:1610.05507, 2016 (strongly convex); Wu, Magnusson, Feyzmahdavian & Johansson, ICML 2022 (as they come).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paralift.optim.checks import set_count, set_number

REMEMBERED = 1 << 14
"""Steps that are remembered; where a gradient is later, no step is taken."""
LATELY = 0.995
"""By which a long delay counts less with every update that does not repeat it."""
KEPT = 256
"""Steps that are kept in any case: a gradient may be older than the one that it takes the place of."""
SLACK = 1e-12
"""Of h / L, in the test of a sum of steps: equal delays fill it exactly, but for rounding."""


@dataclass(frozen=True)
class Constants:
    """Of f: L and mu of the whole, L of each part (empty where nobody asks for them)."""

    lipschitz: float
    convexity: float = 0.0
    parts: Sequence[float] = ()


class Steps:
    """The steps of a run so far; `next` gives one more."""

    count = 0

    def next(self, stamps: Sequence[int]) -> float:
        """Return gamma_k for gradients that were taken at the points of these numbers; 0.0 leaves the point where it is."""
        raise NotImplementedError


@dataclass(frozen=True)
class StepRule:
    """Base of rules.

    Attributes
    ----------
    partwise : bool
        Whether the constants of the parts are needed.
    """

    partwise = False

    def begin(self, constants: Constants) -> Steps:
        """Return the steps of a run."""
        return _ByDelay(self, constants)

    def step(self, delay: int, past: PastSteps, constants: Constants) -> float:
        """Return gamma_k for tau_k = `delay`."""
        raise NotImplementedError


class PastSteps:
    """Steps summed over any of the last ones in constant time."""

    def __init__(self) -> None:
        self.count = 0
        self._sums = np.zeros(REMEMBERED)

    def append(self, step: float) -> None:
        """Remember a step."""
        before = self._sums[self.count % REMEMBERED]
        self.count += 1
        self._sums[self.count % REMEMBERED] = before + step

    def last(self, n: int) -> float:
        """Return the sum of the last `n` steps, infinity if they are not all remembered."""
        if n >= REMEMBERED:
            return np.inf
        return float(self._sums[self.count % REMEMBERED] - self._sums[max(self.count - n, 0) % REMEMBERED])


class _ByDelay(Steps):
    """Steps of rules that know the longest delay alone."""

    def __init__(self, rule: StepRule, constants: Constants) -> None:
        self._rule, self._constants, self._past = rule, constants, PastSteps()

    def next(self, stamps: Sequence[int]) -> float:
        step = self._rule.step(self.count - min(stamps), self._past, self._constants)
        self._past.append(step)
        self.count += 1
        return step


@dataclass(frozen=True)
class FirstAdaptive(StepRule):
    """gamma_k = a max(h / L - the sum of the last tau_k steps, 0): no bound on delays is needed.

    F(x_k) - F* <= (F_0 - F* + |x_0 - x*|^2 / (2 a_0)) / (1 + sum_t gamma_t / a_0), a_0 = h (1 + h) / (L (1 - h)), for a
    convex f.

    Parameters
    ----------
    h, a : float
        0 < h < 1, 0 < a <= 1.
    """

    h: float = 0.99
    a: float = 0.9

    def __post_init__(self) -> None:
        set_number(self, "h", below=1.0)
        set_number(self, "a", below=1.0 + 1e-12)

    def step(self, delay: int, past: PastSteps, constants: Constants) -> float:
        """Return gamma_k."""
        return self.a * max(self.h / constants.lipschitz - past.last(delay), 0.0)


@dataclass(frozen=True)
class SecondAdaptive(StepRule):
    """gamma_k = h / (L (tau_k + 1)), or no step where the sum would be too long.

    Parameters
    ----------
    h : float
    """

    h: float = 0.99

    def __post_init__(self) -> None:
        set_number(self, "h", below=1.0)

    def step(self, delay: int, past: PastSteps, constants: Constants) -> float:
        """Return gamma_k."""
        most = self.h / constants.lipschitz
        step = most / (delay + 1)
        return step if past.last(delay) + step <= most * (1.0 + SLACK) else 0.0


@dataclass(frozen=True)
class PartwiseAdaptive(StepRule):
    """Steps that each part's own delay allows: one slow part shortens them by its share of L only.

    With d_t = x_{t+1} - x_t, u_t = |d_t|^2 / gamma_t and w_k(t) = sum of L_i over the parts with s_i <= t < k, the proximal
    step and |grad f_i(x_k) - grad f_i(x_{s_i})| <= L_i sum_{t >= s_i} |d_t| give, by |d_t| |d_k| <= (gamma_k u_t + gamma_t
    u_k) / 2,

        F(x_K) <= F(x_0) - sum_k u_k (1 - (L gamma_k + sum_{t < k} gamma_t w_k(t) + sum_{j > k} gamma_j w_j(k)) / 2).

    What stands in the inner brackets stays at most 2 h for every k: gamma_k is bounded by its own, and by what it adds to
    those of earlier updates. So F(x_K) + (1 - h) sum_k u_k <= F(x_0) for all K, also for a nonconvex f. What is allowed is
    not taken at once, for nothing would be left until the oldest gradients are renewed: steps are at most
    pace h / (L + sum_i L_i T_i), T_i the longest delays of late.

    Parameters
    ----------
    h : float
        0 < h < 1.
    pace : float
        Delays are about half as long on average as at most, so that more than 1 is allowed most of the time.
    """

    h: float = 0.99
    pace: float = 1.5
    partwise = True

    def __post_init__(self) -> None:
        set_number(self, "h", below=1.0)
        set_number(self, "pace")

    def begin(self, constants: Constants) -> Steps:
        """Return the steps of a run."""
        return _Partwise(self, constants)


class _Partwise(Steps):
    def __init__(self, rule: PartwiseAdaptive, constants: Constants) -> None:
        self._rule, self._lipschitz, self._parts = rule, constants.lipschitz, np.array(constants.parts)
        self._first = 0  # the update that the arrays begin with
        self._steps, self._taken = np.zeros(0), np.zeros(0)  # gamma_t, and what is in its brackets
        self._longest = np.zeros(len(self._parts))

    def next(self, stamps: Sequence[int]) -> float:
        k, h = self.count, self._rule.h
        self.count += 1
        self._longest = np.maximum(k - np.array(stamps), LATELY * self._longest)
        oldest = min(stamps)
        self._forget(min(oldest, k - KEPT), k)
        if oldest < self._first:
            step, spent = 0.0, 0.0
        else:
            weights = np.zeros(k - self._first)
            for stamp, constant in zip(stamps, self._parts, strict=True):
                weights[stamp - self._first :] += constant
            spent = float(self._steps @ weights)
            heavy = weights > 0
            allowed = ((2.0 * h - self._taken[heavy]) / weights[heavy]).min(initial=(2.0 * h - spent) / self._lipschitz)
            even = self._rule.pace * h / (self._lipschitz + float(self._parts @ self._longest))
            step = max(min(float(allowed), even), 0.0)
            self._taken += step * weights
        self._steps = np.append(self._steps, step)
        self._taken = np.append(self._taken, self._lipschitz * step + spent if step > 0.0 else -np.inf)  # u_k = 0: no condition
        return step

    def _forget(self, first: int, k: int) -> None:
        """Drop what is before an update, and what is too much at update `k`."""
        drop = max(first - self._first, k - REMEMBERED - self._first, 0)
        self._steps, self._taken, self._first = self._steps[drop:], self._taken[drop:], self._first + drop


@dataclass(frozen=True)
class BoundedDelay(StepRule):
    """gamma = 2 c / ((2 bound + 1) L).

    Parameters
    ----------
    bound : int
        No delay is longer; one that is ends the run with an error.
    c : float
    """

    bound: int
    c: float = 0.99

    def __post_init__(self) -> None:
        set_count(self, "bound", 0)
        set_number(self, "c", below=1.0)

    def step(self, delay: int, past: PastSteps, constants: Constants) -> float:
        """Return gamma."""
        _expect_within(delay, self.bound, self)
        return 2.0 * self.c / ((2 * self.bound + 1) * constants.lipschitz)


@dataclass(frozen=True)
class BoundedDelayStronglyConvex(StepRule):
    """gamma = ((1 + mu / (L (bound + 1)))^(1 / (bound + 1)) - 1) / mu: |x_k - x*|^2 <= (1 + mu gamma)^-k |x_0 - x*|^2.

    Parameters
    ----------
    bound : int
    """

    bound: int

    def __post_init__(self) -> None:
        set_count(self, "bound", 0)

    def step(self, delay: int, past: PastSteps, constants: Constants) -> float:
        """Return gamma."""
        _expect_within(delay, self.bound, self)
        mu, n = constants.convexity, self.bound + 1
        if not mu > 0:
            raise ValueError(f"{self}: f is not known to be strongly convex; expected mu > 0, take PartwiseAdaptive()")
        return float(np.expm1(np.log1p(mu / (constants.lipschitz * n)) / n) / mu)


def _expect_within(delay: int, bound: int, rule: StepRule) -> None:
    if delay > bound:
        raise ValueError(
            f"{rule}: a gradient was {delay} updates late, expected at most {bound}; PartwiseAdaptive() needs no bound"
        )


class DelayCounts:
    """How often each delay came."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, delay: int) -> None:
        """Count a delay."""
        self._counts[delay] = self._counts.get(delay, 0) + 1

    def facts(self) -> dict[str, object]:
        """Return the histogram, the mean, and the longest delay."""
        total = sum(self._counts.values())
        mean = sum(k * n for k, n in self._counts.items()) / total if total else 0.0
        return {"histogram": dict(sorted(self._counts.items())), "mean": mean, "longest": max(self._counts, default=0)}
