"""Algorithms for f + r on any number of ranks, a file each."""

from paralift.optim.algorithms.algorithm import Algorithm
from paralift.optim.algorithms.arock import ARock
from paralift.optim.algorithms.averaging import AveragedProximalGradient
from paralift.optim.algorithms.feedback import EF21, CompressedGradient
from paralift.optim.algorithms.incremental import SAG, SAGA, ProxSVRG
from paralift.optim.algorithms.palm import IPALM, PALM
from paralift.optim.algorithms.piag import PIAG
from paralift.optim.algorithms.proximal import FISTA, ProximalGradient

__all__ = [
    "ARock",
    "Algorithm",
    "AveragedProximalGradient",
    "CompressedGradient",
    "EF21",
    "FISTA",
    "IPALM",
    "PALM",
    "PIAG",
    "ProxSVRG",
    "ProximalGradient",
    "SAG",
    "SAGA",
]
