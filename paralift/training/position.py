"""Where a run stands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Position:
    """So many epochs are done, and so many batches of the next one, whose losses sum up to `loss_sum`."""

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
