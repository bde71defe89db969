"""Losses; see `paralift.lifted.losses`."""

from paralift.lifted.losses import (
    Absolute,
    BinaryCrossEntropy,
    BregmanLoss,
    CrossEntropy,
    Huber,
    Loss,
    Squared,
)

__all__ = ["Absolute", "BinaryCrossEntropy", "BregmanLoss", "CrossEntropy", "Huber", "Loss", "Squared"]
