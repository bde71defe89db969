"""Named methods: points of the table (penalty, clamp, inference, parameters) of docs/method.md, section 6."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paralift.lifted.clamps import Clamp, Hard, Nudge
from paralift.lifted.inference.proxgrad import ProximalGradient
from paralift.lifted.inference.sweep import Backpropagation, Sweep
from paralift.lifted.penalties import Penalty, check_penalty_name
from paralift.lifted.updates import BlockDescent, Explicit, Implicit, Update

PARTS: Mapping[str, Any] = {
    "clamp": Hard | Nudge,
    "inference": Sweep | ProximalGradient | Backpropagation,
    "update": Explicit | Implicit | BlockDescent,
    "states": Mapping,
}
"""The types of a method's parts."""


@dataclass(frozen=True)
class Method:
    """One way to train: how far x may be from sigma(z), how the target enters, how x is found, how theta moves.

    Parameters
    ----------
    penalty : {"bregman", "quadratic"} or Penalty
        B(x, z), or |x - sigma(z)|^2/2, the one that needs sigma', or one of your own.
    clamp : Hard or Nudge
    inference : Sweep, ProximalGradient or Backpropagation
    update : Explicit, Implicit or BlockDescent
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
        check_penalty_name(self.penalty)
        if isinstance(self.penalty, Penalty) and (self.states or not isinstance(self.inference, ProximalGradient)):
            raise ValueError(f"{self.penalty!r} has x-steps without regularisers: it needs ProximalGradient and no states")
        if isinstance(self.update, BlockDescent | Implicit) and not isinstance(self.inference, ProximalGradient):
            raise ValueError(f"{self.update!r} minimises E over theta: it needs ProximalGradient inference")
        if isinstance(self.update, BlockDescent | Implicit) and len(self.clamp.phases) > 1:
            raise ValueError(f"{self.update!r} minimises one E: it needs a hard clamp or a one-sided nudge")

    def _check_iterations(self, inference: ProximalGradient) -> None:
        if isinstance(self.clamp, Nudge) and self.clamp.relative is not None:
            raise ValueError(
                f"{self.clamp!r}: a relative nudge scales the differences of a sweep; with {inference!r} take Hard() or "
                "Nudge(beta)"
            )
        if inference.geometry == "dual" and (self.penalty != "bregman" or self.states):
            raise ValueError(
                f'geometry="dual" with penalty={self.penalty!r} and states {sorted(self.states)}: it knows the Bregman '
                'penalty without regularised states only; take geometry="euclidean"'
            )


RELATIVE = 0.01
"""The default nudge. By measurement: it learns as well as any fixed beta, and follows the gradient at any depth and scale."""


def nudged(
    beta: float | None = None,
    symmetric: bool = True,
    relative: float | None = None,
    penalty: str = "bregman",
    states: Mapping[str, Any] | None = None,
) -> Method:
    """Return the default method: a symmetric sweep over nudged states, parameters by the optimiser.

    Parameters
    ----------
    beta, symmetric, relative
        See `Nudge`. Without beta and relative: relative = 0.01 (one-sided: beta = 0.1). Give a large one for
        staircases such as `Quantizer`, which it smooths: relative = 0.5 (for one bit 1), or beta = 3.
    penalty : {"bregman", "quadratic"}
        With "quadratic" the sweep is backpropagation.
    states : mapping of block name to Regularizer, optional
        Regularisers on lifted variables.
    """
    if beta is None and relative is None:
        clamp = Nudge(relative=RELATIVE) if symmetric else Nudge(0.1, symmetric=False)
    else:
        clamp = Nudge(1.0 if beta is None else beta, symmetric, relative)
    return Method(penalty, clamp, Sweep(), Explicit(), dict(states or {}))


def lifted_bregman(
    tau: float = 1.0,
    steps: int = 3,
    iterations: int = 1,
    order: str = "gauss_seidel",
    geometry: str = "euclidean",
    penalty: str = "bregman",
    states: Mapping[str, Any] | None = None,
) -> Method:
    """Return the method of Wang & Benning (2023): hard clamp, implicit stochastic gradient (ISGM).

    Parameters
    ----------
    tau, steps
        See `Implicit`.
    iterations, order, geometry
        See `ProximalGradient`; the iterations are those before each step on the parameters.
    penalty, states
        See `Method`.
    """
    inference = ProximalGradient(iterations, order, geometry)
    return Method(penalty, Hard(), inference, Implicit(tau, steps), dict(states or {}))


def lifted_bregman_bcd(
    acceleration: str = "none",
    momentum: float = 0.9,
    iterations: int = 1,
    order: str = "gauss_seidel",
    geometry: str = "euclidean",
    penalty: str = "bregman",
    states: Mapping[str, Any] | None = None,
) -> Method:
    """Return deterministic block coordinate descent on E (Wang et al., arXiv 2510.09796): use it with full batches.

    Parameters
    ----------
    acceleration : {"none", "nesterov", "heavy_ball", "adam"}
        See `BlockDescent`; "adam" leaves the step to the run's optimiser, `optim.Adam`.
    momentum, iterations, order, geometry, penalty, states
        See `BlockDescent`, `ProximalGradient`, `Method`.
    """
    inference = ProximalGradient(iterations, order, geometry, persistent=True)
    update = Explicit() if acceleration == "adam" else BlockDescent(acceleration, momentum)
    return Method(penalty, Hard(), inference, update, dict(states or {}))


def backprop() -> Method:
    """Return backpropagation by the same blocks, with sigma': the reference of tests and benchmarks."""
    return Method("bregman", Nudge(), Backpropagation(), Explicit())
