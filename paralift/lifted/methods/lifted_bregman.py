"""Lifted Bregman training with a hard clamp and implicit stochastic gradient (ISGM).

Objective: E(x, theta) = sum_l B_l(x_l, z_l), x_L = y, on a batch, plus |theta - theta_k|^2/(2 tau).
Update: in turn, proximal gradient iterations on x and a proximal gradient step of length 1/L on every block's parameters.
Reference: Wang & Benning, Lifted Bregman training of neural networks, JMLR 24(232), 2023, section 4.
When to use it: to repeat the paper, with regularised states, or where E itself is wanted; it learns less than `nudged`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paralift.lifted.clamps import Hard
from paralift.lifted.inference.proxgrad import ProximalGradient
from paralift.lifted.methods.method import Method
from paralift.lifted.updates import Implicit


def lifted_bregman(
    tau: float = 1.0,
    steps: int = 3,
    iterations: int = 1,
    order: str = "gauss_seidel",
    geometry: str = "euclidean",
    penalty: str = "bregman",
    states: Mapping[str, Any] | None = None,
) -> Method:
    """Return the method of Wang & Benning (2023): hard clamp, implicit stochastic gradient (ISGM).

    Parameters
    ----------
    tau, steps
        See `Implicit`.
    iterations, order, geometry
        See `ProximalGradient`; the iterations are those before each step on the parameters.
    penalty, states
        See `Method`.
    """
    inference = ProximalGradient(iterations, order, geometry)
    return Method(penalty, Hard(), inference, Implicit(tau, steps), dict(states or {}))
