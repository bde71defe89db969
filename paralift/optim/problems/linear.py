"""Linear models: f(x) = scale sum_j h(a_j x, b_j), with dense or sparse rows a_j; NumPy, SciPy or CuPy.

The gradient of a sample is its residual h'(a_j x, b_j) times its row, so tables of gradients keep residuals alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from paralift.kernels.arrays import Array, namespace
from paralift.optim.eigenvalues import largest_eigenvalue
from paralift.optim.problems.composite import CompositeProblem, shares
from paralift.optim.problems.damped import DENSE, Damped
from paralift.optim.regularizers import Regularizer


class LinearModel(CompositeProblem):
    """Base of linear models: a loss of the products ``A x`` gives `losses`, `slopes` and `bend`.

    Parameters
    ----------
    rows : array or SciPy or CuPy sparse matrix of shape (n, d)
        This rank's samples.
    targets : array of shape (n,)
    regularizer : Regularizer, optional
    scale : float
        Factor of f: 1 for sums over samples, 1 over the number of all samples for means.

    Raises
    ------
    ValueError
        If shapes do not fit, there are no samples, or a number is not finite.
    TypeError
        If the rows are not real floats.
    """

    bend: float
    """The largest second derivative of the loss of a sample by its product (its largest eigenvalue, for several)."""
    outputs: int | None = None
    """Products of a sample, None for one."""

    def __init__(self, rows: Any, targets: Array, regularizer: Regularizer | None = None, scale: float = 1.0) -> None:
        name = type(self).__name__
        if getattr(rows, "ndim", 0) != 2:
            raise ValueError(f"{name}: rows of shape {getattr(rows, 'shape', None)} were given, expected (samples, unknowns)")
        shape = getattr(targets, "shape", None)
        if shape != (rows.shape[0],) and (self.outputs is None or shape != (rows.shape[0], self.outputs)):
            raise ValueError(f"{name}: {rows.shape[0]} rows and targets of shape {shape} were given, expected one target a row")
        if not (scale > 0 and np.isfinite(scale)):
            raise ValueError(f"{name}: scale = {scale} was given, expected a finite number greater than 0")
        self.rows = rows.tocsr() if hasattr(rows, "tocsr") else rows
        stored = self.rows.data if self.sparse else self.rows
        for what, array in (("rows", stored), ("targets", targets)):
            if not bool(namespace(array).isfinite(array).all()):
                raise ValueError(f"{name}: {what} with a NaN or an infinite number were given")
        self.targets, self.scale = targets, float(scale)
        shape = (rows.shape[1],) if self.outputs is None else (rows.shape[1], self.outputs)
        start = namespace(stored).zeros(shape, dtype=stored.dtype)
        super().__init__(start, rows.shape[0], regularizer)
        self._adjoint = self.rows.T.tocsr() if self.sparse else self.rows.T

    @property
    def sparse(self) -> bool:
        """Whether rows are kept as a sparse matrix."""
        return hasattr(self.rows, "tocsr")

    def losses(self, products: Array, targets: Array) -> Array:
        """Return h of each sample."""
        raise NotImplementedError(f"{type(self).__name__} has no losses")

    def slopes(self, products: Array, targets: Array) -> Array:
        """Return h' of each sample, shape of `products`."""
        raise NotImplementedError(f"{type(self).__name__} has no slopes")

    def value(self, x: Array) -> float:
        """Return f_i(x)."""
        return self.scale * float(self.losses(self.rows @ x, self.targets).sum())

    def gradient(self, x: Array, out: Array, rows: Array | slice | None = None) -> None:
        """Write the gradient of f_i, or of some of its samples, into `out`."""
        if rows is None:
            out[...] = self._adjoint @ self.slopes(self.rows @ x, self.targets)
            out *= self.scale
        else:
            self.pull(self.residuals(x, rows), rows, out)

    def residuals(self, x: Array, rows: Array | slice) -> Array:
        """Return scale h' of the samples `rows`, shape (rows,) or (rows, outputs)."""
        return self.scale * self.slopes(self.rows[rows] @ x, self.targets[rows])

    def pull(self, residuals: Array, rows: Array | slice, out: Array) -> None:
        """Write A_rows^T residuals into `out`."""
        out[...] = self.rows[rows].T @ residuals

    def lipschitz(self) -> float:
        """Return scale bend |A|^2, by Lanczos iterations."""
        return largest_eigenvalue(self.curvature, self.start)

    def sample_lipschitz(self) -> float:
        """Return scale bend max_j |a_j|^2."""
        squares = self.rows.multiply(self.rows) if self.sparse else self.rows * self.rows
        return self.scale * self.bend * float(squares.sum(axis=1).max())

    def curvature(self, v: Array, out: Array) -> bool:
        """Write scale bend A^T A v into `out`."""
        out[...] = self._adjoint @ (self.rows @ v)
        out *= self.scale * self.bend
        return True

    def split(self, parts: int) -> list[CompositeProblem]:
        """Return the same for consecutive samples."""
        return [self._part(span) for span in shares(self.n_samples, parts)]

    def _part(self, span: slice) -> LinearModel:
        return type(self)(self.rows[span], self.targets[span], self.regularizer, self.scale)


