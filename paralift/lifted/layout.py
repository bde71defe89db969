"""Where the parameters of consecutive blocks lie in one flat array.

One array for all parameters of a stage makes an optimiser step one pass over memory, a sum over shards one message, and a
copy of a version one copy. Segments start on 64-byte boundaries; the padding stays zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    """The segments of the parameters of `blocks`, in order; behind them (from `trained` to `size`) running statistics."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.trained = 0
        self.segments = self._lay([(b.name, n, s) for b in blocks for n, s in b.trained().items()])
        self.trained = self._end(self.segments)
        self.tracked = self._lay([(b.name, n, s) for b in blocks for n, s in b.tracked().items()])
        self.size = max(self.trained, self._end(self.tracked))

    def _lay(self, parameters: Sequence[tuple[str, str, tuple[int, ...]]]) -> list[Segment]:
        position, segments = self.trained, []
        for block, name, shape in parameters:
            segments.append(Segment(block, name, position, position + math.prod(shape), shape))
            position = self._end(segments)
        return segments

    def _end(self, segments: Sequence[Segment]) -> int:
        return -(-segments[-1].stop // ALIGNMENT) * ALIGNMENT if segments else 0

    def views(self, flat: Array, tracked: Array | None = None) -> dict[str, dict[str, Array]]:
        """Return the parameters as views of `flat`, a mapping of block names to mappings of arrays.

        Running statistics are views of `tracked` instead, where it is given.
        """
        result: dict[str, dict[str, Array]] = {}
        for segments, source in ((self.segments, flat), (self.tracked, flat if tracked is None else tracked)):
            for s in segments:
                view = namespace(source).reshape(source[s.start : s.stop], s.shape)
                result.setdefault(s.block, {})[s.name] = view
        return result

    def span(self, block: str) -> tuple[int, int]:
        """Return where the segments of one block start and stop (padding between them included)."""
        own = [s for s in self.segments if s.block == block]
        return (own[0].start, own[-1].stop) if own else (0, 0)
