"""The default method: one symmetric sweep over nudged states, as accurate as backpropagation at its cost.

Objective: E(x, theta) = sum_l B_l(x_l, z_l) + (beta/2) loss in one state, -(beta/2) loss in the other.
Update: r_l = sigma(z_l + g_l/2) - sigma(z_l - g_l/2), dE/dtheta_l = gradient(x_parents, r_l)/beta; then any optimiser.
Reference: Wang & Benning, JMLR 24(232), 2023 (the penalty); Hoier, Staudt & Zach, arXiv 2302.01228, 2023 (two states).
When to use it: always first. A large beta smooths staircases such as `Quantizer`; the relative default knows no depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paralift.lifted.clamps import Nudge
from paralift.lifted.inference.sweep import Sweep
from paralift.lifted.methods.method import Method
from paralift.lifted.updates import Explicit

RELATIVE = 0.01
"""The default nudge. By measurement: it learns as well as any fixed beta, and follows the gradient at any depth and scale."""


def nudged(
    beta: float | None = None,
    symmetric: bool = True,
    relative: float | None = None,
    penalty: str = "bregman",
    states: Mapping[str, Any] | None = None,
) -> Method:
    """Return the default method: a symmetric sweep over nudged states, parameters by the optimiser.

    Parameters
    ----------
    beta, symmetric, relative
        See `Nudge`. Without beta and relative: relative = 0.01 (one-sided: beta = 0.1). Give a large one for
        staircases such as `Quantizer`, which it smooths: relative = 0.5 (for one bit 1), or beta = 3.
    penalty : {"bregman", "quadratic"}
        With "quadratic" the sweep is backpropagation.
    states : mapping of block name to Regularizer, optional
        Regularisers on lifted variables.
    """
    if beta is None and relative is None:
        clamp = Nudge(relative=RELATIVE) if symmetric else Nudge(0.1, symmetric=False)
    else:
        clamp = Nudge(1.0 if beta is None else beta, symmetric, relative)
    return Method(penalty, clamp, Sweep(), Explicit(), dict(states or {}))
