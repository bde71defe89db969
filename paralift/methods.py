"""Named methods and the parts they are made of; see `paralift.lifted.methods`."""

from paralift.lifted.clamps import Dyad, Hard, Nudge
from paralift.lifted.inference.equilibrium import Equilibrium
from paralift.lifted.inference.proxgrad import ProximalGradient
from paralift.lifted.inference.sweep import Backpropagation, DyadicSweep, Sweep
from paralift.lifted.methods import (
    Method,
    askari,
    backprop,
    dual_propagation,
    equilibrium_propagation,
    fenchel,
    lifted_bregman,
    lifted_bregman_bcd,
    lpom,
    mac,
    nudged,
    predictive_coding,
)
from paralift.lifted.penalties import Bregman, Constrained, Fenchel, Penalty, Quadratic
from paralift.lifted.updates import BlockDescent, Explicit, Implicit, LeastSquares

__all__ = [
    "Backpropagation",
    "BlockDescent",
    "Bregman",
    "Constrained",
    "DyadicSweep",
    "Dyad",
    "Equilibrium",
    "Explicit",
    "Fenchel",
    "Hard",
    "Implicit",
    "LeastSquares",
    "Method",
    "Nudge",
    "Penalty",
    "ProximalGradient",
    "Quadratic",
    "Sweep",
    "askari",
    "backprop",
    "dual_propagation",
    "equilibrium_propagation",
    "fenchel",
    "lifted_bregman",
    "lifted_bregman_bcd",
    "lpom",
    "mac",
    "nudged",
    "predictive_coding",
]
