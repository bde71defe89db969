"""Training: the driver loop, its results, metrics and checkpoints."""
