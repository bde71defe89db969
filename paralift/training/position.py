"""Where a run stands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Position:
    """So many epochs are done, and so many batches of the next one, whose losses sum up to `loss_sum`.

    With early stopping, the best epoch so far (0: none yet) and its figure.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    best_epoch: int = 0
    best_value: float = 0.0
