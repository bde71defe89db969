"""Regularisers R of parameters and of lifted states: value, proximal map, and their fused kernel.

Every proximal map is that of ``step * R``. Separable regularisers also name their fused kernel (`fused`), so
that a parameter update applies them in its one pass over memory.

Sources: Parikh & Boyd, Proximal Algorithms, 2014, section 6, for all maps; Yuan & Lin, JRSS B 68, 2006, for
groups.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field

from paralift.kernels import arrays, update
from paralift.kernels.arrays import Array, family, namespace
from paralift.kernels.ball import group_project
from paralift.kernels.prox import Prox, box, group_soft, l1, prox_formula, ridge
from paralift.optim.checks import set_number

TARGETS = ("weights", "all")


@dataclass(frozen=True)
class Regularizer:
    """Base of all regularisers. A separable one gives `terms` and `fused`; another overrides what uses them.

    Attributes
    ----------
    on : str
        ``"weights"``: arrays of two or more dimensions, so offsets and gains are left alone, or ``"all"``.
    """

    on: str = field(default="weights", kw_only=True)

    def __post_init__(self) -> None:
        if self.on not in TARGETS:
            name = type(self).__name__
            raise ValueError(f"{name}: on = {self.on!r} was given, expected one of {', '.join(map(repr, TARGETS))}")

    def acts_on(self, shape: tuple[int, ...]) -> bool:
        """Return whether an array of `shape` is regularised."""
        return self.on == "all" or len(shape) >= 2

    def terms(self, x: Array) -> Array:
        """Return the summands of R(x), shape of `x`."""
        raise NotImplementedError(f"{type(self).__name__} is not a sum over entries")

    def fused(self, step: float) -> Prox | None:
        """Return what fused kernels need of the proximal map with `step`, or None if it is not separable."""
        return None

    def value(self, x: Array) -> float:
        """Return R(x), 0.0 for an array that is not regularised; an array on a device is waited for."""
        return float(namespace(x).sum(self.terms(x))) if self.acts_on(x.shape) else 0.0

    def value_rows(self, x: Array) -> Array:
        """Return R of each row of `x` (rows, width), shape (rows,)."""
        return namespace(x).sum(self.terms(x), axis=1)

    def prox(self, x: Array, step: float) -> Array:
        """Return prox_{step R}(x), a new array; a copy of `x` if it is not regularised."""
        out = arrays.empty(x.shape, x)
        out[...] = x
        self.apply(out, step)
        return out

    def apply(self, x: Array, step: float) -> None:
        """Overwrite `x` by prox_{step R}(x), unless not regularised; no allocation if it is contiguous."""
        if not self.acts_on(x.shape):
            return
        prox = self.fused(step)
        if prox is None:
            raise NotImplementedError(f"{type(self).__name__} has no proximal map")
        if _in_place(x):
            update.proximal(x.reshape(-1), prox)
        else:
            x[...] = prox_formula(x, prox)


@dataclass(frozen=True)
class L1(Regularizer):
    """R(x) = weight |x|_1: sparse entries.

    Parameters
    ----------
    weight : float
        At least 0.
    """

    weight: float

    def __post_init__(self) -> None:
        super().__post_init__()
        set_number(self, "weight")

    def terms(self, x: Array) -> Array:
        """Return weight |x|."""
        return self.weight * namespace(x).abs(x)

    def fused(self, step: float) -> Prox:
        """Return soft thresholding by step * weight."""
        return l1(step * self.weight)


@dataclass(frozen=True)
class Ridge(Regularizer):
    """R(x) = weight/2 |x|^2: small entries.

    Parameters
    ----------
    weight : float
        At least 0.
    """

    weight: float

    def __post_init__(self) -> None:
        super().__post_init__()
        set_number(self, "weight")

    def terms(self, x: Array) -> Array:
        """Return weight/2 x^2."""
        return (0.5 * self.weight) * (x * x)

    def fused(self, step: float) -> Prox:
        """Return division by 1 + step * weight."""
        return ridge(step * self.weight)


@dataclass(frozen=True)
class Box(Regularizer):
    """R(x) = 0 where low <= x <= high for all entries, else +inf.

    Parameters
    ----------
    low, high : float, optional
        The bounds; None, or an infinite number, means no bound on that side.
    """

    low: float | None
    high: float | None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, infinite in (("low", -math.inf), ("high", math.inf)):
            if getattr(self, name) == infinite:
                object.__setattr__(self, name, None)  # the repr of an infinite float is no Python
            elif getattr(self, name) is not None:
                set_number(self, name, low=-sys.float_info.max)
        low, high = self.bounds
        if not low <= high:
            raise ValueError(f"Box: low = {self.low} and high = {self.high} were given, expected low <= high")

    @property
    def bounds(self) -> tuple[float, float]:
        """The two bounds, infinite where there is none."""
        return (-math.inf if self.low is None else self.low, math.inf if self.high is None else self.high)

    def terms(self, x: Array) -> Array:
        """Return 0 inside and +inf outside; a NaN is outside."""
        low, high = self.bounds
        xp = namespace(x)
        inside = (x >= low) & (x <= high)
        return xp.where(inside, xp.zeros_like(x), xp.full_like(x, math.inf))

    def fused(self, step: float) -> Prox:
        """Return the projection onto the box, whatever the step."""
        return box(*self.bounds)


@dataclass(frozen=True)
class NonNegative(Regularizer):
    """R(x) = 0 where x >= 0 for all entries, else +inf."""

    def terms(self, x: Array) -> Array:
        """Return 0 inside and +inf outside; a NaN is outside."""
        return Box(0.0, None).terms(x)

    def fused(self, step: float) -> Prox:
        """Return the projection onto x >= 0, whatever the step."""
        return box(0.0, math.inf)


class Grouped(Regularizer):
    """Base of regularisers of whole groups: rows (``axis=1``) or columns (``axis=0``) of a matrix.

    With ``axis=1`` every index of the first dimension is a group: a row of a weight (in, out), all that
    leaves one input unit, or a sample of a lifted state. With ``axis=0`` every index of the last dimension is
    one: a column, all that enters one unit. In a vector every entry is a group of its own.
    """

    axis: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.axis not in (0, 1):
            name = type(self).__name__
            raise ValueError(f"{name}: axis = {self.axis!r} was given, expected 1 (rows are groups) or 0 (columns are)")

    def of_norms(self, norms: Array, entries: int) -> Array:
        """Return R of each group by its norm and the number of its entries."""
        raise NotImplementedError

    def move(self, matrix: Array, step: float) -> None:
        """Overwrite a matrix, whose groups lie along `axis`, by prox_{step R}."""
        raise NotImplementedError

    def value(self, x: Array) -> float:
        """Return R(x), 0.0 for an array that is not regularised; an array on a device is waited for."""
        return float(namespace(x).sum(self._of_groups(x))) if self.acts_on(x.shape) else 0.0

    def value_rows(self, x: Array) -> Array:
        """Return R of each row of `x` (rows, width), shape (rows,); TypeError with ``axis=0``."""
        if self.axis == 0:
            name = type(self).__name__
            raise TypeError(f"{name}(axis=0) couples the rows and has no value for each of them; take axis=1")
        return self._of_groups(x)

    def apply(self, x: Array, step: float) -> None:
        """Overwrite `x` by prox_{step R}(x), unless it is not regularised."""
        if not self.acts_on(x.shape):
            return
        if _in_place(x):
            self.move(self._matrix(x), step)
        else:
            matrix = arrays.empty(self._matrix_shape(x), x)
            matrix[...] = self._matrix(x)
            self.move(matrix, step)
            x[...] = namespace(x).reshape(matrix, x.shape)

    def _of_groups(self, x: Array) -> Array:
        xp = namespace(x)
        matrix = self._matrix(x)
        return self.of_norms(xp.sqrt(xp.sum(matrix * matrix, axis=self.axis)), matrix.shape[self.axis])

    def _matrix(self, x: Array) -> Array:
        return namespace(x).reshape(x, self._matrix_shape(x))

    def _matrix_shape(self, x: Array) -> tuple[int, int]:
        size = math.prod(x.shape)
        kept = (x.shape[0] if self.axis == 1 else x.shape[-1]) if x.shape else 1
        rest = size // kept if kept else 0
        return (kept, rest) if self.axis == 1 else (rest, kept)


@dataclass(frozen=True)
class GroupL1(Grouped):
    """R(x) = weight sum_G |x_G|_2: whole groups become zero.

    Parameters
    ----------
    weight : float
        At least 0.
    axis : int
        1 or 0, the axis of a matrix along which a group lies (see `Grouped`).
    """

    weight: float
    axis: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        set_number(self, "weight")

    def of_norms(self, norms: Array, entries: int) -> Array:
        """Return weight times the norms."""
        return self.weight * norms

    def move(self, matrix: Array, step: float) -> None:
        """Shorten every group by step * weight."""
        group_soft(matrix, step * self.weight, self.axis)


@dataclass(frozen=True)
class MaxNorm(Grouped):
    """R(x) = 0 where |x_G|_2 <= limit for all groups, else +inf: all that enters a unit stays this short.

    Parameters
    ----------
    limit : float
        At least 0.
    axis : int
        0 or 1, the axis of a matrix along which a group lies (see `Grouped`).

    References
    ----------
    Srebro, Rennie & Jaakkola, NIPS 2004; Srivastava et al., Dropout, JMLR 15, 2014, section 5.1.
    """

    limit: float
    axis: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        set_number(self, "limit")

    def of_norms(self, norms: Array, entries: int) -> Array:
        """Return 0 inside, up to rounding, and +inf outside; a NaN is outside."""
        xp = namespace(norms)
        inside = norms <= self.limit * (1.0 + (16 + entries) * float(xp.finfo(norms.dtype).eps))
        return xp.where(inside, xp.zeros_like(norms), xp.full_like(norms, math.inf))

    def move(self, matrix: Array, step: float) -> None:
        """Scale every group that is too long back to the limit, whatever the step."""
        group_project(matrix, self.limit, self.axis)


def _in_place(x: Array) -> bool:
    """Return whether a reshaped `x` is surely a view of it, so that a kernel can work through the view."""
    return family(x) != "other" and x.flags.c_contiguous
