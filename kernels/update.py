"""Parameter updates: gradient descent, momentum and Adam, each fused with a separable proximal map.

A step is one pass over memory: parameter, gradient and optimiser states are read once and written once,
whatever the regulariser. All arrays of a call are one-dimensional, contiguous and of equal length and dtype
(float32 or float64); the coefficients that depend on the step alone are computed once a call in float64 and
then cast. Decay is subtracted: a factor 1 - rate * decay would be rounded in float32 by up to 3e-8, always
the same way, which is per cents of a small decay at every step.

| symbol | name here |
|---|---|
| theta | `parameter` |
| scale * gradient + decay * theta | d, the decayed gradient |
| eta | `rate`, also the step of the proximal map |
| v <- mu v + d | `velocity` |
| m <- beta1 m + (1 - beta1) d, s <- beta2 s + (1 - beta2) d^2 | `first`, `second` |

With a `forecast` a step is looked at, not taken: what theta would become is written there, and theta and all states stay as
they are. Passes of the unflushed wave read it (docs/method.md, section 8).

Sources: Polyak 1964 and Nesterov 1983 in the form of Sutskever et al., ICML 2013 (dampening none, as in
PyTorch); Kingma & Ba, ICLR 2015, algorithm 1; Loshchilov & Hutter, ICLR 2019, algorithm 2. The proximal map
follows the whole update with step eta; Adam's diagonal metric does not enter it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba.extending import register_jitable

from paralift.kernels import cuda
from paralift.kernels.arrays import Array, family, namespace
from paralift.kernels.jit import jit
from paralift.kernels.prox import CUDA as PROX_CUDA
from paralift.kernels.prox import KINDS, MAPS, NO_PROX, Prox, prox_formula, stamp


def proximal_formula(p: Array, prox: Prox) -> None:
    """Overwrite `p` by its proximal map."""
    p[...] = prox_formula(p, prox)


def sgd_formula(p: Array, g: Array, fade: float, step: float, prox: Prox) -> None:
    """Overwrite p by prox(p - (fade p + step g))."""
    p[...] = prox_formula(p - (fade * p + step * g), prox)


def momentum_formula(
    p: Array,
    g: Array,
    v: Array,
    mu: float,
    along: float,
    ahead: float,
    scale: float,
    decay: float,
    prox: Prox,
) -> None:
    """Do v <- mu v + d; p <- prox(p - along v - ahead d), d = scale g + decay p."""
    d = scale * g + decay * p
    v[...] = mu * v + d
    p[...] = prox_formula(p - along * v - ahead * d, prox)


def adam_formula(
    p: Array,
    g: Array,
    m: Array,
    s: Array,
    fade: float,
    step: float,
    eps: float,
    beta1: float,
    rest1: float,
    beta2: float,
    rest2: float,
    scale: float,
    decay: float,
    prox: Prox,
) -> None:
    """Do m <- beta1 m + rest1 d; s <- beta2 s + rest2 d^2; p <- prox(p - fade p - step m / (sqrt s + e))."""
    d = scale * g + decay * p
    m[...] = beta1 * m + rest1 * d
    s[...] = beta2 * s + rest2 * (d * d)
    p[...] = prox_formula(p - (fade * p + step * m / (namespace(p).sqrt(s) + eps)), prox)


def average_formula(h: Array, p: Array, decay: float, prox: Prox) -> None:
    """Overwrite h by p + decay (h - p)."""
    h[...] = p + decay * (h - p)


def forecast_formula(formula: Callable[..., None]) -> Callable[..., None]:
    """Return `formula` with one more array, which alone is written: it becomes what the first array would."""

    def forecast(*arguments: Any) -> None:
        p, g, *states, h = (a for a in arguments if not isinstance(a, float | Prox))
        coefficients = (a for a in arguments if isinstance(a, float))
        h[...] = p
        formula(h, g, *(namespace(s).asarray(s, copy=True) for s in states), *coefficients, arguments[-1])

    return forecast


FORMULAS: dict[str, Callable[..., None]] = {
    "proximal": proximal_formula,
    "average": average_formula,
    "sgd": sgd_formula,
    "momentum": momentum_formula,
    "adam": adam_formula,
    "sgd_forecast": forecast_formula(sgd_formula),
    "momentum_forecast": forecast_formula(momentum_formula),
    "adam_forecast": forecast_formula(adam_formula),
}


@register_jitable
def _momentum_entry(p, g, v, mu, along, ahead, scale, decay):
    d = scale * g + decay * p
    w = mu * v + d
    return p - along * w - ahead * d, w


@register_jitable
def _adam_entry(p, g, m, s, fade, step, eps, beta1, rest1, beta2, rest2, scale, decay):
    d = scale * g + decay * p
    mi = beta1 * m + rest1 * d
    si = beta2 * s + rest2 * (d * d)
    return p - (fade * p + step * mi / (np.sqrt(si) + eps)), mi, si


def _build_proximal(prox):
    def proximal(p, a, b):
        for i in range(p.shape[0]):
            p[i] = prox(p[i], a, b)
        return True

    return proximal


def _build_average(prox):
    def average(h, p, decay, a, b):
        if h.shape[0] != p.shape[0]:
            return False
        for i in range(p.shape[0]):
            h[i] = p[i] + decay * (h[i] - p[i])
        return True

    return average


def _build_sgd(prox):
    def sgd(p, g, fade, step, a, b):
        n = p.shape[0]
        if g.shape[0] != n:
            return False
        for i in range(n):
            p[i] = prox(p[i] - (fade * p[i] + step * g[i]), a, b)
        return True

    return sgd


def _build_sgd_forecast(prox):
    def sgd_forecast(p, g, h, fade, step, a, b):
        n = p.shape[0]
        if g.shape[0] != n or h.shape[0] != n:
            return False
        for i in range(n):
            h[i] = prox(p[i] - (fade * p[i] + step * g[i]), a, b)
        return True

    return sgd_forecast


def _build_momentum(prox):
    def momentum(p, g, v, mu, along, ahead, scale, decay, a, b):
        n = p.shape[0]
        if g.shape[0] != n or v.shape[0] != n:
            return False
        for i in range(n):
            new, v[i] = _momentum_entry(p[i], g[i], v[i], mu, along, ahead, scale, decay)
            p[i] = prox(new, a, b)
        return True

    return momentum


def _build_momentum_forecast(prox):
    def momentum_forecast(p, g, v, h, mu, along, ahead, scale, decay, a, b):
        n = p.shape[0]
        if g.shape[0] != n or v.shape[0] != n or h.shape[0] != n:
            return False
        for i in range(n):
            new, _ = _momentum_entry(p[i], g[i], v[i], mu, along, ahead, scale, decay)
            h[i] = prox(new, a, b)
        return True

    return momentum_forecast


def _build_adam(prox):
    def adam(p, g, m, s, fade, step, eps, beta1, rest1, beta2, rest2, scale, decay, a, b):
        n = p.shape[0]
        if g.shape[0] != n or m.shape[0] != n or s.shape[0] != n:
            return False
        for i in range(n):
            new, m[i], s[i] = _adam_entry(
                p[i], g[i], m[i], s[i], fade, step, eps, beta1, rest1, beta2, rest2, scale, decay
            )
            p[i] = prox(new, a, b)
        return True

    return adam


def _build_adam_forecast(prox):
    def adam_forecast(p, g, m, s, h, fade, step, eps, beta1, rest1, beta2, rest2, scale, decay, a, b):
        n = p.shape[0]
        if g.shape[0] != n or m.shape[0] != n or s.shape[0] != n or h.shape[0] != n:
            return False
        for i in range(n):
            new, _, _ = _adam_entry(
                p[i], g[i], m[i], s[i], fade, step, eps, beta1, rest1, beta2, rest2, scale, decay
            )
            h[i] = prox(new, a, b)
        return True

    return adam_forecast


_BUILDERS = {  # and how many arrays and how many numbers each kernel takes
    "proximal": (_build_proximal, 1, 2),
    "average": (_build_average, 2, 3),
    "sgd": (_build_sgd, 2, 4),
    "momentum": (_build_momentum, 3, 7),
    "adam": (_build_adam, 4, 11),
    "sgd_forecast": (_build_sgd_forecast, 3, 4),
    "momentum_forecast": (_build_momentum_forecast, 4, 7),
    "adam_forecast": (_build_adam_forecast, 5, 11),
}


@cache
def kernel(name: str, kind: str) -> Callable[..., bool]:
    """Return the Numba kernel `name` with the proximal map `kind`; the first call compiles it or loads it.

    It takes the arrays, the coefficients of the formula, then the two numbers of the proximal map, and
    returns whether the arrays are equally long; otherwise it has done nothing. Only contiguous arrays of one
    dtype are accepted: any other would compile to a loop that is not vectorised and runs many times slower.
    """
    build, n_arrays, n_numbers = _BUILDERS[name]
    compiled = jit(build(MAPS[kind]), kind, stamp())
    for dtype in ("f4", "f8"):
        compiled.compile("b1(" + ",".join([f"{dtype}[::1]"] * n_arrays + [dtype] * n_numbers) + ")")
    compiled.disable_compile()
    return compiled


CUDA = r"""
// Calls f on the entries e[0..N-1] of N arrays of length n, and writes all but e[1], the gradient, back; with LAST it writes
// the last one alone, and does not read it.
// Where all arrays lie equally far from a multiple of 16 bytes, packs of 16 bytes move; otherwise, and at the
// ends, single entries do.
template <typename T, bool LAST, int N, typename F> __device__ inline void walk(T* const (&x)[N], long long n, F f) {
  const long long first = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  const long long stride = gridDim.x * (long long)blockDim.x;
  const int V = 16 / sizeof(T), READ = LAST ? N - 1 : N;
  const unsigned long long offset = (unsigned long long)x[0] % 16;
  bool alike = true;
  for (int k = 1; k < N; k++) alike = alike && (unsigned long long)x[k] % 16 == offset;
  long long head = alike ? (long long)((16 - offset) % 16 / sizeof(T)) : n;
  if (head > n) head = n;
  const long long packs = (n - head) / V;
  for (long long i = first; i < packs; i += stride) {
    Pack<T, V> r[N];
#pragma unroll
    for (int k = 0; k < READ; k++) r[k] = load<T, V>(x[k] + head + i * V, V);
#pragma unroll
    for (int j = 0; j < V; j++) {
      T e[N];
#pragma unroll
      for (int k = 0; k < READ; k++) e[k] = r[k].v[j];
      f(e);
#pragma unroll
      for (int k = 0; k < N; k++) r[k].v[j] = e[k];
    }
#pragma unroll
    for (int k = 0; k < N; k++) if (LAST ? k == N - 1 : k != 1) store<T, V>(x[k] + head + i * V, r[k], V);
  }
  for (long long i = first; i < n - packs * V; i += stride) {
    const long long at = i < head ? i : i + packs * V;
    T e[N];
#pragma unroll
    for (int k = 0; k < READ; k++) e[k] = x[k][at];
    f(e);
#pragma unroll
    for (int k = 0; k < N; k++) if (LAST ? k == N - 1 : k != 1) x[k][at] = e[k];
  }
}

