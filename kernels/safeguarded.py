"""The Euclidean x-step of an activation of which nothing is known but that it is monotone.

x = sigma(p) with (1 - lam) sigma(p) + lam p = w. The left side h(p) rises with a slope of at least lam, so that the solution
lies within |h(p) - w| / lam of any p: a bracket at once. Newton steps shrink it; one that leaves it, or did not halve the
defect, is followed by a bisection.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from paralift.kernels.arrays import Array, namespace
from paralift.kernels.jit import jit
from paralift.kernels.scalars import Function, Scalar

STEPS = 120
"""About ten are taken; so many bisections reach neighbouring numbers from any bracket that has a use."""


@cache
def numba_safeguarded(scalar: Scalar) -> Any:
    """Return the compiled ``(x, z, g, tau, r, penalty or None, a, b)``; see `xstep.numba_newton`, whose place it takes."""
    sigma, slope, phi = scalar.sigma, scalar.slope, scalar.phi

    def kernel(x, z, g, tau, r, penalty, a, b):
        T = z.dtype.type
        scale, lam = T(1.0 / (1.0 + tau)), T(tau / (1.0 + tau))
        rest, tau = T(1.0) - lam, T(tau)
        tolerance = T(4 * np.finfo(z.dtype).eps)
        for i in range(z.shape[0]):
            total = T(0)
            for j in range(z.shape[1]):
                zj = z[i, j]
                w = (x[i, j] + tau * (zj - g[i, j])) * scale
                p, s = w, sigma(w, a, b)
                defect = rest * s + lam * p - w
                far = p - defect / lam
                low, high, before = min(p, far), max(p, far), T(2) * abs(defect)
                for _ in range(STEPS):
                    if not abs(defect) > tolerance * (abs(w) + abs(s)):
                        break  # solved, or w is not finite: then p = w is the solution
                    q = p - defect / (rest * slope(p, a, b) + lam)
                    if not (low < q and q < high) or abs(defect) > T(0.5) * before:
                        q = low + T(0.5) * (high - low)
                    if q == p:
                        break
                    p, s, before = q, sigma(q, a, b), abs(defect)
                    defect = rest * s + lam * p - w
                    if defect > T(0):
                        high = p
                    else:
                        low = p
                x[i, j] = s
                r[i, j] = sigma(zj, a, b) - s
                if penalty is not None:
                    total += (p - zj) * s - (phi(p, a, b) - phi(zj, a, b))
            if penalty is not None:
                penalty[i] = total

    return jit(kernel, scalar.name, scalar.stamp)


def solve(sigma: Function, slope: Function, w: Array, lam: float) -> Array:
    """Return p with (1 - lam) sigma(p) + lam p = w for each entry, for any array library.

    Libraries other than NumPy always take `STEPS` steps: to look whether fewer do would copy from the device.
    """
    xp = namespace(w)
    host, tolerance = isinstance(w, np.ndarray), 4.0 * float(xp.finfo(w.dtype).eps)
    finite = xp.abs(w) < xp.inf
    p, s = w, sigma(w)
    defect = _defect(xp, s, p, w, lam, finite)
    far = p - defect / lam
    low, high = xp.where(far < p, far, p), xp.where(far < p, p, far)
    before = 2.0 * xp.abs(defect)
    for _ in range(STEPS):
        active = xp.abs(defect) > tolerance * (xp.abs(w) + xp.abs(s))
        if host and not active.any():
            break
        slopes = (1.0 - lam) * slope(p) + lam
        q = p - defect / xp.where(slopes > 0, slopes, xp.full_like(p, lam))
        newton = (low < q) & (q < high) & (xp.abs(defect) <= 0.5 * before)
        q = xp.where(active, xp.where(newton, q, low + 0.5 * (high - low)), p)
        p, s, before = q, sigma(q), xp.abs(defect)
        defect = _defect(xp, s, p, w, lam, finite)
        above = defect > 0
        low, high = xp.where(above, low, p), xp.where(above, p, high)
    return p


def _defect(xp: Any, s: Array, p: Array, w: Array, lam: float, finite: Array) -> Array:
    """Return (1 - lam) s + lam p - w, 0 where w is not finite: there p = w is the solution."""
    zero = xp.zeros_like(w)
    w, p, s = (xp.where(finite, u, zero) for u in (w, p, s))
    return xp.where(finite, (1.0 - lam) * s + lam * p - w, zero)


CUDA_SAFEGUARDED = (
    f"enum : int {{ SAFE_STEPS = {STEPS} }};\n"
    + r"""
__device__ inline float rounding(float) { return 1.1920929e-7f; }
__device__ inline double rounding(double) { return 2.220446049250313e-16; }

// x = sigma(p) with (1 - lam) sigma(p) + lam p = w, r = sigma(z) - x; returns B(x, z)
template <typename T, typename A> __device__ inline T euclidean(const A& act, T w, T lam, T z, T& x, T& r) {
  const T tolerance = T(4) * rounding(w), rest = T(1) - lam;
  T p = w, s = act.sigma(p), defect = rest * s + lam * p - w;
  const T far = p - defect / lam;
  T low = far < p ? far : p, high = far < p ? p : far, before = T(2) * fabs(defect);
  for (int k = 0; k < SAFE_STEPS; k++) {
    if (!(fabs(defect) > tolerance * (fabs(w) + fabs(s)))) break;
    T q = p - defect / (rest * act.slope(p) + lam);
    if (!(low < q && q < high) || fabs(defect) > T(0.5) * before) q = low + T(0.5) * (high - low);
    if (q == p) break;
    before = fabs(defect);
    p = q;
    s = act.sigma(p);
    defect = rest * s + lam * p - w;
    (defect > T(0) ? high : low) = p;
  }
  x = s;
  r = act.sigma(z) - x;
  return (p - z) * x - (act.phi(p) - act.phi(z));
}
"""
)
