"""The sweep: one forward pass and one pass back, which differentiates nothing (docs/method.md, section 4).

    g_L = beta (sigma_L(z_L) - y),   r_l = sigma_l(z_l + g_l/2) - sigma_l(z_l - g_l/2),   g_parent += adjoint_l(r_l)

With sigma = grad phi the Jacobian of sigma is symmetric, so r = J g + O(beta^2): for beta -> 0 the sweep is backpropagation.
Parameters' gradients are taken with the x of the forward pass and the r of the pass back, divided by beta.

References
----------
Hoier & Zach, Dual Propagation, arXiv 2302.01228 and 2402.08573; Wang & Benning, JMLR 24(232), 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paralift.kernels.arrays import Array, namespace
from paralift.kernels.difference import sum_columns
from paralift.lifted.losses import Loss
from paralift.lifted.stage import Step, Window

NONE: Mapping[int, Any] = {}


@dataclass(frozen=True)
class Sweep:
    """Inference by one sweep."""


@dataclass(frozen=True)
class Backpropagation:
    """No lifted variables: the pass back multiplies by sigma' (reference only)."""


@dataclass(frozen=True)
class Displacement:
    """How a block turns its pull into a residual: sigma(z + s up g) - sigma(z - s down g), over s.

    `relative` chooses s for each row (see `Activation.difference`); `derivative` takes sigma'(z) g instead.
    """

    up: float = 0.5
    down: float = 0.5
    relative: float = 0.0
    derivative: bool = False

    def __call__(self, step: Step, accumulate: bool) -> None:
        """Overwrite the pull of `step` by its residual, with the gradient of its offset."""
        if self.derivative:
            step.activation.pull_back(step.z2, step.g2, step.offset_gradient, accumulate)
        else:
            step.activation.difference(
                step.z2, step.g2, self.up, self.down, self.relative, step.offset_gradient, accumulate
            )


def forward(window: Window) -> None:
    """Compute z and x of every block of the window's stage from the stage's inputs."""
    for step in window.steps:
        step.forward()


def clamp(window: Window, loss: Loss, beta: float) -> Array:
    """Write the residual of the output block, beta times the loss' pull; return the summed loss of the rows."""
    step = window.steps[-1]
    value = loss.gradient(step.activation, step.z2, step.x2, rows_of(window.y, step.x2), beta, step.g2)
    sum_columns(step.g2, step.offset_gradient, accumulate=not window.first)
    return value


def backward(
    window: Window, displacement: Displacement, regularizers: Mapping[int, Any] = NONE, beta: float = 1.0
) -> None:
    """Turn pulls into residuals, last block first, and hand them down to the stage's inputs.

    `regularizers` on lifted variables are one more pull on their blocks: x - prox_R(x), weighted like the loss by `beta`.
    """
    accumulate = not window.first
    for step in reversed(window.steps):
        v = step.block.index
        if v != window.last:
            if v in regularizers:
                step.g2 += beta * (step.x2 - regularizers[v].prox(step.x2, 1.0))
            displacement(step, accumulate)
        for pull in step.pulls:
            pull()


def gradients(window: Window) -> None:
    """Write the gradient of every parameter, summed over the rows of the window (a whole batch)."""
    for step in window.steps:
        if step.gradients:
            step.gradient()


def rows_of(y: Array, x: Array) -> Array:
    """Return targets as rows that match the rows of the output: labels (rows,), others (rows, width)."""
    labels = not str(y.dtype).rsplit(".", 1)[-1].startswith("float")
    return namespace(y).reshape(y, (-1,) if labels else tuple(x.shape))
