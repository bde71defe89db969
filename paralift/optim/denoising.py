"""Total variation denoising, whose prox has no closed form: its dual is a composite problem, which FISTA solves to a given gap.

primal:  1/2 |x - v|^2 + w sum_pixels |(Dx)_pixel|,      D the differences of a pixel to the next ones along each axis
dual:    1/2 |D^T p - v|^2 over fields p of vectors of length <= w in each pixel,      x = v - D^T p,
         gap = w sum |(Dx)_pixel| - <p, Dx>  >=  0,      |D|^2 <= 4 axes

The primal at x is off its minimum by at most the gap.

References
----------
Rudin, Osher & Fatemi, Physica D 60, 1992; Chambolle, J. Math. Imaging Vision 20, 2004 (dual); Beck & Teboulle, IEEE Trans.
Image Process. 18, 2009 (FISTA on the dual).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count

from paralift.kernels import arrays
from paralift.kernels.arrays import Array
from paralift.optim.algorithms.proximal import FISTA
from paralift.optim.algorithms.run import Run, Stop, inner
from paralift.optim.checks import set_number
from paralift.optim.problems.composite import CompositeProblem
from paralift.optim.regularizers import GroupL1, MaxNorm, Regularizer
from paralift.optim.team import Alone

MOST = 100_000
"""Updates of a dual loop."""
EXACT = 1e-8
"""Gap by |v|^2 of a prox that was asked for without an accuracy."""
LOOKS = 10
"""Updates between two gaps, each as dear as an update."""


def differences(x: Array) -> Array:
    """Return D x, shape (axes, pixels): to the next pixel along each axis, 0 at the last."""
    out = arrays.zeros((x.ndim, *x.shape), x)
    for axis in range(x.ndim):
        low, high = _shifted(x.ndim, axis)
        out[axis][low] = x[high] - x[low]
    return out.reshape(x.ndim, -1)


def adjoint(p: Array, shape: tuple[int, ...]) -> Array:
    """Return D^T p of that shape, for `p` of shape (axes, pixels)."""
    field, out = p.reshape(len(shape), *shape), arrays.zeros(shape, p)
    for axis in range(len(shape)):
        low, high = _shifted(len(shape), axis)
        out[high] += field[axis][low]
        out[low] -= field[axis][low]
    return out


def _shifted(axes: int, axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    whole = [slice(None)] * axes
    low, high = list(whole), list(whole)
    low[axis], high[axis] = slice(None, -1), slice(1, None)
    return tuple(low), tuple(high)


@dataclass(frozen=True)
class Variation(Regularizer):
    """R(x) = weight sum_pixels |(Dx)_pixel|, the same in all directions; `TotalVariation` has its prox.

    Parameters
    ----------
    weight : float
        At least 0.
    """

    weight: float

    def __post_init__(self) -> None:
        super().__post_init__()
        set_number(self, "weight")

    def value(self, x: Array) -> float:
        """Return R(x)."""
        return GroupL1(self.weight, axis=0).value(differences(x)) if x.size else 0.0


class TotalVariation(CompositeProblem):
    """f(x) = 1/2 |x - image|^2 and r(x) = weight TV(x); each rank may have a picture of its own of the same scene.

    Parameters
    ----------
    image : array of shape (n,), (rows, columns) or more
    weight : float
    """

    def __init__(self, image: Array, weight: float) -> None:
        if image.ndim < 1 or image.size < 1:
            raise ValueError(
                f"TotalVariation: an image of shape {image.shape} was given, expected at least one axis and one pixel"
            )
        super().__init__(arrays.zeros(image.shape, image), regularizer=Variation(weight))
        self.image, self.weight = image, float(weight)
        self._dual: Array | None = None

    def value(self, x: Array) -> float:
        """Return f(x)."""
        ahead = x - self.image
        return 0.5 * inner(ahead, ahead)

    def gradient(self, x: Array, out: Array, rows: Array | slice | None = None) -> None:
        """Write x - image; an image is one sample."""
        out[...] = x
        out -= self.image

    def lipschitz(self) -> float:
        """Return 1."""
        return 1.0

    def sample_lipschitz(self) -> float:
        """Return 1."""
        return 1.0

    def strong_convexity(self) -> float:
        """Return 1."""
        return 1.0

    def prox(self, x: Array, step: float) -> None:
        """Overwrite `x` by prox_{step r}(x), to a gap of 1e-8 |x|^2."""
        self.prox_within(x, step, EXACT * inner(x, x) / step)

    def prox_within(self, x: Array, step: float, accuracy: float) -> None:
        """Do the same to an accuracy of r(p) + |p - x|^2 / (2 step); the dual loop starts where the last one ended.

        Raises
        ------
        RuntimeError
            If 100,000 updates do not reach the accuracy: it is finer than rounding.
        """
        dual = Dual(x.copy(), step * self.weight)
        start = dual.start if self._dual is None else self._dual
        dual.prox(start, 1.0)
        goal, turns = step * accuracy, count(1)
        near = Stop(max_updates=MOST, until=lambda p: next(turns) % LOOKS == 0 and dual.gap(p) <= goal)
        run = Run(dual, Alone(), start, near)
        if dual.gap(start) > goal:
            FISTA().run(run)
            if run.reason != "until":
                raise RuntimeError(f"total variation: a gap of {goal:g} was asked for, {dual.gap(run.x):g} was reached")
        self._dual = run.x
        x[...] = dual.image(run.x)


class Dual(CompositeProblem):
    """f(p) = 1/2 |D^T p - v|^2 over fields p of vectors no longer than `weight`, shape (axes, pixels).

    Parameters
    ----------
    v : Array
    weight : float
    """

    def __init__(self, v: Array, weight: float) -> None:
        super().__init__(arrays.zeros((v.ndim, math.prod(v.shape)), v), regularizer=MaxNorm(weight, axis=0))
        self.v, self.weight = v, weight

    def image(self, p: Array) -> Array:
        """Return x = v - D^T p."""
        return self.v - adjoint(p, self.v.shape)

    def gap(self, p: Array) -> float:
        """Return the difference of the primal at x(p) to the dual at p, at least 0 but for rounding."""
        slopes = differences(self.image(p))
        return GroupL1(self.weight, axis=0).value(slopes) - inner(p, slopes)

    def value(self, p: Array) -> float:
        """Return f(p)."""
        x = self.image(p)
        return 0.5 * inner(x, x)

    def gradient(self, p: Array, out: Array, rows: Array | slice | None = None) -> None:
        """Write -D x(p)."""
        out[...] = differences(self.image(p))
        out *= -1.0

    def lipschitz(self) -> float:
        """Return 4 axes, a bound on |D|^2."""
        return 4.0 * self.v.ndim
