"""Where the parameters of consecutive blocks lie in one flat array.

One array for all parameters of a stage makes an optimiser step one pass over memory, a sum over shards one message, and a
copy of a version one copy. Segments start on 64-byte boundaries; the padding stays zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paralift.kernels.arrays import Array, namespace
from paralift.lifted.network import Block

ALIGNMENT = 16
"""Numbers; 64 bytes of float32."""


@dataclass(frozen=True)
class Segment:
    """One parameter's place in the flat array."""

    block: str
    name: str
    start: int
    stop: int
    shape: tuple[int, ...]


class Layout:
    """The segments of the parameters of `blocks`, in order, and the flat array's `size`."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.segments: list[Segment] = []
        position = 0
        for block in blocks:
            for name, shape in block.map.parameters().items():
                stop = position + int(np.prod(shape))
                self.segments.append(Segment(block.name, name, position, stop, shape))
                position = -(-stop // ALIGNMENT) * ALIGNMENT
        self.size = position
        self.n_parameters = sum(s.stop - s.start for s in self.segments)

    def views(self, flat: Array) -> dict[str, dict[str, Array]]:
        """Return the parameters as views of `flat`, a mapping of block names to mappings of arrays."""
        result: dict[str, dict[str, Array]] = {}
        for s in self.segments:
            view = namespace(flat).reshape(flat[s.start : s.stop], s.shape)
            result.setdefault(s.block, {})[s.name] = view
        return result

    def span(self, block: str) -> tuple[int, int]:
        """Return where the segments of one block start and stop (padding between them included)."""
        own = [s for s in self.segments if s.block == block]
        return (own[0].start, own[-1].stop) if own else (0, 0)
