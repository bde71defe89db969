"""Multipliers of penalties: one for each block, in a flat array like an optimiser's state, so that checkpoints keep them.

A block's multiplier fills the places of its parameters; blocks without parameters keep the one they start with.
"""

from __future__ import annotations

from collections.abc import MutableMapping

import numpy as np

from paralift.kernels.arrays import namespace, zeros
from paralift.lifted.exchange import Neighbours
from paralift.lifted.inference.lifted import LiftedWindow
from paralift.lifted.penalties import Fenchel
from paralift.lifted.stage import Stage


class Multipliers:
    """The multipliers of a stage's hidden blocks.

    Parameters
    ----------
    stage : Stage
    penalty : Fenchel
    weights : mapping of int to float
        Where penalties find them, by variable; written by `read` and `ascend`.

    Attributes
    ----------
    flat : flat array
        In the layout of the stage's parameters.
    """

    def __init__(self, stage: Stage, penalty: Fenchel, weights: MutableMapping[int, float]) -> None:
        self.penalty, self.weights = penalty, weights
        self.flat = zeros(stage.flat.shape, stage.flat)
        self.flat[...] = penalty.start
        last = len(stage.network.blocks)
        self.hidden = [b for b in stage.blocks if b.index != last]
        self.spans = {b.index: span for b in self.hidden if (span := stage.layout.span(b.name)) != (0, 0)}
        weights.update({b.index: penalty.start for b in self.hidden})

    def read(self) -> None:
        """Take the multipliers from the flat array, which a checkpoint may have filled."""
        self.weights.update({v: float(self.flat[start]) for v, (start, _) in self.spans.items()})

    def ascend(self, window: LiftedWindow, neighbours: Neighbours, batch: int) -> None:
        """Move the multipliers by how far the means of the penalties are above eps; collective over the shards."""
        if not self.penalty.rate or not self.spans:
            return
        sums = []
        for v in self.spans:
            window.refresh(v)
            values = window.penalty(v)
            sums.append(float(namespace(values).sum(values)))
        means = neighbours.sum_shards(np.array(sums)) / batch
        for (v, (start, stop)), mean in zip(self.spans.items(), means, strict=True):
            moved = self.weights[v] + self.penalty.rate * (float(mean) - self.penalty.eps)
            self.flat[start:stop] = max(moved, self.penalty.low)
        self.read()
