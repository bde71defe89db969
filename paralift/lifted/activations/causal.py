"""Softmax under a causal mask: the activation of attention in which a token sees itself and what came before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from paralift.kernels import rows
from paralift.kernels.arrays import Array, family, namespace
from paralift.kernels.difference import FLOOR, TINY, sum_columns
from paralift.lifted.activations.softmax import Softmax


@dataclass(frozen=True)
class CausalSoftmax(Softmax):
    """x = softmax of the entries 0 to i of row i of each T x T matrix, and 0 behind them.

    Rows are those of samples of shape (..., T, T), one after the other, so that row number r of all has i = r mod T. What is
    hidden is no part of a row: no value reads it, and its residual is 0.
    """

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless a sample ends with two equal axes."""
        if len(shape) < 2 or shape[-1] != shape[-2]:
            raise ValueError(f"CausalSoftmax() expects square matrices of scores, given samples of shape {shape}")

    def _seen(self, z: Array) -> Array:
        """Return which entries are seen, a matrix of truth values like `z`."""
        xp = namespace(z)
        on = {"device": z.device} if family(z) == "other" else {}
        return xp.arange(z.shape[1], **on)[None, :] <= (xp.arange(z.shape[0], **on) % z.shape[1])[:, None]

    def _masked(self, z: Array, hidden: float) -> Array:
        """Return `z` with another number where entries are hidden."""
        xp = namespace(z)
        return xp.where(self._seen(z), z, xp.full_like(z, hidden))

    def _lowest(self, z: Array) -> float:
        return float(namespace(z).finfo(z.dtype).min)  # finite: its exponential is 0, and it makes no NaN

    def sigma(self, z: Array) -> Array:
        """Return the softmax of what each row sees."""
        xp = namespace(z)
        low = self._masked(z, self._lowest(z))
        e = xp.exp(low - xp.max(low, axis=1, keepdims=True)) if z.shape[0] else low
        return self._masked(e / xp.sum(e, axis=1, keepdims=True), 0.0)

    def phi(self, z: Array) -> Array:
        """Return the log-sum-exp of what each row sees."""
        return super().phi(self._masked(z, self._lowest(z)))

    def psi(self, x: Array) -> Array:
        """Return sum x ln x - |x|^2/2 on the simplex of what each row sees, +inf elsewhere."""
        xp = namespace(x)
        value = super().psi(x)
        outside = xp.any((x != 0) & ~self._seen(x), axis=1)
        return xp.where(outside, xp.full_like(value, float("inf")), value)

    def derivative(self, z: Array, g: Array) -> Array:
        """Return (diag p - p p^T) g of what each row sees."""
        xp, p, g = namespace(z), self.sigma(z), self._masked(g, 0.0)
        return p * (g - xp.sum(p * g, axis=1, keepdims=True))

    def prox(self, w: Array, lam: float) -> Array:
        """Return prox_{lam Psi}(w) as `Softmax` does; hidden entries stay at 0 in its Newton steps."""
        xp = namespace(w)
        n = xp.sum(self._masked(xp.ones_like(w), 0.0), axis=1, keepdims=True)
        mean = xp.sum(self._masked(w, 0.0), axis=1, keepdims=True) / n
        return self._newton(self._masked(w - mean, 0.0), lam)

    def penalty(self, x: Array, z: Array) -> Array:
        """Return B(x, z) of each row; what z hides does not enter."""
        return super().penalty(x, self._masked(z, 0.0))

    def penalty_dual(self, p: Array, z: Array) -> Array:
        """Return B(sigma(p), z) of each row; what p and z hide does not enter."""
        return super().penalty_dual(self._masked(p, 0.0), self._masked(z, 0.0))

    def difference(
        self,
        z: Array,
        g: Array,
        up: float = 0.5,
        down: float = 0.5,
        relative: float = 0.0,
        column_sum: Array | None = None,
        accumulate: bool = False,
    ) -> None:
        """Overwrite the pull `g` by the residual; a relative nudge compares what is seen of z and g."""
        if family(z) == "numpy":
            super().difference(z, g, up, down, relative, column_sum, accumulate)
            return
        s = self._scales(z, g, relative) if relative > 0.0 else 1.0
        g[...] = (self.sigma(z + (up * s) * g) - self.sigma(z - (down * s) * g)) / s
        sum_columns(g, column_sum, accumulate)

    def _scales(self, z: Array, g: Array, relative: float) -> Array:
        """Return relative rms(z) / rms(g) of what each row sees, shape (rows, 1)."""
        xp = namespace(z)
        ones = xp.ones_like(z)
        n = xp.sum(self._masked(ones, 0.0), axis=1, keepdims=True)
        z2, g2 = (xp.sum(self._masked(a * a, 0.0), axis=1, keepdims=True) / n for a in (z, g))
        z2 = xp.where(z2 > 0, z2, ones[:, :1])
        least = FLOOR * z2 + TINY
        return relative * xp.sqrt(z2 / xp.where(g2 > least, g2, least))

    def write(self, z: np.ndarray, x: np.ndarray) -> None:
        """Write sigma(z) into `x`."""
        rows.causal_softmax(z, x)

    def write_difference(self, z: np.ndarray, g: np.ndarray, *scales: Any) -> None:
        """Overwrite `g` by the residual difference."""
        rows.causal_softmax_difference(z, g, *scales)
