"""Steps on the parameters that minimise E itself: one proximal gradient step for each block, of length 1/L of that block.

E is the mean over the samples of a batch plus the regularisers. With curvature c of the map and sigma non-expansive,
dE/dtheta of a block is Lipschitz with L = Lip(sigma) c / batch (docs/method.md, section 5).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from paralift.kernels.arrays import Array
from paralift.lifted.exchange import Neighbours
from paralift.lifted.inference.lifted import LiftedWindow
from paralift.lifted.network import Block, Network

FLOOR = 1e-8
"""Smallest Lipschitz constant: inputs may vanish, and a step must not be infinite."""


Constants = dict[tuple[str, str], float]
"""By block and parameter."""


def curvatures(window: LiftedWindow, neighbours: Neighbours, batch: int) -> Constants:
    """Return for each parameter of the stage the Lipschitz constant of its gradient, summed over shards and replicas."""
    blocks = [b for b in window.stage.blocks if b.name in window.stage.params]
    own = [b.map.curvature([window.x[p] for p in b.parents]) for b in blocks]
    ends = np.cumsum([0, *(len(c) for c in own)])
    total = neighbours.sum_shards(np.concatenate([np.zeros(0), *own]))
    found = {
        (b.name, name): max(stiffness(window, b) * float(total[i:j].max()) / batch, FLOOR)
        for b, i, j in zip(blocks, ends, ends[1:], strict=False)
        for name in b.trained()
    }
    return _of_replicas(found, window.stage.network, neighbours)


def stiffness(window: LiftedWindow, block: Block) -> float:
    """Return the Lipschitz constant of the residual of `block` in its z."""
    steep = float(block.activation.lipschitz)
    loss = window.roles.loss if block.index == window.last else None
    if loss is None:
        return steep * window.roles.measure.lipschitz * window.roles.weights.get(block.index, 1.0)
    return steep * loss.stiffness(window.roles.beta)


def _of_replicas(found: Constants, network: Network, neighbours: Neighbours) -> Constants:
    """Return the constants with those of tied parameters added up: E is a sum of functions of what they share."""
    if not network.ties:
        return found
    places = [[(block, tie.name) for block in tie.blocks if (block, tie.name) in found] for tie in network.ties]
    sums = neighbours.sum_stages(np.array([sum(found[place] for place in group) for group in places]))
    return found | {place: float(total) for group, total in zip(places, sums, strict=True) for place in group}


def block_steps(
    window: LiftedWindow,
    constants: Constants,
    batch: int,
    regularizer: Any = None,
    anchor: Array | None = None,
    tau: float = np.inf,
    frozen: Collection[tuple[str, str]] = (),
) -> None:
    """Move the parameters of every block by one proximal gradient step on E + |theta - anchor|^2 / (2 tau).

    Parameters
    ----------
    window : LiftedWindow
        Its stage's gradient holds dE/dtheta summed over the samples of all shards.
    constants : Constants
        From `curvatures`.
    batch : int
        Samples of the batch over all shards.
    regularizer : Regularizer, optional
        On the parameters; applied by its prox with the step of the block.
    anchor : flat array, optional
        The parameters before an implicit step.
    tau : float
        Step of the implicit update.
    frozen : collection of (block, parameter)
        What does not move.
    """
    stage = window.stage
    for segment in stage.layout.segments:
        if (segment.block, segment.name) in frozen:
            continue
        step = 1.0 / (constants[segment.block, segment.name] + 1.0 / tau)
        part = slice(segment.start, segment.stop)
        pull = stage.gradient[part] / batch
        if anchor is not None:
            pull = pull + (stage.flat[part] - anchor[part]) / tau
        stage.flat[part] = stage.flat[part] - step * pull
        if regularizer is not None and (regularizer.on == "all" or len(segment.shape) > 1):
            regularizer.apply(stage.params[segment.block][segment.name], step)
