"""Checks for pieces of one's own: what the library relies on in an activation, a map, a penalty and an update rule.

Each check tries random arrays of double precision and raises `CheckError`, which says what does not hold, where and by how
much; that nothing is raised is no proof. See docs/extend.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from paralift.lifted.activations.base import Activation
from paralift.lifted.maps.base import Map, Shape
from paralift.lifted.penalties import Penalty
from paralift.optim.rules import Rule

__all__ = ["CheckError", "check_activation", "check_map", "check_penalty", "check_rule"]

STEP, CLOSE = 1e-5, 1e-6
"""Step of central differences, and what they and products may be off, as a share."""


class CheckError(AssertionError):
    """Something that the library relies on does not hold."""


def check_activation(activation: Activation, width: int = 5, scale: float = 3.0, seed: int = 0) -> None:
    """Raise CheckError unless `activation` is a proximal map whose formulas and in-place work agree.

    Parameters
    ----------
    activation : Activation
    width : int
        Of its rows.
    scale : float
        Standard deviation of the z that are tried.
    seed : int
    """
    what = repr(activation)
    rng = np.random.default_rng(seed)
    z, g, q = (scale * rng.standard_normal((40, width)) for _ in range(3))
    x, r, total = np.empty_like(z), 0.3 * g, np.zeros(width)
    activation.activate(z.copy(), None, x)
    _same(f"{what}: activate and sigma", x, activation.sigma(z))
    activation.difference(z, r, 0.5, 0.5, 0.0, total)
    expected = activation.sigma(z + 0.15 * g) - activation.sigma(z - 0.15 * g)
    _same(f"{what}: difference and sigma(z + g/2) - sigma(z - g/2)", r, expected)
    _same(f"{what}: the column sum of difference and that of r", total, r.sum(axis=0), np.abs(r).sum())
    if not activation.proximal:
        return
    s, other = activation.sigma(z), activation.sigma(q)
    size = np.abs(activation.phi(z)) + np.sum(s * s + z * z, axis=1)
    _not_below(f"{what}: <sigma(z) - sigma(q), z - q>", np.sum((s - other) * (z - q), axis=1), 0.0, size)
    rise = activation.phi(q) - activation.phi(z) - np.sum(s * (q - z), axis=1)
    _not_below(f"{what}: phi(q) - phi(z) - <sigma(z), q - z>", rise, 0.0, size + np.sum(q * q, axis=1))
    if math.isfinite(activation.lipschitz):
        slope = _along(activation.phi, z, g)
        _same(f"{what}: the derivative of phi along g and <sigma(z), g>", slope, np.sum(s * g, axis=1), size, 1e3 * CLOSE)
    for p in (z, q):
        dual = activation.penalty_dual(p, z)
        _same(f"{what}: B(sigma(p), z) in its two forms", activation.penalty(activation.sigma(p), z), dual, size)
    _not_below(f"{what}: B(sigma(q), z)", activation.penalty(other, z), 0.0, size)
    if math.isfinite(activation.lipschitz):
        _check_xstep(activation, z, 0.3 * g, other)


def _check_xstep(activation: Activation, z: np.ndarray, g: np.ndarray, start: np.ndarray) -> None:
    """Check that the x-step reaches the least value of its objective among points of the range beside it."""
    what, tau = repr(activation), 0.7
    x, r = start.copy(), np.empty_like(z)
    value = activation.xstep(x, z, g, tau, r)

    def objective(y: np.ndarray) -> np.ndarray:
        return activation.penalty(y, z) + np.sum(g * y, axis=1) + np.sum((y - start) ** 2, axis=1) / (2.0 * tau)

    size = np.sum(z * z + start * start, axis=1) + np.abs(objective(x))
    _same(f"{what}: the penalty that xstep returns and B(x, z)", np.asarray(value), activation.penalty(x, z), size)
    _same(f"{what}: the residual of xstep and sigma(z) - x", r, activation.sigma(z) - x)
    for share in (1.0, 0.1, 1e-3):
        beside = objective((1.0 - share) * x + share * activation.sigma(z - g)) - objective(x)
        _not_below(f"{what}: the objective {share:g} of the way from the x-step to sigma(z - g), less there", beside, 0.0, size)


def check_map(map_: Map, *shapes: Shape, samples: int = 3, seed: int = 0) -> None:
    """Raise CheckError unless `map_` is linear where it must be, and its products are each other's adjoints.

    Parameters
    ----------
    map_ : Map
    *shapes : tuple of int
        Of a sample of each parent.
    samples, seed : int
    """
    rng = np.random.default_rng(seed)
    what, shape = repr(map_), map_.output_shape(*shapes)
    declared = map_.parameters()
    start = map_.init(rng, 1.0)
    if {k: np.shape(v) for k, v in start.items()} != declared:
        raise CheckError(f"{what}: init gives {({k: np.shape(v) for k, v in start.items()})}, parameters declares {declared}")
    if map_.offset is not None and declared.get(map_.offset) != shape[-1:]:
        raise CheckError(f"{what}: the offset {map_.offset!r} has shape {declared.get(map_.offset)}, expected {shape[-1:]}")
    theta = {k: rng.standard_normal(s) for k, s in declared.items()}
    xs = [rng.standard_normal((samples, *s)) for s in shapes]
    r = rng.standard_normal((samples, *shape))

    def apply(theta: Any, xs: Any) -> np.ndarray:
        out = np.full((samples, *shape), np.nan)
        map_.apply(theta, xs, out)
        return out

    z = apply(theta, xs)
    if not np.isfinite(z).all():
        raise CheckError(f"{what}: apply left {np.count_nonzero(~np.isfinite(z))} of {z.size} numbers unwritten or NaN")
    for k, s in enumerate(shapes):
        moved, zero = [*xs], [*xs]
        moved[k], zero[k] = rng.standard_normal((samples, *s)), np.zeros((samples, *s))
        constant = apply(theta, zero)
        both = [*xs]
        both[k] = xs[k] + 2.0 * moved[k]
        expected = z + 2.0 * (apply(theta, moved) - constant)
        _same(f"{what}: apply at x + 2 y and its values at x, y, 0 (affine in parent {k}?)", apply(theta, both), expected)
        pull = np.full((samples, *s), np.nan)
        map_.adjoint(theta, xs, r.copy(), k, pull)
        left, right = np.sum((apply(theta, moved) - constant) * r), np.sum(moved[k] * pull)
        _same(f"{what}: <A x, r> and <x, A^T r> for parent {k}", left, right, np.abs(pull).sum())
    gradient = {k: np.full(s, np.nan) for k, s in declared.items() if k != map_.offset}
    map_.gradient(xs, r.copy(), gradient)
    for name in gradient:
        changed = {**theta, name: rng.standard_normal(declared[name])}
        cleared = {**theta, name: np.zeros(declared[name])}
        left, right = np.sum((apply(changed, xs) - apply(cleared, xs)) * r), np.sum(changed[name] * gradient[name])
        _same(f"{what}: <dz/d{name} v, r> and <v, gradient>", left, right, np.abs(gradient[name]).sum())
        summed = {**theta, name: theta[name] + changed[name]}
        expected = z + apply(changed, xs) - apply(cleared, xs)
        _same(f"{what}: apply at theta + v and its values at theta, v, 0 (affine in {name}?)", apply(summed, xs), expected)


def check_penalty(penalty: Penalty, activation: Activation, width: int = 4, scale: float = 2.0, seed: int = 0) -> None:
    """Raise CheckError unless the value, the gradient and the x-step of `penalty` belong together with `activation`."""
    rng = np.random.default_rng(seed)
    z, g, q, v = (scale * rng.standard_normal((40, width)) for _ in range(4))
    x, tau, what = activation.sigma(q), 0.6, repr(penalty)
    size = np.sum(z * z + x * x, axis=1)
    _not_below(f"{what}: its value", penalty.value(activation, x, z), 0.0, size)
    slope = _along(lambda z: penalty.value(activation, x, z), z, v)
    expected = np.sum(penalty.gradient(activation, x, z) * v, axis=1)
    _same(f"{what}: the derivative of the value along v and <gradient, v>", slope, expected, size, 1e3 * CLOSE)

    def objective(y: np.ndarray) -> np.ndarray:
        return penalty.value(activation, y, z) + np.sum(g * y, axis=1) + np.sum((y - x) ** 2, axis=1) / (2.0 * tau)

    y = penalty.step(activation, x.copy(), z, g, tau)
    for share in (1.0, 0.1, 1e-3):
        for other in (activation.sigma(z), activation.sigma(z - g), x):
            beside = objective((1.0 - share) * y + share * other) - objective(y)
            _not_below(f"{what}: the objective {share:g} of the way from the step to elsewhere, less there", beside, 0.0, size)


def check_rule(rule: Rule, steps: int = 5, seed: int = 0) -> None:
    """Raise CheckError unless `rule` treats entries alone, forecasts its steps without taking them, and goes down at first.

    Parameters
    ----------
    rule : Rule
    steps, seed : int
    """
    rng = np.random.default_rng(seed)
    n, what = 12, repr(rule)
    start, gradients = rng.standard_normal(n), rng.standard_normal((steps, n))
    whole, parts = start.copy(), start.copy()
    states, halves = rule.init(whole), [rule.init(parts[:5]), rule.init(parts[5:])]
    forecast = np.empty(n)
    for t, d in enumerate(gradients, start=1):
        before = {"parameters": whole.copy(), **{name: state.copy() for name, state in states.items()}}
        rule.step(whole, d.copy(), states, [(0, n, (n,))], t, steps, 1.0, forecast)
        for name, now in {"parameters": whole, **states}.items():
            _same(f"{what}: {name} before and after a forecast, step {t}", now, before[name], share=0.0)
        rule.step(whole, d.copy(), states, [(0, n, (n,))], t, steps, 1.0)
        for part, state in zip((slice(5), slice(5, n)), halves, strict=True):
            size = part.indices(n)[1] - part.indices(n)[0]
            rule.step(parts[part], d[part].copy(), state, [(0, size, (size,))], t, steps, 1.0)
        if not np.isfinite(whole).all():
            raise CheckError(f"{what}: step {t} made a parameter of {whole}")
        _same(f"{what}: parameters moved whole and in two parts, step {t} (entries mixed?)", whole, parts)
        _same(f"{what}: the forecast and the step, step {t}", forecast, whole)
    first = start.copy()
    rule.step(first, 2.0 * start, rule.init(first), [(0, n, (n,))], 1, steps, 1e-3)
    if not np.sum((first - start) * start) < 0.0:
        raise CheckError(f"{what}: the first step does not go against the gradient: it lowers no |p|^2")


def _along(f: Callable[[np.ndarray], np.ndarray], z: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the derivative of the rows' `f` along `v` by a central difference."""
    return (f(z + STEP * v) - f(z - STEP * v)) / (2.0 * STEP)


def _same(what: str, found: Any, expected: Any, size: Any = 0.0, share: float = CLOSE) -> None:
    off = np.abs(np.asarray(found) - np.asarray(expected))
    allowed = share * (1.0 + np.abs(np.asarray(expected)) + size)
    if not (off <= allowed).all():
        k = int(np.argmax(np.where(off <= allowed, -1.0, np.nan_to_num(off, nan=np.inf))))
        pair = (np.ravel(np.broadcast_to(a, off.shape))[k] for a in (found, expected))
        raise CheckError(f"{what} differ: {' and '.join(f'{p:.9g}' for p in pair)}, entry {np.unravel_index(k, off.shape)}")


def _not_below(what: str, found: np.ndarray, least: float, size: np.ndarray) -> None:
    short = ~(found >= least - CLOSE * (1.0 + size))
    if short.any():
        k = int(np.flatnonzero(short)[0])
        raise CheckError(f"{what} is {found[k]:.6g} in row {k}, expected at least {least:g}")
