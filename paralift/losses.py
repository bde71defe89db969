"""Losses; see `paralift.lifted.losses`."""

from paralift.lifted.losses import (
    Absolute,
    BinaryCrossEntropy,
    BregmanLoss,
    CrossEntropy,
    Huber,
    Loss,
    Several,
    Squared,
)

__all__ = ["Absolute", "BinaryCrossEntropy", "BregmanLoss", "CrossEntropy", "Huber", "Loss", "Several", "Squared"]