template <typename T, int KIND> __global__ void proximal(T* p, long long n, T a, T b) {
  T* const x[] = {p};
  walk<T, false>(x, n, [=](T* e) { e[0] = prox<T, KIND>(e[0], a, b); });
}

template <typename T, int KIND> __global__ void average(T* h, T* p, long long n, T decay, T a, T b) {
  T* const x[] = {h, p};
  walk<T, false>(x, n, [=](T* e) { e[0] = e[1] + decay * (e[0] - e[1]); });
}

template <typename T, int KIND>
__device__ inline void sgd_entry(T* e, T fade, T step, T a, T b) {
  e[0] = prox<T, KIND>(e[0] - (fade * e[0] + step * e[1]), a, b);
}

template <typename T, int KIND>
__device__ inline void momentum_entry(T* e, T mu, T along, T ahead, T scale, T decay, T a, T b) {
  const T d = scale * e[1] + decay * e[0];
  e[2] = mu * e[2] + d;
  e[0] = prox<T, KIND>(e[0] - along * e[2] - ahead * d, a, b);
}

template <typename T, int KIND>
__device__ inline void adam_entry(T* e, T fade, T step, T eps, T beta1, T rest1, T beta2, T rest2, T scale,
                                  T decay, T a, T b) {
  const T d = scale * e[1] + decay * e[0];
  e[2] = beta1 * e[2] + rest1 * d;
  e[3] = beta2 * e[3] + rest2 * (d * d);
  e[0] = prox<T, KIND>(e[0] - (fade * e[0] + step * e[2] / (sqrt(e[3]) + eps)), a, b);
}

