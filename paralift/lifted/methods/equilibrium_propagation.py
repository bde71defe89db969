"""Equilibrium propagation: a free and a nudged phase, each run to equilibrium.

Objective: F(x, theta; beta) = sum_l B_l(x_l, z_l) + beta loss; the gradient of the loss at the free equilibrium is the limit of
(dF/dtheta(beta) - dF/dtheta(-beta))/(2 beta) for beta -> 0.
Update: x of each phase by proximal gradient iterations until they stand still; theta by the optimiser with this difference.
The free phase is the forward pass: every penalty is zero there, its exact equilibrium.
Reference: Scellier & Bengio, Frontiers in Computational Neuroscience 11, 2017; Laborieux et al., Frontiers in
Neuroscience 15, 2021 (two nudged phases); Kerjan, Hoier & Scellier, arXiv 2606.03584, 2026 (energies
whose free phase is a forward pass).
When to use it: to compare, or where inference is cheap (hardware). It reaches `nudged`, whose one sweep replaces the phases, at
many times the cost. The Hopfield energy of the first paper is another network, whose output is not this forward pass.
"""

from __future__ import annotations

from paralift.lifted.clamps import Nudge
from paralift.lifted.inference.equilibrium import Equilibrium
from paralift.lifted.methods.method import Method
from paralift.lifted.updates import Explicit


def equilibrium_propagation(
    beta: float = 0.5,
    symmetric: bool = True,
    iterations: int = 50,
    tolerance: float = 1e-4,
    order: str = "gauss_seidel",
    geometry: str = "dual",
    penalty: str = "bregman",
) -> Method:
    """Return equilibrium propagation.

    Parameters
    ----------
    beta, symmetric
        See `Nudge`; without symmetry the free phase is one of the two.
    iterations, tolerance, order, geometry
        See `Equilibrium`; the iterations are those of a phase at most.
    penalty : {"bregman", "quadratic"}
        With "quadratic", which wants geometry="euclidean", the energy is that of predictive coding.
    """
    inference = Equilibrium(iterations, order, geometry, tolerance=tolerance)
    return Method(penalty, Nudge(beta, symmetric), inference, Explicit())
