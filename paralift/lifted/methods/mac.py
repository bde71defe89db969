"""The method of auxiliary coordinates (MAC): quadratic penalties, and regressions for the parameters.

Objective: E(x, theta) = loss(x_{L-1}, theta_L)/mu + sum_l |x_l - sigma_l(z_l)|^2/2 + R(theta).
Update: x by proximal gradient iterations; theta_l by ridge regression on the block's input, its Gram matrix summed over all
shards: exact for identity activations, a Gauss-Newton step with the best length for each unit for others.
Reference: Carreira-Perpinan & Wang, Distributed optimization of deeply nested systems, AISTATS 2014; ParMAC, MLSys 2019.
When to use it: full batches (batch_size=None, tau=None), few passes, many shards: a pass sends d^2 numbers a block, however
many samples there are. It needs sigma'. With batches take a finite tau.
"""

from __future__ import annotations

from paralift.lifted.inference.proxgrad import ProximalGradient
from paralift.lifted.methods.method import Method
from paralift.lifted.methods.parts import descent, weighted


def mac(
    mu: float = 1.0,
    iterations: int = 1,
    tau: float | None = 1.0,
    exact: bool = True,
    persistent: bool = True,
    order: str = "gauss_seidel",
) -> Method:
    """Return the method of auxiliary coordinates.

    Parameters
    ----------
    mu : float
        Weight of the penalties beside the loss; for mu -> infinity the constraints x = sigma(z) hold.
    iterations, order, persistent
        See `ProximalGradient`.
    tau : float, optional
        See `LeastSquares`.
    exact : bool
        Whether parameters are fitted by Gram matrices (dense layers, no ties, Ridge at most); False takes gradient steps.
    """
    inference = ProximalGradient(iterations, order, persistent=persistent)
    return Method("quadratic", weighted(mu), inference, descent(exact, tau))
