"""Lifted networks of Askari et al.: squares to the pre-activations, variables within the range of the activation.

Objective: E(x, theta) = loss/mu + sum_l |x_l - z_l|^2/2 + R(theta), x_l in the range of sigma_l (x_l >= 0 for ReLU).
Update: x by projected gradient iterations; theta_l by ridge regression of x_l on x_{l-1}, exact, by summed Gram matrices.
Reference: Askari, Negiar, Sambharya & El Ghaoui, Lifted neural networks, arXiv 1805.01532, 2018.
When to use it: to compare, and to start other methods. Every block problem is convex and solved exactly, but the penalty also
bends z itself towards the range of sigma, so that the network uses its activations little: accuracy stays behind.
Activations must be projections: ReLU, Hardtanh, Sparsemax, Ball, Identity.
"""

from __future__ import annotations

from paralift.lifted.inference.proxgrad import ProximalGradient
from paralift.lifted.methods.method import Method
from paralift.lifted.methods.parts import descent, weighted


def askari(
    mu: float = 1.0,
    iterations: int = 1,
    tau: float | None = 1.0,
    exact: bool = True,
    persistent: bool = True,
    order: str = "gauss_seidel",
) -> Method:
    """Return the lifted networks of Askari et al.

    Parameters
    ----------
    mu : float
        Weight of the penalties beside the loss.
    iterations, order, persistent
        See `ProximalGradient`.
    tau, exact
        See `LeastSquares` and `mac`.
    """
    inference = ProximalGradient(iterations, order, persistent=persistent)
    return Method("constrained", weighted(mu), inference, descent(exact, tau))
