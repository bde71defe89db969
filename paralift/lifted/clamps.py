"""Clamps: how the target enters (docs/method.md, section 3)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hard:
    """x_L = y, the clamp of Wang & Benning (2023)."""

    @property
    def beta(self) -> float:
        """Weight of the loss of one sample."""
        return 1.0

    @property
    def phases(self) -> tuple[tuple[float, float], ...]:
        """Pairs (weight, beta): the gradient is the sum of weight dE/dtheta over states found with these betas."""
        return ((1.0, 1.0),)

    @property
    def displacement(self) -> tuple[float, float, float]:
        """(up, down, relative) of the sweep's residual: x = sigma(z - g), r = sigma(z) - x."""
        return (0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Nudge:
    """x_L = sigma(z_L) + beta (y - sigma(z_L)), or two states nudged by +beta/2 and -beta/2.

    Parameters
    ----------
    beta : float
        Weight of the loss of one sample (one token, one pixel), never of its mean.
    symmetric : bool
        Two states whose difference is the learning signal; its error is O(beta^2) instead of O(beta).
    relative : float, optional
        Instead of `beta`: every row of every block scales its own difference so that the displacement is this share
        of the row's pre-activation, in root mean square. It knows no scale of the loss and no depth.
    """

    beta: float = 1.0
    symmetric: bool = True
    relative: float | None = None

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"Nudge: beta is {self.beta}, expected a number greater than 0")
        if self.relative is not None and (not self.relative > 0 or self.beta != 1.0 or not self.symmetric):
            raise ValueError(
                f"{self!r}: a relative nudge is a number greater than 0 and takes the place of beta (leave it at 1); "
                "it is symmetric"
            )

    @property
    def phases(self) -> tuple[tuple[float, float], ...]:
        """Pairs (weight, beta) of the states that proximal gradient iterations find."""
        if self.symmetric:
            return ((1.0 / self.beta, 0.5 * self.beta), (-1.0 / self.beta, -0.5 * self.beta))
        return ((1.0 / self.beta, self.beta),)

    @property
    def displacement(self) -> tuple[float, float, float]:
        """(up, down, relative) of the sweep's residual."""
        return (0.5, 0.5, self.relative or 0.0) if self.symmetric else (0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Dyad:
    """Two states of every unit, x+ = sigma(z - alpha g) and x- = sigma(z + (1 - alpha) g), of mean alpha x+ + (1 - alpha) x-.

    The loss weighs alpha beta in one and -(1 - alpha) beta in the other. alpha = 1/2 is the symmetric `Nudge`; 1 nudges x+
    alone.

    Parameters
    ----------
    beta : float
        Weight of the loss of one sample.
    alpha : float
        In [0, 1].
    transposed : bool
        Whether the shares of the pull are exchanged, x+ = sigma(z - (1 - alpha) g) and x- = sigma(z + alpha g): the mean then
        stays at sigma(z) for alpha = 0 and 1, too, so that lopsided nudges do not run away.

    References
    ----------
    Hoier, Staudt & Zach, arXiv 2302.01228, 2023; Hoier & Zach, arXiv 2402.08573, 2024 (transposed).
    """

    beta: float = 1.0
    alpha: float = 0.5
    transposed: bool = False

    def __post_init__(self) -> None:
        if not self.beta > 0 or not 0 <= self.alpha <= 1:
            raise ValueError(f"{self!r}: expected beta greater than 0 and alpha in [0, 1]")

    @property
    def shares(self) -> tuple[float, float]:
        """Shares of the pull that x+ and x- get."""
        return (1.0 - self.alpha, self.alpha) if self.transposed else (self.alpha, 1.0 - self.alpha)

    @property
    def phases(self) -> tuple[tuple[float, float], ...]:
        """Pairs (weight, beta) of the states that proximal gradient iterations find."""
        plus, minus = self.shares
        found = ((1.0 / self.beta, plus * self.beta), (-1.0 / self.beta, -minus * self.beta))
        return tuple(phase for phase in found if phase[1])

    @property
    def displacement(self) -> tuple[float, float, float]:
        """(up, down, relative) of the sweep's residual."""
        plus, minus = self.shares
        return (minus, plus, 0.0)


Clamp = Hard | Nudge | Dyad
