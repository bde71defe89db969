"""One x-step of inference, its residual r and the penalty of each row, in one pass over memory.

Euclidean: x <- prox_{lam Psi}(w), w = (x + tau (z - g)) / (1 + tau), lam = tau / (1 + tau), in closed form where
there is one. Otherwise x = sigma(p) where (1 - lam) sigma(p) + lam p = w, an equation with a slope in [lam, 1]:
Newton's method in p, safeguarded where no good start is known. Dual: p <- (1 - omega) p + omega (z - g), x = sigma(p).
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from paralift.kernels import cuda
from paralift.kernels.arrays import Array, empty, family, namespace
from paralift.kernels.jit import jit
from paralift.kernels.safeguarded import CUDA_SAFEGUARDED, numba_safeguarded
from paralift.kernels.scalars import Elementwise, Function, Scalar

NEWTON_STEPS = 32
"""Four to eight are taken; more, slowly more, where tau is below 1/100."""


def xstep(
    act: Elementwise, x: Array, z: Array, g: Array, tau: float, r: Array, value: bool = True
) -> Array | None:
    """Take one Euclidean x-step in place, write r = sigma(z) - x, return B(x, z) of each row if `value`."""
    if not isinstance(z, np.ndarray):
        if family(z) == "cupy" and act.scalar.cuda and cuda.suits(x, z, g, r):
            return cuda_launch(act, "xstep", (x, z, g, r), tau, value)
        return formula(act, x, z, g, tau, r, value)
    penalty = np.empty(z.shape[0], z.dtype) if value else None
    numba_euclidean(act.scalar)(x, z, g, tau, r, penalty, act.a, act.b)
    return penalty


def xstep_dual(
    act: Elementwise, p: Array, x: Array, z: Array, g: Array, omega: float, r: Array, value: bool = True
) -> Array | None:
    """Take one dual x-step of `p` and x = sigma(p) in place; r and return as in `xstep`."""
    if not isinstance(z, np.ndarray):
        if family(z) == "cupy" and act.scalar.cuda and cuda.suits(p, x, z, g, r):
            return cuda_launch(act, "xstep_dual", (p, x, z, g, r), omega, value)
        return formula_dual(act, p, x, z, g, omega, r, value)
    penalty = np.empty(z.shape[0], z.dtype) if value else None
    numba_dual(act.scalar)(p, x, z, g, omega, r, penalty, act.a, act.b)
    return penalty


def formula(
    act: Elementwise, x: Array, z: Array, g: Array, tau: float, r: Array, value: bool
) -> Array | None:
    """Do the same as `xstep` with whole-array operations, for any array library."""
    x[...] = act.prox((x + tau * (z - g)) / (1.0 + tau), tau / (1.0 + tau))
    r[...] = act.sigma(z) - x
    return act.penalty(x, z) if value else None


def formula_dual(
    act: Elementwise, p: Array, x: Array, z: Array, g: Array, omega: float, r: Array, value: bool
) -> Array | None:
    """Do the same as `xstep_dual` with whole-array operations, for any array library."""
    p[...] = (1.0 - omega) * p + omega * (z - g)
    x[...] = act.sigma(p)
    r[...] = act.sigma(z) - x
    return act.penalty_dual(p, z) if value else None


def newton(sigma: Function, slope: Function, w: Array, lam: float, start: Array) -> Array:
    """Return the solution p of (1 - lam) sigma(p) + lam p = w by Newton's method, for any array library.

    Libraries other than NumPy always take `NEWTON_STEPS` steps: to look whether fewer do would copy from the device.
    """
    xp = namespace(w)
    p = start
    tolerance = 4.0 * float(xp.finfo(w.dtype).eps)
    for _ in range(NEWTON_STEPS):
        s = sigma(p)
        defect = xp.where(xp.abs(p) < math.inf, (1.0 - lam) * s + lam * p - w, xp.zeros_like(w))
        p = p - defect / ((1.0 - lam) * slope(p) + lam)
        if isinstance(w, np.ndarray) and not np.any(np.abs(defect) > tolerance * (np.abs(w) + np.abs(s))):
            break
    return p


def numba_euclidean(scalar: Scalar) -> Any:
    """Return the compiled Euclidean x-step: in closed form, by Newton's method from its start, or safeguarded."""
    if scalar.prox is not None:
        return numba_prox(scalar)
    return numba_safeguarded(scalar) if scalar.start is None else numba_newton(scalar)


