"""How many bytes a rank needs: what its stage's buffers take, array by array, before any of them is made.

Counted are all arrays that grow with the network or the batch: parameters, gradient, optimiser states, forecast, lifted
variables with their scratch, targets. Not counted: the data set, the interpreter with its libraries, what MPI and BLAS keep.
"""

from __future__ import annotations

import math

import numpy as np

from paralift.lifted.layout import ALIGNMENT
from paralift.lifted.network import Block, Network
from paralift.parallel.crossing import crossing

LABEL_BYTES = 8
"""Of one target, where targets are labels."""
HALVES = 2
"""More arrays of an unflushed wave: the forecast parameters, and the gradient of the first half of a batch."""


def stage_bytes(
    network: Network, start: int, stop: int, rows: int, itemsize: int = 4, states: int = 2, halved: bool = False,
    travels: bool = False,
) -> int:  # fmt: skip
    """Return the bytes of a rank with the blocks `start` to `stop`.

    Parameters
    ----------
    network : Network
    start, stop : int
    rows : int
        Samples of a batch on this rank.
    itemsize, states : int
        Bytes of a number, arrays of optimiser state.
    halved : bool
        Whether batches go through as two halves, in an unflushed wave.
    travels : bool
        Whether their gradients are summed over shards or replicas on the way, so that the first one is kept.
    """
    blocks = network.blocks[start:stop]
    flats = 2 + states + (HALVES if halved else 0) + (1 if travels else 0)
    numbers = flats * sum(map(_flat_numbers, blocks)) + rows * _numbers_a_sample(network, start, blocks)
    targets = rows * network.rows * LABEL_BYTES if stop == len(network.blocks) else 0
    return itemsize * numbers + targets


def additive_bytes(
    network: Network, rows: int, itemsize: int, states: int, halved: bool, travels: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return bytes of each block and of what a stage that begins at each cut receives, shapes (n,) and (n + 1,).

    Their sums are `stage_bytes` but for scratch, which blocks of a stage share, and pulls that a cut tears apart.
    """
    flats, factor = 2 + states + (HALVES if halved else 0) + (1 if travels else 0), rows * itemsize
    blocks = [
        flats * itemsize * _flat_numbers(b) + factor * _own(network, b, network.blocks) for b in network.blocks
    ]
    across = crossing(network)
    return np.array(blocks, float), factor * (across.width_up + across.width_down)


def _numbers_a_sample(network: Network, start: int, blocks: tuple[Block, ...]) -> int:
    """Return the numbers of lifted variables and scratch for one sample on a stage."""
    scratch = {network.shapes[p] for b in blocks for p in b.parents if p and _adds(network, p, b)}
    own = sum(_own(network, b, blocks) for b in blocks)
    return _received(network, start) + own + sum(math.prod(shape) for shape in scratch)


def _received(network: Network, cut: int) -> int:
    """Return the numbers of the inputs' x, and of their pulls unless it is the data's."""
    across = crossing(network)
    return int(across.width_up[cut] + across.width_down[cut])


def _flat_numbers(block: Block) -> int:
    """Return the numbers of a block's parameters and running statistics in a flat array, with padding."""
    shapes = [*block.trained().values(), *block.tracked().values()]
    return sum(-(-math.prod(shape) // ALIGNMENT) * ALIGNMENT for shape in shapes)


def _own(network: Network, block: Block, blocks: tuple[Block, ...]) -> int:
    """Return the numbers of z, x (the same array after an identity) and g (the same as that of a sum behind it)."""
    identity, readers = block.activation.is_identity, network.children[block.index]
    shared = False
    if identity and len(readers) == 1 and blocks[0].index <= readers[0] <= blocks[-1].index:
        reader = network.blocks[readers[0] - 1]
        once = reader.parents.count(block.index) == 1
        shared = once and reader.map.passes_through and reader.activation.is_identity
    return math.prod(block.shape) * (3 - identity - shared)


def _adds(network: Network, parent: int, block: Block) -> bool:
    """Return whether the pull of `block` on `parent` is added to another one's by a product of its own."""
    first = block.index == network.children[parent][-1] and block.parents.count(parent) == 1
    return not first and not block.map.passes_through