template <typename T, int KIND> __global__ void sgd(T* p, T* g, long long n, T fade, T step, T a, T b) {
  T* const x[] = {p, g};
  walk<T, false>(x, n, [=](T* e) { sgd_entry<T, KIND>(e, fade, step, a, b); });
}

template <typename T, int KIND>
__global__ void sgd_forecast(T* p, T* g, T* h, long long n, T fade, T step, T a, T b) {
  T* const x[] = {p, g, h};
  walk<T, true>(x, n, [=](T* e) {
    sgd_entry<T, KIND>(e, fade, step, a, b);
    e[2] = e[0];
  });
}

template <typename T, int KIND>
__global__ void momentum(T* p, T* g, T* v, long long n, T mu, T along, T ahead, T scale, T decay, T a, T b) {
  T* const x[] = {p, g, v};
  walk<T, false>(x, n, [=](T* e) { momentum_entry<T, KIND>(e, mu, along, ahead, scale, decay, a, b); });
}

template <typename T, int KIND>
__global__ void momentum_forecast(T* p, T* g, T* v, T* h, long long n, T mu, T along, T ahead, T scale, T decay,
                                  T a, T b) {
  T* const x[] = {p, g, v, h};
  walk<T, true>(x, n, [=](T* e) {
    momentum_entry<T, KIND>(e, mu, along, ahead, scale, decay, a, b);
    e[3] = e[0];
  });
}

