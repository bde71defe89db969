"""Parts that several named methods are made of."""

from __future__ import annotations

from paralift.lifted.clamps import Clamp, Hard, Nudge
from paralift.lifted.updates import BlockDescent, Implicit, LeastSquares, Update


def weighted(mu: float) -> Clamp:
    """Return the clamp of loss + mu (sum of penalties), divided by mu: 1 is the hard clamp."""
    if not mu > 0:
        raise ValueError(f"mu is {mu}, expected a number greater than 0: the weight of the penalties beside the loss")
    return Hard() if mu == 1 else Nudge(1.0 / mu, symmetric=False)


def descent(exact: bool, tau: float | None) -> Update:
    """Return steps by Gram matrices, or by gradients with a step of 1/L; both near theta_k if `tau` is given."""
    if exact:
        return LeastSquares(tau)
    return BlockDescent() if tau is None else Implicit(tau, 1)
