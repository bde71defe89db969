"""Lifted proximal operator machines (LPOM): the Bregman penalty in its other form, with steps by Gram matrices.

Objective: E(x, theta) = loss/mu + sum_l (Psi(x_l) + phi(z_l) - |z_l|^2/2 + |x_l - z_l|^2/2): the sum of Bregman penalties.
Update: x_l <- sigma(z_l - g_l), here damped, p <- (1 - omega) p + omega (z - g), x = sigma(p), so that E falls for any weights
and the fixed points are the same; theta_l <- theta_l - (X^T X)^-1 X^T r_l, the minimum of a square above E, by Gram matrices
summed over all shards.
Reference: Li, Fang & Lin, Lifted proximal operator machines, AAAI 2019.
When to use it: full batches, few passes, any activation that is a proximal map, without sigma'. Faster for each pass than
`lifted_bregman_bcd`, whose steps are gradient steps on the same E.
"""

from __future__ import annotations

from paralift.lifted.inference.proxgrad import ProximalGradient
from paralift.lifted.methods.method import Method
from paralift.lifted.methods.parts import descent, weighted


def lpom(
    mu: float = 1.0,
    iterations: int = 1,
    tau: float | None = 1.0,
    exact: bool = True,
    persistent: bool = True,
    order: str = "gauss_seidel",
    geometry: str = "dual",
) -> Method:
    """Return lifted proximal operator machines.

    Parameters
    ----------
    mu : float
        Weight of the penalties beside the loss.
    iterations, order, persistent, geometry
        See `ProximalGradient`; "euclidean" takes the prox instead of sigma.
    tau, exact
        See `LeastSquares` and `mac`.
    """
    inference = ProximalGradient(iterations, order, geometry, persistent=persistent)
    return Method("bregman", weighted(mu), inference, descent(exact, tau))
