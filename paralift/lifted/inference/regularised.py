"""The prox of a penalty and a regulariser together, exact for the separable ones on elementwise activations.

In one dimension prox of (convex f + indicator of an interval) is the prox of f, clipped; prox of (f + t|x|) is
prox_f after soft thresholding where f is flat at zero, and a shift where the domain is nonnegative; a square only rescales.

References
----------
Combettes & Pesquet, SIAM J. Optim. 18(4), 2007, Proposition 3.6; Yu, NIPS 2013.
"""

from __future__ import annotations

from typing import Any

from paralift.kernels.arrays import Array, namespace
from paralift.lifted.activations import ReLU, Sigmoid, Softplus
from paralift.lifted.activations.base import Activation
from paralift.lifted.activations.elementwise import Elementwise
from paralift.optim.regularizers import L1, Box, NonNegative, Ridge

NONNEGATIVE = (ReLU, Sigmoid, Softplus)
"""Activations whose range is nonnegative, so that |x| = x on it."""


def regularised_prox(activation: Activation, regularizer: Any, w: Array, lam: float) -> Array:
    """Return argmin_x lam (Psi(x) + R(x)) + |x - w|^2/2.

    Raises
    ------
    TypeError
        If the pair has no closed form here.
    """
    if regularizer is None:
        return activation.prox(w, lam)
    check_pair(activation, regularizer)
    if isinstance(regularizer, L1):
        shift = lam * regularizer.weight
        return activation.prox(w - shift if isinstance(activation, NONNEGATIVE) else soft(w, shift), lam)
    if isinstance(regularizer, Ridge):
        scale = 1.0 + lam * regularizer.weight
        return activation.prox(w / scale, lam / scale)
    return regularizer.prox(activation.prox(w, lam), lam)


def check_pair(activation: Activation, regularizer: Any) -> None:
    """Raise TypeError unless `regularised_prox` is exact for the pair."""
    ridge = isinstance(regularizer, Ridge)
    separable = isinstance(activation, Elementwise) and isinstance(regularizer, L1 | Box | NonNegative)
    if not ((ridge and activation.proximal) or separable):
        raise TypeError(
            f"{regularizer!r} on the lifted variable of {activation!r}: expected L1, Box, NonNegative or Ridge on an "
            "elementwise activation, or Ridge on any; put other regularisers on a variable of their own after Identity()"
        )


def soft(w: Array, t: float) -> Array:
    """Return sign(w) max(|w| - t, 0)."""
    xp = namespace(w)
    size = xp.abs(w) - t
    return xp.sign(w) * xp.where(size > 0, size, xp.zeros_like(w))
