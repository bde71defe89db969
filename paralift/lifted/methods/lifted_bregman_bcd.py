"""Deterministic block coordinate descent on the lifted Bregman energy.

Objective: E(x, theta) = sum_l B_l(x_l, z_l) + R(theta), x_L = y, over the whole training set.
Update: variables of all samples are kept; each pass moves them once and takes a step 1/L on every block's parameters.
Reference: Wang, Valavanis, Mahmood, Mang, Benning & Repetti, arXiv 2510.09796, 2025.
When to use it: full batches (batch_size=None), monotone E, sparse or constrained parameters; `lpom` is its exact-step sibling.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paralift.lifted.clamps import Hard
from paralift.lifted.inference.proxgrad import ProximalGradient
from paralift.lifted.methods.method import Method
from paralift.lifted.updates import BlockDescent, Explicit


def lifted_bregman_bcd(
    acceleration: str = "none",
    momentum: float = 0.9,
    iterations: int = 1,
    order: str = "gauss_seidel",
    geometry: str = "euclidean",
    penalty: str = "bregman",
    states: Mapping[str, Any] | None = None,
) -> Method:
    """Return deterministic block coordinate descent on E (Wang et al., arXiv 2510.09796): use it with full batches.

    Parameters
    ----------
    acceleration : {"none", "nesterov", "heavy_ball", "adam"}
        See `BlockDescent`; "adam" leaves the step to the run's optimiser, `optim.Adam`.
    momentum, iterations, order, geometry, penalty, states
        See `BlockDescent`, `ProximalGradient`, `Method`.
    """
    inference = ProximalGradient(iterations, order, geometry, persistent=True)
    update = Explicit() if acceleration == "adam" else BlockDescent(acceleration, momentum)
    return Method(penalty, Hard(), inference, update, dict(states or {}))
