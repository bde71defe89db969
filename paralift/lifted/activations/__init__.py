"""Every activation: a proximal map with its potential and its penalty."""

from paralift.lifted.activations.base import Activation, NotMonotoneError
from paralift.lifted.activations.batchnorm import BatchNorm, BatchNormalise
from paralift.lifted.activations.causal import CausalSoftmax
from paralift.lifted.activations.custom import Custom, activation
from paralift.lifted.activations.elementwise import Elementwise
from paralift.lifted.activations.groupnorm import GroupNorm
from paralift.lifted.activations.heads import Heads
from paralift.lifted.activations.largest import LargestPositive, ReLUMaxPool
from paralift.lifted.activations.nonmonotone import GELU, SiLU
from paralift.lifted.activations.norms import LayerNorm, Normalise, RMSNorm
from paralift.lifted.activations.piecewise import Hardtanh, Identity, LeakyReLU, ReLU, SoftThreshold
from paralift.lifted.activations.projections import Ball, GroupSoftThreshold, Sparsemax
from paralift.lifted.activations.quantizer import Quantizer, Sign
from paralift.lifted.activations.smooth import ELU, ISRU, Arctan, Sigmoid, Softplus, Softsign, Tanh
from paralift.lifted.activations.softmax import Softmax

__all__ = [
    "Activation",
    "Arctan",
    "Ball",
    "BatchNorm",
    "BatchNormalise",
    "CausalSoftmax",
    "Custom",
    "ELU",
    "Elementwise",
    "GELU",
    "GroupNorm",
    "GroupSoftThreshold",
    "Hardtanh",
    "Heads",
    "ISRU",
    "Identity",
    "LargestPositive",
    "LayerNorm",
    "LeakyReLU",
    "Normalise",
    "NotMonotoneError",
    "Quantizer",
    "RMSNorm",
    "ReLU",
    "ReLUMaxPool",
    "SiLU",
    "Sigmoid",
    "Sign",
    "SoftThreshold",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sparsemax",
    "Tanh",
    "activation",
]
