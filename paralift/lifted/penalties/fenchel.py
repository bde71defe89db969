"""The Bregman penalty as a constraint, with a multiplier for each block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from paralift.lifted.penalties.bregman import Bregman


@dataclass(frozen=True)
class Fenchel(Bregman):
    """lambda_l B(x_l, z_l) of the Lagrangian of B_l <= eps, B_l the mean of a block's penalty over the batch.

    Multipliers ascend: lambda_l <- max(lambda_l + rate (B_l - eps), low) after each step on the parameters.

    Parameters
    ----------
    eps : float
        How large the mean of a block's penalty may be, at least 0.
    rate : float
        Of the ascent; 0 leaves the multipliers at their start.
    start, low : float
        The multipliers at the start, and at least: a block without a penalty would forget its input.

    References
    ----------
    Gu, Askari & El Ghaoui, Fenchel lifted networks: a Lagrange relaxation of neural network training, AISTATS 2020.
    """

    sweeps: ClassVar[bool] = False

    eps: float = 0.0
    rate: float = 0.1
    start: float = 1.0
    low: float = 0.01

    def __post_init__(self) -> None:
        if not (self.eps >= 0 and self.rate >= 0 and 0 < self.low <= self.start):
            raise ValueError(f"{self!r}: expected eps and rate of at least 0, and 0 < low <= start")