@cache
def numba_prox(scalar: Scalar) -> Any:
    """Return the compiled ``(x, z, g, tau, r, penalty or None, a, b)`` for a prox in closed form.

    B = (s - x)^2 / 2 + Psi(x) - Psi(s) + (z - s) (s - x) with s = sigma(z): as B needs only nonnegative terms to be
    added for indicators and squares, it keeps its digits where |x|^2/2 + phi(z) - <x, z> would cancel.
    """
    sigma, prox, psi = scalar.sigma, scalar.prox, scalar.psi

    def kernel(x, z, g, tau, r, penalty, a, b):
        T = z.dtype.type
        scale = T(1.0 / (1.0 + tau))
        lam = T(tau / (1.0 + tau))
        tau = T(tau)
        for i in range(z.shape[0]):
            total = T(0)
            for j in range(z.shape[1]):
                zj = z[i, j]
                xj = prox((x[i, j] + tau * (zj - g[i, j])) * scale, lam, a, b)
                s = sigma(zj, a, b)
                d = s - xj
                x[i, j] = xj
                r[i, j] = d
                if penalty is not None:
                    total += (T(0.5) * d + (zj - s)) * d + (psi(xj, a, b) - psi(s, a, b))
            if penalty is not None:
                penalty[i] = total

    return jit(kernel, scalar.name, scalar.stamp)


@cache
def numba_newton(scalar: Scalar) -> Any:
    """Return the compiled ``(x, z, g, tau, r, penalty or None, a, b)`` that solves for p; B as in the dual step.

    `x` and `r` hold p and w of a row meanwhile. Steps end for all entries of a row together, once every entry has a
    defect of a few rounding errors: then x = sigma(p) has full precision (p has not where sigma is flat).
    """
    sigma, slope, phi, start = scalar.sigma, scalar.slope, scalar.phi, scalar.start

    def kernel(x, z, g, tau, r, penalty, a, b):
        T = z.dtype.type
        scale, lam = T(1.0 / (1.0 + tau)), T(tau / (1.0 + tau))
        rest, tau = T(1.0) - lam, T(tau)
        tolerance = T(4 * np.finfo(z.dtype).eps)
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                w = (x[i, j] + tau * (z[i, j] - g[i, j])) * scale
                r[i, j] = w
                x[i, j] = start(w, lam, a, b)
            for _ in range(NEWTON_STEPS):
                active = 0
                for j in range(z.shape[1]):
                    p, w = x[i, j], r[i, j]
                    s = sigma(p, a, b)
                    defect = rest * s + lam * p - w
                    step = defect / (rest * slope(p, a, b) + lam)
                    x[i, j] = p - step if step == step else p  # infinite w: p = w is the solution
                    active += abs(defect) > tolerance * (abs(w) + abs(s))
                if active == 0:
                    break
            total = T(0)
            for j in range(z.shape[1]):
                p, zj = x[i, j], z[i, j]
                xj = sigma(p, a, b)
                x[i, j] = xj
                r[i, j] = sigma(zj, a, b) - xj
                if penalty is not None:
                    total += (p - zj) * xj - (phi(p, a, b) - phi(zj, a, b))
            if penalty is not None:
                penalty[i] = total

    return jit(kernel, scalar.name, scalar.stamp)


@cache
def numba_dual(scalar: Scalar) -> Any:
    """Return the compiled ``(p, x, z, g, omega, r, penalty or None, a, b)``; B = <p - z, x> - phi(p) + phi(z)."""
    sigma, phi = scalar.sigma, scalar.phi

    def kernel(p, x, z, g, omega, r, penalty, a, b):
        T = z.dtype.type
        keep, omega = T(1.0 - omega), T(omega)
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):  # two loops: LLVM gives up on one with so many arrays that may overlap
                p[i, j] = keep * p[i, j] + omega * (z[i, j] - g[i, j])
            total = T(0)
            for j in range(z.shape[1]):
                pj, zj = p[i, j], z[i, j]
                xj = sigma(pj, a, b)
                x[i, j] = xj
                r[i, j] = sigma(zj, a, b) - xj
                if penalty is not None:
                    total += (pj - zj) * xj - (phi(pj, a, b) - phi(zj, a, b))
            if penalty is not None:
                penalty[i] = total

    return jit(kernel, scalar.name, scalar.stamp)


CUDA_EUCLIDEAN = r"""
template <typename T, int V, typename A>
__global__ void xstep(T* x, const T* z, const T* g, T* r, T* penalty, long long rows, long long width, double tau,
                      double a, double b) {
  const A act = {T(a), T(b)};
  const T scale = T(1 / (1 + tau)), lam = T(tau / (1 + tau));
  const long long i = blockIdx.x * (long long)blockDim.y + threadIdx.y;
  T total = T(0);
  if (i < rows)
    for (long long j = threadIdx.x * V; j < width; j += blockDim.x * V) {
      const long long at = i * width + j;
      const int n = neighbours<V>(j, width);
      const Pack<T, V> pz = load<T, V>(z + at, n), pg = load<T, V>(g + at, n);
      Pack<T, V> px = load<T, V>(x + at, n), pr = {};
      for (int k = 0; k < n; k++) {
        const T w = (px.v[k] + T(tau) * (pz.v[k] - pg.v[k])) * scale;
        total += euclidean(act, w, lam, pz.v[k], px.v[k], pr.v[k]);
      }
      store<T, V>(x + at, px, n);
      store<T, V>(r + at, pr, n);
    }
  if (!penalty) return;
  total = row_sum(total);
  if (i < rows && !threadIdx.x) penalty[i] = total;
}
"""

