"""Spectral norms of the maps of a stage, by a few power iterations that start from the last vector found."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from paralift.kernels.arrays import Array, empty, from_host, namespace
from paralift.lifted.network import Block
from paralift.lifted.stage import Stage

FIRST, LATER = 30, 2
"""Power iterations at the first estimate and at the next ones, when the parameters have moved a little."""
MARGIN = 1.1
"""Factor on the squared norm, because power iterations approach it from below."""

NONE: Mapping[int, float] = {}


class Norms:
    """Squared norms of the linear parts of a stage's maps in each of their parents."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.vectors: dict[tuple[int, int], Array] = {}

    def squared(self, block: Block, parent: int) -> float:
        """Return an estimate, safe by `MARGIN`, of |A|_2^2 in parent number `parent`."""
        theta = self.stage.params.get(block.name, {})
        known = block.map.norm(theta, parent)
        if known is not None:
            return known**2
        return MARGIN * self._power(block, theta, parent)

    def lipschitz(self, output_weight: float = 1.0, weights: Mapping[int, float] = NONE, steep: float = 1.0) -> np.ndarray:
        """Return what the stage's blocks add to the Lipschitz constant of the pull on every variable of the network.

        Sum over children c of |A_c|_2^2 Lip(sigma_c), shape (n_variables,), float64; the output block, whose loss is
        weighted, counts `output_weight` times, another block its penalty's weight and `steep`. Stages add theirs.
        """
        last = len(self.stage.network.blocks)
        constants = np.zeros(len(self.stage.network.shapes))
        for block in self.stage.blocks:
            own = output_weight if block.index == last else steep * weights.get(block.index, 1.0)
            weight = float(block.activation.lipschitz) * own
            for p in dict.fromkeys(block.parents):
                if p in self.stage.pulled or p in self.stage.inputs:
                    times = [k for k, q in enumerate(block.parents) if q == p]
                    # |A_1 + A_2|^2 <= 2 (|A_1|^2 + |A_2|^2)
                    constants[p] += len(times) * sum(self.squared(block, k) for k in times) * weight
        return constants

    def _power(self, block: Block, theta: object, parent: int) -> float:
        key = (block.index, parent)
        n = LATER if key in self.vectors else FIRST
        if key not in self.vectors:
            draw = np.random.default_rng(block.index).standard_normal((1, *block.parent_shapes[parent]))
            self.vectors[key] = from_host(draw.astype(str(self.stage.like.dtype).rsplit(".", 1)[-1]), self.stage.like)
        v = self.vectors[key]
        image = empty((1, *block.shape), self.stage.like)
        xp = namespace(v)
        square = 0.0
        for _ in range(n):
            length = float(xp.sqrt(xp.sum(v * v)))
            if length == 0.0:  # a map of zeros: start afresh next time
                del self.vectors[key]
                return 0.0
            v[...] = v / length
            block.map.apply(theta, [v] * len(block.parents), image)  # type: ignore[arg-type]
            square = float(xp.sum(image * image))
            block.map.adjoint(theta, [v] * len(block.parents), image, parent, v)  # type: ignore[arg-type]
        return square
