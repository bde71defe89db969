"""A stage's optimiser: its update rule on the stage's flat arrays, and what goes with an update."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from paralift.kernels import update
from paralift.kernels.arrays import Array, zeros
from paralift.lifted.layout import Segment
from paralift.lifted.stage import Stage
from paralift.parallel.clipping import Clipping
from paralift.parallel.grid import Grid

Names = frozenset[tuple[str, str]]
"""Pairs of block and parameter."""


@dataclass(frozen=True)
class Options:
    """What goes with the updates of a run.

    Parameters
    ----------
    clip : float, optional
        Largest norm of the gradient over all parameters (`clipping`).
    frozen : frozenset of (block, parameter)
        What does not move.
    ema : float, optional
        Decay of an average of the parameters.
    """

    clip: float | None = None
    frozen: Names = frozenset()
    ema: float | None = None


class OptimizerStep:
    """The stage's optimiser: its rule, its states and the count of its steps.

    Attributes
    ----------
    arrays : dict of flat arrays
        The rule's states.
    average : flat array or None
        The average of the parameters. Step t moves it by a share 1 - min(ema, (t + 1)/(t + 10)) towards them, so that
        it forgets the initial parameters at once.
    """

    def __init__(
        self, stage: Stage, rule: Any, total_steps: int, options: Options = Options(), grid: Grid | None = None
    ) -> None:
        self.stage = stage
        self.rule = rule
        self.total_steps = total_steps
        self.options = options
        self.arrays: dict[str, Array] = rule.init(stage.flat)
        trained = slice(0, stage.layout.trained)
        self.theta, self.gradient = stage.flat[trained], stage.gradient[trained]
        moving = [s for s in stage.layout.segments if (s.block, s.name) not in options.frozen]
        self.ranges = list(_ranges(stage.layout.segments, moving, stage.layout.trained))
        self.parts = [Part(self, start, stop) for start, stop in self.ranges]
        grid = Grid(None, 1, 1) if grid is None else grid
        self.clipping = None if options.clip is None else Clipping(grid, moving, options.clip, stage.like)
        self.average = None if options.ema is None else zeros(stage.flat.shape, stage.flat)

    def begin(self) -> None:
        """Start the average at the parameters, which have just been set."""
        if self.average is not None:
            self.average[...] = self.stage.flat

    def __call__(self, step: int, scale: float, gradient: Array | None = None) -> None:
        """Move the parameters by a gradient times `scale`, the stage's by default; `step` counts from 0."""
        gradient = self.gradient if gradient is None else gradient
        if self.clipping is not None:
            scale *= self.clipping(gradient, scale)
        for part in self.parts:
            part.move(step, scale, gradient)
        self.follow(step)

    def forecast(self, step: int, scale: float, gradient: Array, out: Array) -> None:
        """Write into `out` where a gradient would move the parameters, which stay; frozen entries of `out` are left alone.

        Where clipping would shorten a parameter's gradient it is no guide: the forecast is then the parameter as it is.
        """
        factor = 1.0 if self.clipping is None else self.clipping.factor()
        for part in self.parts:
            part.move(step, scale * factor, gradient, out)
        if self.clipping is not None:
            for s in self.clipping.too_long(gradient, scale):
                out[s.start : s.stop] = self.theta[s.start : s.stop]

    def follow(self, step: int) -> None:
        """Let the average follow the parameters after a step."""
        if self.average is not None and self.options.ema is not None and self.stage.layout.trained:
            decay = min(self.options.ema, (step + 1.0) / (step + 10.0))
            update.average(self.average[: self.stage.layout.trained], self.theta, decay)

    def evaluated(self) -> Array:
        """Return the flat array of what is evaluated and returned: the average where there is one."""
        if self.average is None:
            return self.stage.flat
        tracked = slice(self.stage.layout.trained, None)
        self.average[tracked] = self.stage.flat[tracked]
        return self.average


class Part:
    """A range of a stage's flat arrays that moves as a whole; without frozen parameters all of it."""

    def __init__(self, optimizer: OptimizerStep, start: int, stop: int) -> None:
        self.optimizer, self.range = optimizer, slice(start, stop)
        self.theta = optimizer.theta[self.range]
        segments = optimizer.stage.layout.segments
        self.segments = [(s.start - start, s.stop - start, s.shape) for s in segments if start <= s.start < stop]
        self.states = {name: a[self.range] for name, a in optimizer.arrays.items()}
        self.whole = (start, stop) == (0, optimizer.stage.layout.trained)

    def move(self, step: int, scale: float, gradient: Array, forecast: Array | None = None) -> None:
        """See `OptimizerStep`."""
        if not self.whole:
            gradient = gradient[self.range]
            forecast = None if forecast is None else forecast[self.range]
        operands = (self.theta, gradient, self.states, self.segments)
        self.optimizer.rule.step(*operands, step + 1, self.optimizer.total_steps, scale, forecast)


def _ranges(segments: Sequence[Segment], moving: Sequence[Segment], size: int) -> Iterator[tuple[int, int]]:
    """Yield the longest ranges of the flat array whose segments all move; a segment takes the padding behind it."""
    ends = [*(s.start for s in segments[1:]), size]
    start: int | None = None
    for segment, end in zip(segments, ends, strict=False):
        if segment in moving:
            start = segment.start if start is None else start
            if end == size:
                yield start, size
        elif start is not None:
            yield start, segment.start
            start = None
