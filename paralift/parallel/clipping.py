"""Clipping gradients by their norm over all stages without a wait: the norm that is applied is late by one step.

    factor_t = min(1, clip / N_(t-1)),      N_t = |scaled gradient of step t|, over all parameters that move

The sum over stages of N_t^2 travels while the next batch is computed (of an unflushed wave: its first half), on any number of
ranks, one included, so that P ranks give the result of one. A gradient that grows at once is not seen by N_(t-1): a parameter
whose own gradient alone is longer than both `clip` and N_(t-1) is therefore shortened to `clip` in the same step. Where norms
change slowly that never happens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from paralift.kernels.arrays import Array, to_host, zeros
from paralift.kernels.squares import square_sum
from paralift.lifted.layout import Segment
from paralift.parallel.grid import Grid, PendingSum


class Clipping:
    """The factor of a stage's gradient from step to step.

    Parameters
    ----------
    grid : Grid
    segments : sequence of Segment
        The parameters that move.
    clip : float
    like : array

    Attributes
    ----------
    norms : array of shape (n,)
        Of each parameter's gradient at the last step: all that the next step needs to know, and what checkpoints keep.
    """

    def __init__(self, grid: Grid, segments: Sequence[Segment], clip: float, like: Array) -> None:
        self.grid, self.segments, self.clip = grid, segments, clip
        self.norms = zeros((len(segments),), like)
        self._pending: PendingSum | None = None
        self._last: float | None = None  # the norm of the last step, once its sum has arrived

    def __call__(self, gradient: Array, scale: float) -> float:
        """Return the factor of a gradient that is to be scaled; a parameter's part that is too long is shortened in place."""
        limit = self._limit()
        for k, s in enumerate(self.segments):
            part = gradient[s.start : s.stop]
            norm = scale * math.sqrt(square_sum(part))
            self.norms[k] = norm
            if norm > limit:
                part *= limit / norm
        self._start()
        return self.clip / limit

    def factor(self) -> float:
        """Return the factor that the next gradient will get."""
        return self.clip / self._limit()

    def too_long(self, gradient: Array, scale: float) -> list[Segment]:
        """Return the parameters whose part of a gradient would be shortened."""
        limit = self._limit()
        return [s for s in self.segments if scale * math.sqrt(square_sum(gradient[s.start : s.stop])) > limit]

    def views(self) -> Mapping[str, Mapping[str, Array]]:
        """Return views of the norms by block and parameter."""
        found: dict[str, dict[str, Array]] = {}
        for k, s in enumerate(self.segments):
            found.setdefault(s.block, {})[s.name] = self.norms[k : k + 1]
        return found

    def finish(self) -> None:
        """Wait for the sum on its way; collective over the stages."""
        if self._pending is not None:
            self._pending.wait()
            self._pending = None

    def _limit(self) -> float:
        """Return the norm of the last step over all stages, but at least `clip`; after a restart from `norms`."""
        if self._last is None:
            if self._pending is None:
                self._start()
            assert self._pending is not None
            self._last = math.sqrt(float(self._pending.wait()[0]))
            self._pending = None
        return max(self._last, self.clip)

    def _start(self) -> None:
        own = to_host(self.norms).astype(np.float64)  # as rounded as a checkpoint keeps them
        self._pending, self._last = self.grid.start_sum_stages(np.array([own @ own])), None
