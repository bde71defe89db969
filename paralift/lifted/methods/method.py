"""What a method is: a point of the table (penalty, clamp, inference, parameters) of docs/method.md, section 6."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paralift.lifted.clamps import Clamp, Dyad, Hard, Nudge
from paralift.lifted.inference.proxgrad import ProximalGradient
from paralift.lifted.inference.sweep import Backpropagation, Sweep
from paralift.lifted.penalties import Fenchel, Penalty, penalty_of
from paralift.lifted.updates import BlockDescent, Explicit, Implicit, LeastSquares, Update

PARTS: Mapping[str, Any] = {
    "penalty": str | Penalty,
    "clamp": Hard | Nudge | Dyad,
    "inference": Sweep | ProximalGradient | Backpropagation,
    "update": Explicit | Implicit | BlockDescent | LeastSquares,
    "states": Mapping,
}
"""The types of a method's parts."""
MINIMISERS = (BlockDescent, Implicit, LeastSquares)
"""Updates that minimise E itself."""


@dataclass(frozen=True)
class Method:
    """One way to train: how far x may be from sigma(z), how the target enters, how x is found, how theta moves.

    Parameters
    ----------
    penalty : {"bregman", "quadratic", "constrained", "fenchel"}, or Penalty
        B(x, z); |x - sigma(z)|^2/2, the one that needs sigma'; |x - z|^2/2 within the range of a projection sigma; B with a
        multiplier for each block.
    clamp : Hard, Nudge or Dyad
    inference : Sweep, DyadicSweep, ProximalGradient, Equilibrium or Backpropagation
    update : Explicit, Implicit, BlockDescent or LeastSquares
    states : mapping of block name to Regularizer
        Regularisers on lifted variables (``"input"`` and ``"output"`` name the first and the last).
    """

    penalty: str | Penalty = "bregman"
    clamp: Clamp = Nudge(relative=0.01)
    inference: Sweep | ProximalGradient | Backpropagation = Sweep()
    update: Update = Explicit()
    states: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in PARTS.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} is {getattr(self, name)!r}, expected {kind}")
        if isinstance(self.inference, ProximalGradient):
            self._check_iterations(self.inference)
        else:
            self._check_sweep()
        if isinstance(self.update, MINIMISERS) and not isinstance(self.inference, ProximalGradient):
            raise ValueError(f"{self.update!r} minimises E over theta: it needs ProximalGradient inference")
        if isinstance(self.update, MINIMISERS) and len(self.clamp.phases) > 1:
            raise ValueError(f"{self.update!r} minimises one E: it needs a hard clamp or a one-sided nudge")
        if self.states and isinstance(self.inference, ProximalGradient) and not self.measure.regularised:
            raise ValueError(f"{self.penalty!r} has x-steps without regularisers: leave states out")
        if isinstance(self.measure, Fenchel) and (self.states or len(self.clamp.phases) > 1):
            raise ValueError(
                f"{self.measure!r} with {self.clamp!r} and states {sorted(self.states)}: multipliers belong to one E, without "
                "regularised states; take Hard() or a one-sided nudge"
            )

    @property
    def measure(self) -> Penalty:
        """The penalty itself."""
        return penalty_of(self.penalty)

    def _check_sweep(self) -> None:
        if not self.measure.sweeps:
            raise ValueError(
                f"penalty is {self.penalty!r}, which does not vanish after a forward pass, so that {self.inference!r} would "
                "not see it: take ProximalGradient(...)"
            )
        if self.inference.carries and not isinstance(self.clamp, Dyad):
            raise ValueError(f"{self.inference!r} carries the mean of two states: it needs a Dyad(...), not {self.clamp!r}")
        if self.inference.carries and (self.measure.derivative or self.states):
            raise ValueError(
                f"{self.inference!r} carries the mean of two states, which penalty={self.penalty!r} with states "
                f"{sorted(self.states)} does not have: take Sweep()"
            )

    def _check_iterations(self, inference: ProximalGradient) -> None:
        if isinstance(self.clamp, Nudge) and self.clamp.relative is not None:
            raise ValueError(
                f"{self.clamp!r}: a relative nudge scales the differences of a sweep; with {inference!r} take Hard() or "
                "Nudge(beta)"
            )
        if inference.geometry not in self.measure.geometries or (inference.geometry == "dual" and self.states):
            raise ValueError(
                f'geometry="dual" with penalty={self.penalty!r} and states {sorted(self.states)}: it knows the Bregman '
                'penalty without regularised states only; take geometry="euclidean"'
            )
