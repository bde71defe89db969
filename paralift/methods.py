"""Named methods and the parts they are made of; see `paralift.lifted.methods`."""

from paralift.lifted.clamps import Hard, Nudge
from paralift.lifted.inference.proxgrad import ProximalGradient
from paralift.lifted.inference.sweep import Backpropagation, Sweep
from paralift.lifted.methods import Method, backprop, lifted_bregman, lifted_bregman_bcd, nudged
from paralift.lifted.penalties import Penalty
from paralift.lifted.updates import BlockDescent, Explicit, Implicit

__all__ = [
    "Backpropagation",
    "BlockDescent",
    "Explicit",
    "Hard",
    "Implicit",
    "Method",
    "Nudge",
    "Penalty",
    "ProximalGradient",
    "Sweep",
    "backprop",
    "lifted_bregman",
    "lifted_bregman_bcd",
    "nudged",
]