class LeastSquares(LinearModel):
    """f(x) = scale/2 |A x - b|^2; with `L1` the lasso."""

    bend = 1.0
    _factor: Damped | None = None

    def losses(self, products: Array, targets: Array) -> Array:
        """Return (a x - b)^2 / 2."""
        return 0.5 * (products - targets) ** 2

    def slopes(self, products: Array, targets: Array) -> Array:
        """Return a x - b."""
        return products - targets

    def nearest(self, centre: Array, rho: float, out: Array, rows: Array | None = None) -> bool:
        """Write the solution of (scale A^T A + rho I) x = scale A^T b + rho centre; False if no dense factor fits."""
        if rows is not None:
            chosen, targets = self.rows[rows], self.targets[rows]
            factor = Damped(chosen, self.scale)
        elif min(self.rows.shape) > DENSE:
            return False
        else:
            chosen, targets = self.rows, self.targets
            self._factor = factor = self._factor or Damped(chosen, self.scale)
        out[...] = centre
        out += factor.solve(targets - chosen @ centre, rho)
        return True


class Logistic(LinearModel):
    """f(x) = scale sum_j log(1 + exp(-b_j a_j x)), labels b_j = -1 or 1."""

    bend = 0.25

    def __init__(self, rows: Any, targets: Array, regularizer: Regularizer | None = None, scale: float = 1.0) -> None:
        if not bool((abs(targets) == 1).all()):
            raise ValueError("Logistic: labels other than -1 and 1 were given")
        super().__init__(rows, targets, regularizer, scale)

    def losses(self, products: Array, targets: Array) -> Array:
        """Return log(1 + exp(-b a x))."""
        return namespace(products).logaddexp(0.0, -targets * products)

    def slopes(self, products: Array, targets: Array) -> Array:
        """Return -b / (1 + exp(b a x))."""
        return -0.5 * targets * (1.0 - namespace(products).tanh(0.5 * targets * products))


class Multinomial(LinearModel):
    """f(x) = scale sum_j (log sum_c exp(a_j x_c) - a_j x_{b_j}), x of shape (d, classes), labels b_j = 0 to classes - 1.

    The Hessian of log-sum-exp is at most 1/2 (Boehning, Ann. Inst. Statist. Math. 44, 1992).
    """

    bend = 0.5

    def __init__(
        self, rows: Any, targets: Array, classes: int, regularizer: Regularizer | None = None, scale: float = 1.0
    ) -> None:
        if targets.dtype.kind not in "iu" or bool((targets < 0).any()) or bool((targets >= classes).any()):
            raise ValueError(f"Multinomial: labels were given that are no whole numbers from 0 to {classes - 1}")
        self.outputs = classes
        super().__init__(rows, targets, regularizer, scale)

    def losses(self, products: Array, targets: Array) -> Array:
        """Return log sum_c exp(a x_c) - a x_b."""
        xp = namespace(products)
        top = products.max(axis=1)
        own = xp.take_along_axis(products, targets[:, None], axis=1)[:, 0]
        return top + xp.log(xp.exp(products - top[:, None]).sum(axis=1)) - own

    def slopes(self, products: Array, targets: Array) -> Array:
        """Return the probabilities minus the labels."""
        xp = namespace(products)
        parts = xp.exp(products - products.max(axis=1, keepdims=True))
        parts /= parts.sum(axis=1, keepdims=True)
        parts[xp.arange(len(targets)), targets] -= 1.0
        return parts

    def _part(self, span: slice) -> LinearModel:
        assert self.outputs is not None
        return Multinomial(self.rows[span], self.targets[span], self.outputs, self.regularizer, self.scale)
