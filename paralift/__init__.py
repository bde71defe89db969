"""ParaLift: lifted Bregman training of neural networks over MPI."""

from paralift import data, losses, methods, optim
from paralift.kernels.draw import sample_keys
from paralift.lifted.activations import (
    ELU,
    GELU,
    ISRU,
    Arctan,
    Ball,
    BatchNorm,
    GroupSoftThreshold,
    Hardtanh,
    Identity,
    LayerNorm,
    LeakyReLU,
    Quantizer,
    ReLU,
    RMSNorm,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    SoftThreshold,
    Sparsemax,
    Tanh,
)
from paralift.lifted.gradient import value_and_grad
from paralift.lifted.infer import Clamped, Free, Inferred, Nudged, infer
from paralift.lifted.layers import Graph, Parallel, Residual, Sequential
from paralift.lifted.maps import Add, Concatenate, Diagonal, Dropout, Flatten, Linear, Reshape
from paralift.parallel.plan import Plan
from paralift.training.fit import DivergedError, fit
from paralift.training.rates import Rates, find_rate
from paralift.training.result import Reason, Result
from paralift.training.stopping import EarlyStopping

__version__ = "0.1.0"

__all__ = [
    "Add",
    "Arctan",
    "Ball",
    "BatchNorm",
    "Clamped",
    "Concatenate",
    "data",
    "Diagonal",
    "DivergedError",
    "Dropout",
    "EarlyStopping",
    "ELU",
    "find_rate",
    "fit",
    "Flatten",
    "Free",
    "GELU",
    "Graph",
    "GroupSoftThreshold",
    "Hardtanh",
    "Identity",
    "infer",
    "Inferred",
    "ISRU",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "losses",
    "methods",
    "Nudged",
    "optim",
    "Parallel",
    "Plan",
    "Quantizer",
    "Reason",
    "Rates",
    "ReLU",
    "Reshape",
    "Residual",
    "Result",
    "RMSNorm",
    "sample_keys",
    "Sequential",
    "Sigmoid",
    "SiLU",
    "Softmax",
    "Softplus",
    "Softsign",
    "SoftThreshold",
    "Sparsemax",
    "Tanh",
    "value_and_grad",
]
