"""Predictive coding: MAC with a clamped output, prediction errors relaxed for each batch, and an ordinary optimiser.

Objective: E(x, theta) = sum_l |x_l - sigma_l(z_l)|^2/2, the output clamped to the target (its penalty is the loss).
Update: x from the forward pass by iterations towards equilibrium; theta by the optimiser with gradient(x_parents, e_l), the
local product of activity and prediction error e_l = sigma'(z_l) (sigma(z_l) - x_l).
Reference: Rao & Ballard, Nature Neuroscience 2, 1999; Whittington & Bogacz, Neural Computation 29(5), 2017.
When to use it: to compare with work on predictive coding, on batches. For beta -> 0 of a nudged output it is backpropagation.
"""

from __future__ import annotations

from paralift.lifted.clamps import Hard, Nudge
from paralift.lifted.inference.equilibrium import Equilibrium
from paralift.lifted.methods.method import Method
from paralift.lifted.updates import Explicit


def predictive_coding(
    iterations: int = 20, tolerance: float = 1e-3, beta: float | None = None, order: str = "gauss_seidel"
) -> Method:
    """Return predictive coding.

    Parameters
    ----------
    iterations, tolerance, order
        See `Equilibrium`.
    beta : float, optional
        Nudges the output by this share instead of clamping it.
    """
    clamp = Hard() if beta is None else Nudge(beta, symmetric=False)
    return Method("quadratic", clamp, Equilibrium(iterations, order, tolerance=tolerance), Explicit())
