"""The sweep: one forward pass and one pass back, which differentiates nothing (docs/method.md, section 4).

    g_L = beta (sigma_L(z_L) - y),   r_l = sigma_l(z_l + g_l/2) - sigma_l(z_l - g_l/2),   g_parent += adjoint_l(r_l)

With sigma = grad phi the Jacobian of sigma is symmetric, so r = J g + O(beta^2): for beta -> 0 the sweep is backpropagation.
Parameters' gradients are taken with the x of the forward pass and the r of the pass back, divided by beta.

References
----------
Hoier & Zach, Dual Propagation, arXiv 2302.01228 and 2402.08573; Wang & Benning, JMLR 24(232), 2023.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from paralift.kernels.arrays import Array, Work, empty, namespace
from paralift.kernels.difference import sum_columns
from paralift.lifted.losses import Loss
from paralift.lifted.stage import Step, Window

NONE: Mapping[int, Any] = {}
FORWARD = "forward"


@dataclass(frozen=True)
class Sweep:
    """Inference by one sweep."""

    divisible: ClassVar[bool] = True
    """Whether stages on several ranks may divide the network."""
    carries: ClassVar[bool] = False
    """Whether gradients are taken at the mean of the displaced states instead of the forward state."""


@dataclass(frozen=True)
class Backpropagation(Sweep):
    """No lifted variables: the pass back multiplies by sigma' (reference only)."""


@dataclass(frozen=True)
class DyadicSweep(Sweep):
    """One sweep of dual propagation: the gradient of each block is taken at the mean of its parents' two states.

    The mean is known after the pass back, and a stage above would have to be sent it: stages do not divide the network.

    References
    ----------
    Hoier, Staudt & Zach, Dual Propagation, arXiv 2302.01228, 2023.
    """

    divisible: ClassVar[bool] = False
    carries: ClassVar[bool] = True


@dataclass(frozen=True)
class Displacement:
    """How a block turns its pull into a residual: sigma(z + s up g) - sigma(z - s down g), over s.

    `relative` chooses s for each row (see `Activation.difference`); `derivative` takes sigma'(z) g instead. `mean` also
    overwrites x by mean sigma(z - down g) + (1 - mean) sigma(z + up g), at which gradients are then taken.
    """

    up: float = 0.5
    down: float = 0.5
    relative: float = 0.0
    derivative: bool = False
    mean: float | None = None

    def bound(self, step: Step, accumulate: bool) -> Work:
        """Return the work that overwrites the pull of `step` by its residual, with the gradient of its offset."""
        act, z, g, total = step.activation, step.z2, step.g2, step.offset_gradient
        if self.derivative:
            return partial(act.pull_back, z, g, total, accumulate)
        difference = act.bound_difference(z, g, self.up, self.down, self.relative, total, accumulate)
        if self.mean is None:
            return difference
        return self._with_mean(step, difference)

    def _with_mean(self, step: Step, difference: Work) -> Work:
        """Return `difference` as work that also moves x to the mean of the two states."""
        act, z, x, g, up, mean = step.activation, step.z2, step.x2, step.g2, self.up, self.mean
        upper = empty(z.shape, z)

        def work() -> None:
            _displace(upper, z, g, up)
            act.activate(upper, None, upper)  # sigma(z + up g)
            difference()  # g is now sigma(z + up g) - sigma(z - down g)
            x[...] = upper - mean * g

        return work


def forward(window: Window) -> None:
    """Compute z and x of every block of the window's stage from the stage's inputs."""
    if FORWARD not in window.work:
        window.work[FORWARD] = [w for step in window.steps for w in (*step.forward, step.then) if w is not None]
    for work in window.work[FORWARD]:
        work()


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
    key = (displacement, beta, *regularizers)
    if key not in window.work:
        window.work[key] = list(_backward(window, displacement, regularizers, beta))
    for work in window.work[key]:
        work()


def _backward(window: Window, displacement: Displacement, regularizers: Mapping[int, Any], beta: float) -> Iterator[Work]:
    """Yield the work of the pass back."""
    for step in reversed(window.steps):
        v = step.block.index
        if v != window.last and step.moved:
            if v in regularizers:
                yield partial(_regularize, step, regularizers[v], beta)
            yield displacement.bound(step, not window.first)
        yield from step.pulls
        if step.then is not None:
            yield step.then


def _displace(out: Array, z: Array, g: Array, share: float) -> None:
    """Write z + share g into `out`."""
    out[...] = g
    out *= share
    out += z


def _regularize(step: Step, regularizer: Any, beta: float) -> None:
    step.g2 += beta * (step.x2 - regularizer.prox(step.x2, 1.0))


def gradients(window: Window) -> None:
    """Write the gradient of every parameter, summed over the rows of the window (a whole batch)."""
    for step in window.steps:
        step.gradient()


def rows_of(y: Array, x: Array) -> Array:
    """Return targets as rows that match the rows of the output: labels (rows,), others (rows, numbers of a target)."""
    labels = not str(y.dtype).rsplit(".", 1)[-1].startswith("float")
    return namespace(y).reshape(y, (-1,) if labels else (x.shape[0], y.shape[-1]))
