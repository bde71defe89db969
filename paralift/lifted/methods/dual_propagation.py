"""Dual propagation: two oppositely nudged states of every unit, found in one pass back.

Objective: min over x+, max over x-: alpha loss(x+_L) + (1 - alpha) loss(x-_L) + (1/beta) sum_l (G(x+_l) - G(x-_l)
- <x+_l - x-_l, A_l m_{l-1}>), G = |.|^2/2 + Psi, m = alpha x+ + (1 - alpha) x-.
Update: x+_l = sigma(z_l - alpha g_l), x-_l = sigma(z_l + (1 - alpha) g_l), r_l = x-_l - x+_l, last block first, from one
forward pass; dE/dtheta_l = gradient(m_parents, r_l)/beta; then any optimiser.
Reference: Hoier, Staudt & Zach, Dual propagation, arXiv 2302.01228, ICML 2023; Hoier & Zach, Two tales of single-phase
contrastive Hebbian learning, arXiv 2402.08573, ICML 2024 (transposed: the shares of g exchanged).
When to use it: to compare with these papers. With alpha = 1/2 and sigma affine between the two states, m = sigma(z) and it is
`nudged(beta)` to rounding; elsewhere they differ by O(beta^2). One sweep: stages on several ranks cannot divide the network,
unless frozen=True leaves m at sigma(z).
"""

from __future__ import annotations

from paralift.lifted.clamps import Dyad
from paralift.lifted.inference.sweep import DyadicSweep, Sweep
from paralift.lifted.methods.method import Method
from paralift.lifted.updates import Explicit


def dual_propagation(beta: float = 1.0, alpha: float = 0.5, transposed: bool = False, frozen: bool = False) -> Method:
    """Return dual propagation.

    Parameters
    ----------
    beta, alpha, transposed
        See `Dyad`.
    frozen : bool
        Whether gradients are taken at the state of the forward pass instead of the mean of the two states; stages on several
        ranks then may divide the network.
    """
    return Method("bregman", Dyad(beta, alpha, transposed), Sweep() if frozen else DyadicSweep(), Explicit())
