"""A stage's optimiser: its update rule on the stage's flat arrays."""

from __future__ import annotations

from typing import Any

from paralift.kernels.arrays import Array
from paralift.lifted.stage import Stage


class OptimizerStep:
    """The stage's optimiser: its rule, its states and the count of its steps."""

    def __init__(self, stage: Stage, rule: Any, total_steps: int) -> None:
        self.stage = stage
        self.rule = rule
        self.total_steps = total_steps
        self.arrays: dict[str, Array] = rule.init(stage.flat)
        trained = slice(0, stage.layout.trained)
        self.theta, self.gradient = stage.flat[trained], stage.gradient[trained]
        self.states = {name: a[trained] for name, a in self.arrays.items()}
        self.segments = [(s.start, s.stop, s.shape) for s in stage.layout.segments]

    def __call__(
        self,
        step: int,
        scale: float,
        gradient: Array | None = None,
        extrapolated: Array | None = None,
        kappa: float = 0.0,
    ) -> None:
        """Move the parameters by a gradient times `scale`; `step` counts from 0.

        The gradient is the stage's by default. `extrapolated` takes what passes of the unflushed wave read.
        """
        if self.stage.layout.trained:
            gradient = self.gradient if gradient is None else gradient
            operands = (self.theta, gradient, self.states, self.segments)
            self.rule.step(*operands, step + 1, self.total_steps, scale, extrapolated, kappa)
