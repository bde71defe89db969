"""Levels 0 = l_0 < ... < l_s = 1 of stochastic rounding: even, exponential, or fitted to the magnitudes that occur.

Rounding a magnitude a to one of its two neighbours, right on average, has the variance (l_{k+1} - a)(a - l_k); fitted levels
have a small mean

    Psi(l) = E (l_{k+1} - a)(a - l_k)

over samples of a. With all others fixed, Psi is convex in l_j, and least where as many samples lie between l_j and l_{j+1} as

    sum over l_{j-1} < a < l_{j+1} of (a - l_{j-1}) / (l_{j+1} - l_{j-1}).

Sums over ranges of sorted samples are differences of prefix sums, so a move costs a search.

References
----------
Alistarh, Grubic, Li, Tomioka & Vojnovic, NeurIPS 2017 (QSGD); Ramezani-Kebrya, Faghri, Markov, Aksenov, Alistarh & Roy,
J. Mach. Learn. Res. 22(114), 2021 (NUQSGD); Faghri, Tabrizian, Markov, Alistarh, Roy & Ramezani-Kebrya, NeurIPS 2020 (ALQ and
AMQ; there with fitted distributions, here with the samples themselves).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar

Levels = tuple[float, ...]
SWEEPS = 1000


def qsgd(s: int) -> Levels:
    """Return the s + 1 even levels k / s: E |Q(v) - v|^2 <= min(d / (4 s^2), sqrt(d) / s) |v|^2 for the norm |v|_2."""
    return tuple(k / s for k in range(_count("qsgd", s) + 1))


def nuqsgd(s: int) -> Levels:
    """Return the s + 2 levels 0, 2^-s, ..., 1/2, 1: E |Q(v) - v|^2 <= (1/8 + d 2^(-2 s - 2)) |v|^2 for the norm |v|_2."""
    return (0.0, *(2.0**-k for k in range(_count("nuqsgd", s, 0), -1, -1)))


def e3m0() -> Levels:
    """Return the magnitudes of 4-bit floats of three exponent bits and no mantissa: zero and seven powers of two."""
    return nuqsgd(6)


def expected_variance(levels: Levels, samples: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the mean of (l_{k+1} - a)(a - l_k) over samples a in [0, 1]."""
    ends = np.asarray(levels)
    k = np.clip(np.searchsorted(ends, samples, side="right") - 1, 0, len(ends) - 2)
    return float(np.average((ends[k + 1] - samples) * (samples - ends[k]), weights=weights))


def alq(samples: np.ndarray, s: int, start: Levels | None = None, weights: np.ndarray | None = None) -> Levels:
    """Return s + 1 levels fitted to samples, by exact moves of one level at a time until none lowers Psi.

    Parameters
    ----------
    samples : array of shape (n,)
        Magnitudes, in [0, 1].
    s : int
    start : tuple of float, optional
        The first levels; exponential ones by default.
    weights : array of shape (n,), optional
        Of the samples in Psi, such as the square of the scale that each was divided by.

    Raises
    ------
    ValueError
        If there are no samples, one is outside of [0, 1], or `start` has not s + 1 levels.
    """
    levels = list(nuqsgd(_count("alq", s) - 1) if start is None else start)
    if len(levels) != s + 1:
        raise ValueError(f"alq: {len(levels)} levels were given to start with, expected s + 1 = {s + 1}")
    sums = _PrefixSums(*_checked("alq", samples, weights))
    for _ in range(SWEEPS):
        before = tuple(levels)
        for j in range(1, s):
            levels[j] = sums.best(levels[j - 1], levels[j], levels[j + 1])
        if tuple(levels) == before:
            break
    return tuple(levels)


def amq(samples: np.ndarray, s: int, weights: np.ndarray | None = None) -> Levels:
    """Return the s + 1 levels 0, p^(s - 1), ..., p, 1 with the best p for samples; parameters as in :func:`alq`."""
    _count("amq", s)
    samples, weights = _checked("amq", samples, weights)

    def powers(p: float) -> Levels:
        return (0.0, *(float(p) ** k for k in range(s - 1, -1, -1)))

    found = minimize_scalar(lambda p: expected_variance(powers(p), samples, weights), bounds=(0.02, 0.98), method="bounded")
    return powers(found.x)


class _PrefixSums:
    """Sorted samples with the sums of weights, and of weighted samples, before each."""

    def __init__(self, samples: np.ndarray, weights: np.ndarray) -> None:
        order = np.argsort(samples, kind="stable")
        self.samples, weights = samples[order], weights[order]
        self.weight = np.concatenate([[0.0], np.cumsum(weights)])
        self.moment = np.concatenate([[0.0], np.cumsum(weights * self.samples)])

    def best(self, left: float, now: float, right: float) -> float:
        """Return the best level between two others; `now` where no sample moves it."""
        first, last = np.searchsorted(self.samples, (left, right), side="right")
        weight = self.weight[last] - self.weight[first]
        above = (self.moment[last] - self.moment[first] - left * weight) / (right - left)
        at = int(np.searchsorted(self.weight, self.weight[last] - above, side="right")) - 1
        level = float(self.samples[min(max(at, first), last - 1)]) if above > 0 else now
        return level if left < level < right else now


def _count(name: str, s: int, least: int = 1) -> int:
    if not (isinstance(s, int | np.integer) and s >= least):
        raise ValueError(f"{name}: s = {s!r} was given, expected a whole number of at least {least}")
    return int(s)


def _checked(name: str, samples: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    samples = np.asarray(samples, np.float64).reshape(-1)
    weights = np.ones_like(samples) if weights is None else np.asarray(weights, np.float64).reshape(-1)
    if not samples.size or not ((samples >= 0) & (samples <= 1)).all():
        raise ValueError(f"{name}: {samples.size} samples were given, expected one or more, all from 0 to 1")
    if weights.shape != samples.shape or not (weights >= 0).all() or not 0 < math.fsum(weights) < math.inf:
        raise ValueError(f"{name}: weights were given that are not as many as samples, negative, or all zero")
    return samples, weights
