"""What a run tells of its epochs, and to whom: ``fit(..., callbacks=[CSV("epochs.csv")])``."""

from paralift.training.callbacks import CSV, Callback, TensorBoard

__all__ = ["CSV", "Callback", "TensorBoard"]
