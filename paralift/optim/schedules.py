"""Step sizes as functions of the step. A plain number is accepted wherever a schedule is.

Steps count from 1, as in :mod:`paralift.optim.rules`. With ``warmup = w`` the rate rises linearly and is full
at step w; the decay starts from the full rate at step w + 1, so that without warm-up step k has the rate of
PyTorch's epoch k - 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from paralift.optim.checks import set_count, set_number

Schedule = Callable[[int, int | None], float]
"""(step, total steps of the run, or None if it has no end) -> rate."""


@dataclass(frozen=True)
class Constant:
    """The same rate at every step, after a linear warm-up."""

    rate: float
    warmup: int = 0

    def __post_init__(self) -> None:
        set_number(self, "rate")
        set_count(self, "warmup", 0)

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the rate of `step`."""
        return self.rate * min(1.0, step / self.warmup) if self.warmup else self.rate


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from `rate` down to `final`, after a linear warm-up.

    Parameters
    ----------
    rate : float
        The highest rate.
    steps : int, optional
        Steps to the end of the decay, warm-up included; None means those of the run.
    final : float
        The rate at the end and after it.
    warmup : int
        Steps of the linear warm-up.

    References
    ----------
    Loshchilov & Hutter, SGDR, ICLR 2017, equation 5, without restarts.
    """

    rate: float
    steps: int | None = None
    final: float = 0.0
    warmup: int = 0

    def __post_init__(self) -> None:
        set_number(self, "rate")
        set_number(self, "final")
        set_count(self, "warmup", 0)
        if self.steps is not None:
            set_count(self, "steps", 1)

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the rate of `step`; ValueError if neither `steps` nor `total_steps` is known."""
        end = total_steps if self.steps is None else self.steps
        if end is None:
            raise ValueError("Cosine: neither steps nor the steps of the run are known; give Cosine(rate, steps=...)")
        if step <= self.warmup:
            return self.rate * step / self.warmup
        progress = min((step - 1 - self.warmup) / max(end - self.warmup, 1), 1.0)
        return self.final + 0.5 * (self.rate - self.final) * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Step:
    """The rate is multiplied by `factor` after every `every` steps, after a linear warm-up."""

    rate: float
    every: int
    factor: float = 0.1
    warmup: int = 0

    def __post_init__(self) -> None:
        set_number(self, "rate")
        set_number(self, "factor")
        set_count(self, "every", 1)
        set_count(self, "warmup", 0)

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the rate of `step`."""
        if step <= self.warmup:
            return self.rate * step / self.warmup
        return self.rate * self.factor ** ((step - 1 - self.warmup) // self.every)


@dataclass(frozen=True)
class Exponential:
    """The rate goes from `rate` to `final` by the same factor at every step, after a linear warm-up.

    Parameters
    ----------
    rate, final : float
        The first and the last one, both greater than 0.
    steps : int, optional
        Steps to the last one, warm-up included; None means those of the run.
    warmup : int
        Steps of the linear warm-up.
    """

    rate: float
    final: float
    steps: int | None = None
    warmup: int = 0

    def __post_init__(self) -> None:
        for name in ("rate", "final"):
            set_number(self, name)
            if not getattr(self, name) > 0.0:
                raise ValueError(f"Exponential: {name} = {getattr(self, name)} was given, expected a number greater than 0")
        set_count(self, "warmup", 0)
        if self.steps is not None:
            set_count(self, "steps", 1)

    def __call__(self, step: int, total_steps: int | None = None) -> float:
        """Return the rate of `step`; ValueError if neither `steps` nor `total_steps` is known."""
        end = total_steps if self.steps is None else self.steps
        if end is None:
            raise ValueError("Exponential: neither steps nor the steps of the run are known; give Exponential(..., steps=...)")
        if step <= self.warmup:
            return self.rate * step / self.warmup
        progress = min((step - 1 - self.warmup) / max(end - 1 - self.warmup, 1), 1.0)
        return self.rate * (self.final / self.rate) ** progress


def rate_at(rate: Schedule | float, step: int, total_steps: int | None) -> float:
    """Return the rate of `step` from a schedule or a number."""
    return rate if isinstance(rate, float) else float(rate(step, total_steps))
