"""Fenchel lifted networks: the Bregman penalties as constraints B_l <= eps, with a multiplier for each block.

Objective: loss + sum_l lambda_l (B_l(x_l, z_l) - eps) + R(theta), least in x and theta, largest in lambda >= 0.
Update: x by proximal gradient iterations, theta by steps of 1/L (or regressions), lambda_l <- max(lambda_l + rate (B_l - eps),
low) with the mean B_l over the batch of all shards; multipliers are saved with the run.
Reference: Gu, Askari & El Ghaoui, Fenchel lifted networks, AISTATS 2020.
When to use it: where weights of the penalties are not known beforehand, or how far x may be from sigma(z) is. With rate=0 E
falls with every step; multipliers that move raise what they weigh.
"""

from __future__ import annotations

from paralift.lifted.clamps import Hard
from paralift.lifted.inference.proxgrad import ProximalGradient
from paralift.lifted.methods.method import Method
from paralift.lifted.methods.parts import descent
from paralift.lifted.penalties import Fenchel


def fenchel(
    eps: float = 0.0,
    rate: float = 0.1,
    start: float = 1.0,
    iterations: int = 1,
    tau: float | None = None,
    exact: bool = False,
    persistent: bool = True,
    order: str = "gauss_seidel",
    geometry: str = "euclidean",
) -> Method:
    """Return Fenchel lifted networks.

    Parameters
    ----------
    eps, rate, start
        See `Fenchel`.
    iterations, order, geometry, persistent
        See `ProximalGradient`.
    tau, exact
        See `LeastSquares` and `mac`.
    """
    inference = ProximalGradient(iterations, order, geometry, persistent=persistent)
    return Method(Fenchel(eps, rate, start), Hard(), inference, descent(exact, tau))
