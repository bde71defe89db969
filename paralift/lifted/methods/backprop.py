"""Backpropagation by the same blocks: the reference of tests and benchmarks.

Objective: the loss. Update: r_l = sigma'(z_l) g_l instead of a difference; then any optimiser.
Reference: Rumelhart, Hinton & Williams, Nature 323, 1986.
When to use it: to compare; it needs sigma', which quantisers do not have.
"""

from __future__ import annotations

from paralift.lifted.clamps import Nudge
from paralift.lifted.inference.sweep import Backpropagation
from paralift.lifted.methods.method import Method
from paralift.lifted.updates import Explicit


def backprop() -> Method:
    """Return backpropagation by the same blocks, with sigma': the reference of tests and benchmarks."""
    return Method("bregman", Nudge(), Backpropagation(), Explicit())