template <typename T, int KIND>
__global__ void adam(T* p, T* g, T* m, T* s, long long n, T fade, T step, T eps, T beta1, T rest1, T beta2,
                     T rest2, T scale, T decay, T a, T b) {
  T* const x[] = {p, g, m, s};
  walk<T, false>(x, n, [=](T* e) {
    adam_entry<T, KIND>(e, fade, step, eps, beta1, rest1, beta2, rest2, scale, decay, a, b);
  });
}

template <typename T, int KIND>
__global__ void adam_forecast(T* p, T* g, T* m, T* s, T* h, long long n, T fade, T step, T eps, T beta1, T rest1,
                              T beta2, T rest2, T scale, T decay, T a, T b) {
  T* const x[] = {p, g, m, s, h};
  walk<T, true>(x, n, [=](T* e) {
    adam_entry<T, KIND>(e, fade, step, eps, beta1, rest1, beta2, rest2, scale, decay, a, b);
    e[4] = e[0];
  });
}
"""


SOURCE = cuda.PRELUDE + PROX_CUDA + CUDA


def cuda_launch(name: str, arrays: tuple[Array, ...], coefficients: tuple[float, ...], prox: Prox) -> None:
    """Start the CUDA kernel `name` on CuPy arrays, with the coefficients of the formula."""
    n, T = arrays[0].shape[0], arrays[0].dtype.type
    blocks = min(-(-n // (cuda.THREADS * 16 // arrays[0].dtype.itemsize)), cuda.BLOCKS)
    shape = cuda.Tiles((blocks, 1), (cuda.THREADS, 1), 1)
    instance = f"{name}<{cuda.CTYPES[arrays[0].dtype.name]}, {KINDS.index(prox.kind)}>"
    numbers = (T(value) for value in (*coefficients, prox.a, prox.b))
    cuda.launch(SOURCE, instance, shape, *arrays, n, *numbers)


def proximal(parameter: Array, prox: Prox) -> None:
    """Overwrite `parameter` (n,) by its proximal map.

    Raises
    ------
    TypeError, ValueError
        As :func:`sgd`.
    """
    _run("proximal", (parameter,), (), prox)


def average(averaged: Array, parameter: Array, decay: float) -> None:
    """Overwrite `averaged` (n,) by decay averaged + (1 - decay) parameter.

    Raises
    ------
    TypeError, ValueError
        As :func:`sgd`.
    """
    _run("average", (averaged, parameter), (float(decay),), NO_PROX)


def sgd(
    parameter: Array,
    gradient: Array,
    rate: float,
    decay: float = 0.0,
    scale: float = 1.0,
    prox: Prox = NO_PROX,
    forecast: Array | None = None,
) -> None:
    """Do theta <- prox(theta - rate d), d = scale gradient + decay theta, in place.

    Parameters
    ----------
    parameter, gradient : (n,) float32 or float64, contiguous
    rate : float
        Step size eta.
    decay : float
        Weight decay, added to the gradient (L2).
    scale : float
        Factor of the gradient, such as 1 / (batch * beta).
    prox : Prox
        Proximal map of the result, its step already inside.
    forecast : (n,), optional
        Written instead of all others: what `parameter` would become.

    Raises
    ------
    TypeError
        If an array is not one-dimensional, contiguous, writable, or of the dtype of the others.
    ValueError
        If the arrays differ in length.
    """
    _step("sgd", (parameter, gradient), (rate * decay, rate * scale), prox, forecast)


def momentum(
    parameter: Array,
    gradient: Array,
    velocity: Array,
    rate: float,
    mu: float,
    nesterov: bool = False,
    decay: float = 0.0,
    scale: float = 1.0,
    prox: Prox = NO_PROX,
    forecast: Array | None = None,
) -> None:
    """Do velocity <- mu velocity + d; theta <- prox(theta - rate u), in place.

    u is the velocity, or d + mu velocity if `nesterov`. The rest is as in :func:`sgd`; `velocity` is zero
    before the first step.
    """
    along, ahead = (rate * mu, rate) if nesterov else (rate, 0.0)
    arrays = (parameter, gradient, velocity)
    _step("momentum", arrays, (mu, along, ahead, scale, decay), prox, forecast)


def adam(
    parameter: Array,
    gradient: Array,
    first: Array,
    second: Array,
    rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    t: int = 1,
    decay: float = 0.0,
    decoupled: bool = False,
    scale: float = 1.0,
    prox: Prox = NO_PROX,
    forecast: Array | None = None,
) -> None:
    """Take step `t` (from 1) of Adam in place; with `decoupled` weight decay of AdamW.

    theta <- prox(theta - rate m^ / (sqrt(s^) + eps)), m^ = m / (1 - beta1^t), s^ = s / (1 - beta2^t). The
    decay is part of d, or, if `decoupled`, theta fades by rate decay theta instead. The arrays (`first` and
    `second` are zero before the first step) and the errors are those of :func:`sgd`; ValueError also for
    t < 1.
    """
    if t < 1:
        raise ValueError(f"t = {t} was given, expected the number of this step, counted from 1")
    root = math.sqrt(1.0 - beta2**t)
    step = rate * root / (1.0 - beta1**t)  # both bias corrections, and eps scaled to match
    fade, coupled = (rate * decay, 0.0) if decoupled else (0.0, decay)
    coefficients = (fade, step, eps * root, beta1, 1.0 - beta1, beta2, 1.0 - beta2, scale, coupled)
    _step("adam", (parameter, gradient, first, second), coefficients, prox, forecast)


def _step(
    name: str, arrays: tuple[Array, ...], coefficients: tuple[float, ...], prox: Prox, forecast: Array | None
) -> None:
    """Take a rule's step, or look at it."""
    if forecast is None:
        _run(name, arrays, coefficients, prox)
    else:
        _run(f"{name}_forecast", (*arrays, forecast), coefficients, prox)


