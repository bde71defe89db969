"""Named methods: points of the table (penalty, clamp, inference, parameters) of docs/methods.md, one a file."""

from paralift.lifted.methods.askari import askari
from paralift.lifted.methods.backprop import backprop
from paralift.lifted.methods.dual_propagation import dual_propagation
from paralift.lifted.methods.equilibrium_propagation import equilibrium_propagation
from paralift.lifted.methods.fenchel import fenchel
from paralift.lifted.methods.lifted_bregman import lifted_bregman
from paralift.lifted.methods.lifted_bregman_bcd import lifted_bregman_bcd
from paralift.lifted.methods.lpom import lpom
from paralift.lifted.methods.mac import mac
from paralift.lifted.methods.method import Method
from paralift.lifted.methods.nudged import nudged
from paralift.lifted.methods.predictive_coding import predictive_coding

__all__ = [
    "Method",
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
