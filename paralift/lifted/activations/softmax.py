"""Softmax: the gradient of log-sum-exp, the proximal map of negative entropy minus half a square on the simplex."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from paralift.kernels import rows
from paralift.kernels.arrays import Array, namespace
from paralift.lifted.activations.rowwise import Rowwise

NEWTON_STEPS = 40
HALVINGS = 7
CONVERGED = 8.0
"""Rounding errors of z that a step may have when Newton's method ends."""


@dataclass(frozen=True)
class Softmax(Rowwise):
    """x = e^z / sum e^z over the last axis; B(x, z) = KL(x, softmax z), so clamping x = one-hot y is cross-entropy."""

    lipschitz: ClassVar[float] = 0.5

    def sigma(self, z: Array) -> Array:
        """Return the softmax of each row."""
        xp = namespace(z)
        e = xp.exp(z - xp.max(z, axis=1, keepdims=True))
        return e / xp.sum(e, axis=1, keepdims=True)

    def phi(self, z: Array) -> Array:
        """Return the log-sum-exp of each row."""
        xp = namespace(z)
        top = xp.max(z, axis=1, keepdims=True)
        return top[:, 0] + xp.log(xp.sum(xp.exp(z - top), axis=1))

    def psi(self, x: Array) -> Array:
        """Return sum x ln x - |x|^2/2 on the simplex (to 1e-5 in the sum), +inf elsewhere."""
        xp = namespace(x)
        positive = x > 0
        entropy = xp.where(positive, x * xp.log(xp.where(positive, x, xp.ones_like(x))), xp.zeros_like(x))
        value = xp.sum(entropy - 0.5 * x * x, axis=1)
        inside = xp.all(x >= 0, axis=1) & (xp.abs(xp.sum(x, axis=1) - 1.0) < 1e-5)
        return xp.where(inside, value, xp.full_like(value, float("inf")))

    def derivative(self, z: Array, g: Array) -> Array:
        """Return (diag p - p p^T) g, p = softmax z."""
        xp = namespace(z)
        p = self.sigma(z)
        return p * (g - xp.sum(p * g, axis=1, keepdims=True))

    def prox(self, w: Array, lam: float) -> Array:
        """Return softmax(z*), z* = argmin lam/2 |z|^2 + (1 - lam) logsumexp(z) - <w, z>, by damped Newton steps."""
        return self._newton(w - namespace(w).mean(w, axis=1, keepdims=True), lam)

    def _newton(self, w: Array, lam: float) -> Array:
        """Return `prox` of rows whose mean is zero: softmax, and so the solution, do not see a shift of w."""
        xp, z = namespace(w), w
        if not z.shape[0]:
            return w
        resolution = CONVERGED * float(xp.finfo(z.dtype).eps)
        for _ in range(NEWTON_STEPS):
            p = self.sigma(z)
            residual = lam * z + (1.0 - lam) * p - w
            d = lam + (1.0 - lam) * p
            u, v = residual / d, p / d
            inner = 1.0 - (1.0 - lam) * xp.sum(p * v, axis=1, keepdims=True)
            step = u + (1.0 - lam) * v * xp.sum(p * u, axis=1, keepdims=True) / inner  # Sherman-Morrison
            z = self._line_search(z, step, w, lam)
            size = 1.0 + xp.max(xp.abs(z), axis=1)
            if not bool(xp.any(xp.max(xp.abs(step), axis=1) > resolution * size)):  # steps are as small as rounding errors
                break
        return self.sigma(z)

    def _line_search(self, z: Array, step: Array, w: Array, lam: float) -> Array:
        """Return, row by row, the best of z - step, z - step/2, z - step/4, ... (z itself where none is better)."""
        xp = namespace(z)
        value = self._objective(z, w, lam)
        slack = 8.0 * float(xp.finfo(z.dtype).eps) * (1.0 + xp.abs(value))  # near the minimum rounding hides the descent
        best, value = z, value + slack
        for k in range(HALVINGS):
            trial = z - (0.5**k) * step
            found = self._objective(trial, w, lam)
            better = found < value
            best, value = xp.where(better[:, None], trial, best), xp.where(better, found - slack, value)
        return best

    def _objective(self, z: Array, w: Array, lam: float) -> Array:
        return namespace(z).sum(0.5 * lam * z * z - w * z, axis=1) + (1.0 - lam) * self.phi(z)

    def write(self, z: np.ndarray, x: np.ndarray) -> None:
        """Write softmax(z) into `x`."""
        rows.softmax(z, x)

    def write_difference(self, z: np.ndarray, g: np.ndarray, *scales: Any) -> None:
        """Overwrite `g` by the residual difference."""
        rows.softmax_difference(z, g, *scales)