def _run(name: str, arrays: tuple[Array, ...], coefficients: tuple[float, ...], prox: Prox) -> None:
    kind = family(arrays[0])
    if kind == "numpy":
        try:
            fits = kernel(name, prox.kind)(*arrays, *coefficients, prox.a, prox.b)
        except TypeError as error:
            raise TypeError(_misfit(name, arrays)) from error
        if not fits:
            raise ValueError(_misfit(name, arrays))
        return
    if any(x.shape != arrays[0].shape for x in arrays):
        raise ValueError(_misfit(name, arrays))
    if any(x.dtype != arrays[0].dtype for x in arrays):
        raise TypeError(_misfit(name, arrays))
    if kind == "cupy" and cuda.suits(*arrays):
        cuda_launch(name, arrays, coefficients, prox)
    else:
        FORMULAS[name](*arrays, *coefficients, prox)


def _misfit(name: str, arrays: tuple[Array, ...]) -> str:
    given = ", ".join(
        f"{type(x).__name__} {getattr(x, 'dtype', '')}{getattr(x, 'shape', '')}" for x in arrays
    )
    return (
        f"{name}: the arrays {given} were given, expected one-dimensional contiguous writable arrays "
        "of one length, all float32 or all float64: pass flat views, reshape(-1) of contiguous arrays"
    )
