"""How a method moves the parameters once the lifted variables are found (docs/method.md, section 5)."""

from __future__ import annotations

from dataclasses import dataclass

ACCELERATIONS = ("none", "nesterov", "heavy_ball")


@dataclass(frozen=True)
class Explicit:
    """By an optimiser of `paralift.optim`: any update that takes a gradient and a prox."""


@dataclass(frozen=True)
class Implicit:
    """Implicit stochastic gradient: argmin of E on the batch plus |theta - theta_k|^2 / (2 tau), by inner block steps.

    Parameters
    ----------
    tau : float
        Step of the implicit update.
    steps : int
        Inner rounds: lifted variables, then one proximal gradient step on every parameter.

    References
    ----------
    Wang & Benning, JMLR 24(232), 2023, section 4.
    """

    tau: float = 1.0
    steps: int = 3

    def __post_init__(self) -> None:
        if not self.tau > 0 or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"{self!r}: expected tau greater than 0 and at least one step")


@dataclass(frozen=True)
class BlockDescent:
    """One proximal gradient step on every block's parameters with the step 1/L of that block, accelerated or not.

    Parameters
    ----------
    acceleration : {"none", "nesterov", "heavy_ball"}
        Extrapolation of the parameters between rounds; without it every round lowers E.
    momentum : float
        Largest weight of the extrapolation, in [0, 1).
    """

    acceleration: str = "none"
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if self.acceleration not in ACCELERATIONS:
            raise ValueError(f"BlockDescent: acceleration is {self.acceleration!r}, expected one of {ACCELERATIONS}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"BlockDescent: momentum is {self.momentum}, expected a number in [0, 1)")


@dataclass(frozen=True)
class LeastSquares:
    """Every block's parameters are a ridge regression on its input, by the Gram matrix of the input summed over all shards.

    Where E is a square in the parameters (an identity activation, the constrained penalty) the step minimises it; with the
    Bregman penalty it minimises the square above E that touches it; with the quadratic penalty it is the Gauss-Newton
    step, as long for every unit as lowers E most. So no step raises E.

    Parameters
    ----------
    tau : float, optional
        Adds |theta - theta_k|^2 / (2 tau) to E, a mean over samples: what a batch does not know stays. None adds nothing, for
        full batches.

    References
    ----------
    Carreira-Perpinan & Wang, AISTATS 2014; Carreira-Perpinan & Alizadeh, ParMAC, MLSys 2019; Askari et al., 2018.
    """

    tau: float | None = None

    def __post_init__(self) -> None:
        if self.tau is not None and not self.tau > 0:
            raise ValueError(f"{self!r}: expected tau greater than 0, or None")


Update = Explicit | Implicit | BlockDescent | LeastSquares