CUDA_PROX = r"""
// x = prox(w), r = sigma(z) - x; returns B(x, z)
template <typename T, typename A> __device__ inline T euclidean(const A& act, T w, T lam, T z, T& x, T& r) {
  x = act.prox(w, lam);
  const T s = act.sigma(z);
  r = s - x;
  return (T(0.5) * r + (z - s)) * r + (act.psi(x) - act.psi(s));
}
"""

CUDA_NEWTON = (
    f"enum : int {{ NEWTON_STEPS = {NEWTON_STEPS} }};\n"
    + r"""
__device__ inline float rounding(float) { return 1.1920929e-7f; }
__device__ inline double rounding(double) { return 2.220446049250313e-16; }

// x = sigma(p) with (1 - lam) sigma(p) + lam p = w, r = sigma(z) - x; returns B(x, z)
template <typename T, typename A> __device__ inline T euclidean(const A& act, T w, T lam, T z, T& x, T& r) {
  const T tolerance = T(4) * rounding(w);
  T p = act.start(w);
  for (int k = 0; k < NEWTON_STEPS; k++) {
    const T s = act.sigma(p);
    const T defect = (T(1) - lam) * s + lam * p - w;
    const T step = defect / ((T(1) - lam) * act.slope(p) + lam);
    if (step == step) p -= step;  // infinite w: p = w is the solution
    if (!(fabs(defect) > tolerance * (fabs(w) + fabs(s)))) break;
  }
  x = act.sigma(p);
  r = act.sigma(z) - x;
  return (p - z) * x - (act.phi(p) - act.phi(z));
}
"""
)

CUDA_DUAL = r"""
template <typename T, int V, typename A>
__global__ void xstep_dual(T* p, T* x, const T* z, const T* g, T* r, T* penalty, long long rows, long long width,
                           double omega, double a, double b) {
  const A act = {T(a), T(b)};
  const T keep = T(1 - omega);
  const long long i = blockIdx.x * (long long)blockDim.y + threadIdx.y;
  T total = T(0);
  if (i < rows)
    for (long long j = threadIdx.x * V; j < width; j += blockDim.x * V) {
      const long long at = i * width + j;
      const int n = neighbours<V>(j, width);
      const Pack<T, V> pz = load<T, V>(z + at, n), pg = load<T, V>(g + at, n);
      Pack<T, V> pp = load<T, V>(p + at, n), px = {}, pr = {};
      for (int k = 0; k < n; k++) {
        const T q = keep * pp.v[k] + T(omega) * (pz.v[k] - pg.v[k]);
        pp.v[k] = q;
        px.v[k] = act.sigma(q);
        pr.v[k] = act.sigma(pz.v[k]) - px.v[k];
        if (penalty) total += (q - pz.v[k]) * px.v[k] - (act.phi(q) - act.phi(pz.v[k]));
      }
      store<T, V>(p + at, pp, n);
      store<T, V>(x + at, px, n);
      store<T, V>(r + at, pr, n);
    }
  if (!penalty) return;
  total = row_sum(total);
  if (i < rows && !threadIdx.x) penalty[i] = total;
}
"""


def cuda_launch(act: Elementwise, kind: str, matrices: tuple[Array, ...], step: float, value: bool) -> Array:
    """Start the CUDA kernel `kind` on its matrices, with step tau or omega."""
    rows, width = matrices[0].shape
    v, T = cuda.vector(width, *matrices), cuda.CTYPES[matrices[0].dtype.name]
    penalty = empty((rows,), matrices[0]) if value else None
    name = f"{kind}<{T}, {v}, Act<{T}>>"
    shape = cuda.row_tiles(rows, width, v)
    sizes = (rows, width)
    cuda.launch(cuda_source(act.scalar), name, shape, *matrices, penalty, *sizes, step, act.a, act.b)
    return penalty


@cache
def cuda_source(scalar: Scalar) -> str:
    """Return the text of the CUDA kernels for an activation."""
    search = CUDA_SAFEGUARDED if scalar.start is None else CUDA_NEWTON
    solve = search if scalar.prox is None else CUDA_PROX
    return cuda.PRELUDE + scalar.cuda + solve + CUDA_EUCLIDEAN + CUDA_DUAL
