"""Parameter updates, step-size schedules and regularisers. Knows flat arrays and shapes, but no network."""

from paralift.optim.regularizers import L1, Box, GroupL1, MaxNorm, NonNegative, Regularizer, Ridge
from paralift.optim.rules import SGD, Adam, AdamW, Rule
from paralift.optim.schedules import Constant, Cosine, Exponential, Schedule, Step

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Box",
    "Constant",
    "Cosine",
    "Exponential",
    "GroupL1",
    "L1",
    "MaxNorm",
    "NonNegative",
    "Regularizer",
    "Ridge",
    "Rule",
    "Schedule",
    "Step",
]
