"""Parameter updates and regularisers of networks; problems f + r and algorithms for them. Knows arrays, but no network.

Updates of a training run: `SGD`, `Adam`, `AdamW`, their schedules and regularisers. Problems of any kind, split over ranks:
`problems`, the algorithms here, `graphs`, and `paralift.solve`, which brings them together (docs/solvers.md).
"""

from paralift.optim import compression, graphs, problems
from paralift.optim.algorithms import (
    EF21,
    FISTA,
    IPALM,
    ISGM,
    NIDS,
    PALM,
    PIAG,
    SAG,
    SAGA,
    Algorithm,
    ARock,
    AveragedProximalGradient,
    CompressedGradient,
    ConsensusADMM,
    Diverged,
    InexactProximalGradient,
    PGExtra,
    ProximalGradientDescent,
    ProxSVRG,
    StepError,
)
from paralift.optim.delays import (
    BoundedDelay,
    BoundedDelayStronglyConvex,
    FirstAdaptive,
    PartwiseAdaptive,
    SecondAdaptive,
)
from paralift.optim.denoising import TotalVariation
from paralift.optim.regularizers import L1, Box, GroupL1, MaxNorm, NonNegative, Regularizer, Ridge
from paralift.optim.rules import SGD, Adam, AdamW, Rule
from paralift.optim.schedules import Constant, Cosine, Exponential, Schedule, Step

__all__ = [
    "ARock",
    "Adam",
    "AdamW",
    "Algorithm",
    "AveragedProximalGradient",
    "BoundedDelay",
    "BoundedDelayStronglyConvex",
    "Box",
    "CompressedGradient",
    "ConsensusADMM",
    "Constant",
    "Cosine",
    "Diverged",
    "EF21",
    "Exponential",
    "FISTA",
    "FirstAdaptive",
    "GroupL1",
    "IPALM",
    "ISGM",
    "InexactProximalGradient",
    "L1",
    "MaxNorm",
    "NIDS",
    "NonNegative",
    "PALM",
    "PGExtra",
    "PIAG",
    "PartwiseAdaptive",
    "ProxSVRG",
    "ProximalGradientDescent",
    "Regularizer",
    "Ridge",
    "Rule",
    "SAG",
    "SAGA",
    "SGD",
    "Schedule",
    "SecondAdaptive",
    "Step",
    "StepError",
    "TotalVariation",
    "compression",
    "graphs",
    "problems",
]
