"""What a problem is: f + r, f a sum over samples that are split over ranks, r a regulariser that every rank knows.

minimise  F(x) = f(x) + r(x),   f = sum_i f_i  over ranks,   f_i = sum_j f_ij  over the samples of rank i.

A problem is the part of one rank: it says nothing about the others. Algorithms sum over ranks where they need the whole.
"""

from __future__ import annotations

from dataclasses import replace
import numpy as np

from paralift.kernels import arrays
from paralift.kernels.arrays import Array
from paralift.optim.regularizers import Regularizer


class Nothing(Regularizer):
    """R(x) = 0."""

    def value(self, x: Array) -> float:
        """Return 0."""
        return 0.0

    def apply(self, x: Array, step: float) -> None:
        """Leave `x` as it is."""


class CompositeProblem:
    """Base of all problems; a problem of one's own gives `value`, `gradient`, and the constants that its algorithms ask for.

    Parameters
    ----------
    start : Array
        Where algorithms start; its shape, dtype and array library are those of the unknowns.
    n_samples : int
        Samples of this rank, 1 for a function that is no sum.
    regularizer : Regularizer, optional
        r; it acts on all unknowns, whatever its `on` says.

    Attributes
    ----------
    exact_lipschitz, exact_convexity : float or None
        Constants of the whole f, where they are known; found or bounded from those of the ranks otherwise.
    """

    exact_lipschitz: float | None = None
    exact_convexity: float | None = None

    def __init__(self, start: Array, n_samples: int = 1, regularizer: Regularizer | None = None) -> None:
        if n_samples < 1:
            raise ValueError(f"{type(self).__name__}: {n_samples} samples were given, expected at least 1")
        if start.dtype.kind != "f":
            raise TypeError(f"{type(self).__name__}: unknowns of dtype {start.dtype} were given, expected a real float type")
        self.start, self.n_samples = start, n_samples
        regularizer = Nothing() if regularizer is None else regularizer
        self.regularizer = regularizer if isinstance(regularizer, Nothing) else replace(regularizer, on="all")

    def value(self, x: Array) -> float:
        """Return f_i(x)."""
        raise NotImplementedError(f"{type(self).__name__} has no value")

    def gradient(self, x: Array, out: Array, rows: Array | slice | None = None) -> None:
        """Write the gradient of f_i, or of the sum over some of its samples, into `out`, shape of `x`."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    def residuals(self, x: Array, rows: Array) -> Array:
        """Return what tables of gradients keep of each sample, shape (rows, k): here the gradients themselves.

        Where a gradient is a residual times a row of data, a problem keeps the residual alone and overrides `pull`.
        """
        table = arrays.empty((len(rows), x.size), x)
        one = arrays.empty(x.shape, x)
        for place, row in enumerate(rows):
            self.gradient(x, one, np.asarray([row]))
            table[place] = one.reshape(-1)
        return table

    def pull(self, residuals: Array, rows: Array, out: Array) -> None:
        """Write the sum of the gradients that belong to `residuals` of the samples `rows` into `out`."""
        out[...] = residuals.sum(axis=0).reshape(out.shape)

    def lipschitz(self) -> float:
        """Return a Lipschitz constant of the gradient of f_i."""
        raise NotImplementedError(f"{type(self).__name__} knows no Lipschitz constant: give the step, or write `lipschitz`")

    def sample_lipschitz(self) -> float:
        """Return the largest Lipschitz constant of the gradients of f_ij."""
        name = type(self).__name__
        raise NotImplementedError(f"{name} knows no constant of a sample: give the step, or write `sample_lipschitz`")

    def strong_convexity(self) -> float:
        """Return mu such that f_i - mu/2 |x|^2 is convex; 0.0 if none is known."""
        return 0.0

    def curvature(self, v: Array, out: Array) -> bool:
        """Write H v into `out` for a symmetric H >= the Hessians of f_i; return False if no such H is known.

        With it the Lipschitz constant of the sum over ranks is found exactly; without, it is bounded by the sum of theirs.
        """
        return False

    def split(self, parts: int) -> list[CompositeProblem]:
        """Return problems of nearly equally many samples each, in order, whose sum is this one (r stays whole in each)."""
        raise NotImplementedError(f"{type(self).__name__} cannot be split")

    def prox(self, x: Array, step: float) -> None:
        """Overwrite `x` by prox_{step r}(x)."""
        self.regularizer.apply(x, step)

    def penalty(self, x: Array) -> float:
        """Return r(x)."""
        return self.regularizer.value(x)


def shares(n: int, parts: int) -> list[slice]:
    """Return `parts` consecutive ranges of nearly equal length that make up range(n).

    Raises
    ------
    ValueError
        If there are fewer samples than parts.
    """
    if not 1 <= parts <= n:
        raise ValueError(f"{n} samples cannot be split into {parts} parts, expected 1 to {n}")
    ends = [n * k // parts for k in range(parts + 1)]
    return [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]
