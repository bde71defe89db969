"""Algorithms for f + r on any number of ranks, a file each."""

from paralift.optim.algorithms.admm import ConsensusADMM
from paralift.optim.algorithms.algorithm import Algorithm
from paralift.optim.algorithms.arock import ARock
from paralift.optim.algorithms.averaging import AveragedProximalGradient
from paralift.optim.algorithms.decentralised import NIDS, PGExtra
from paralift.optim.algorithms.feedback import EF21, CompressedGradient
from paralift.optim.algorithms.implicit import ISGM
from paralift.optim.algorithms.incremental import SAG, SAGA, ProxSVRG
from paralift.optim.algorithms.inexact import InexactProximalGradient
from paralift.optim.algorithms.palm import IPALM, PALM
from paralift.optim.algorithms.piag import PIAG
from paralift.optim.algorithms.proximal import FISTA, ProximalGradientDescent
from paralift.optim.algorithms.run import Diverged, StepError

__all__ = [
    "ARock",
    "Algorithm",
    "AveragedProximalGradient",
    "ConsensusADMM",
    "Diverged",
    "CompressedGradient",
    "EF21",
    "FISTA",
    "IPALM",
    "ISGM",
    "InexactProximalGradient",
    "NIDS",
    "PALM",
    "PGExtra",
    "PIAG",
    "ProxSVRG",
    "ProximalGradientDescent",
    "SAG",
    "SAGA",
    "StepError",
]
