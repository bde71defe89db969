"""Do the formulas of an activation belong together? Looked at on a grid, with errors that say where they do not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

WIDEST, POINTS = 30.0, 1201
"""The grid: so far to both sides of 0, so many points."""
ROUNDING = 1e-9
"""Share of a number that rounding may take, generously."""
FAR = (-1e4, -100.0, 100.0, 1e4)
"""Points at which nothing may be undefined, in single precision either."""
JUMP = 1e4
"""Largest slope of a sigma that counts as continuous."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(6)
CUTS = (0.382, 0.7)
"""Where pieces are cut to see whether quadrature is exact: not in the middle, about which a jump may be symmetric."""
LAMS = (0.1, 0.5, 0.9)


def grid() -> np.ndarray:
    """Return the points of the grid as a column, rather closer together near 0."""
    t = np.linspace(-1.0, 1.0, POINTS)
    return (WIDEST * (0.3 * t + 0.7 * t**3))[:, None]


def check_formulas(act: Any) -> None:
    """Raise ValueError where formulas of `act`, a `Custom` activation, contradict each other."""
    z = grid()
    s = act.sigma(z)
    _check_defined(act, z)
    if not act.proximal:
        return
    _check_rising(act, z, s)
    _check_potential(act, z, s)
    given = act.definition.formulas
    if "psi" in given:
        _check_psi(act, z, s)
    if "prox" in given:
        _check_prox(act, z, s)


def largest_slope(act: Any) -> float:
    """Return the largest slope of sigma on the grid, infinite where it jumps."""
    z = grid()
    s, slope = act.sigma(z), np.abs(act.slope(z))
    ratio = np.abs(np.diff(s, axis=0)) / np.diff(z, axis=0)
    for k in np.argsort(-ratio[:, 0])[:8]:  # the steepest pieces, more closely: a jump grows steeper, a slope does not
        ratio[k] = max(ratio[k, 0], _steepness(act, z[k, 0], z[k + 1, 0]))
    steepest = max(float(ratio.max()), float(np.nanmax(slope)))
    return math.inf if steepest > JUMP else max(steepest, 1e-6)


def _steepness(act: Any, low: float, high: float) -> float:
    """Return the steepest slope that six refinements, each of the steepest part, find between two points."""
    found = 0.0
    for _ in range(6):  # more would see rounding errors
        z = np.linspace(low, high, 9)[:, None]
        ratio = np.abs(np.diff(act.sigma(z), axis=0)[:, 0]) / np.diff(z, axis=0)[:, 0]
        k = int(np.argmax(ratio))
        found, low, high = max(found, float(ratio[k])), z[k, 0], z[k + 1, 0]
    return found


def _check_defined(act: Any, z: np.ndarray) -> None:
    names = ["sigma", "slope", *(["phi"] if act.proximal else [])]
    for name in names:
        for dtype in (np.float64, np.float32):
            at = np.concatenate([z, np.array(FAR)[:, None]]).astype(dtype)
            values = act.formula(name, at)
            bad = np.isnan(values) | (~np.isfinite(values) & (np.abs(at) <= WIDEST))
            if bad.any():
                k = int(np.flatnonzero(bad)[0])
                raise ValueError(
                    f"activation {act.name!r}: {name} is {values[k, 0]} at z = {at[k, 0]:.6g} in {np.dtype(dtype).name}: write "
                    "the formula so that nothing overflows, for example log1p(exp(-abs(z))) + max(z, 0) for log(1 + exp(z))"
                    + (", or give slope" if name == "slope" else "")
                )


def _check_rising(act: Any, z: np.ndarray, s: np.ndarray) -> None:
    falls = np.diff(s, axis=0)[:, 0] < -ROUNDING * (1.0 + np.abs(s[1:, 0]))
    if falls.any():
        k = int(np.flatnonzero(falls)[0])
        raise ValueError(
            f"activation {act.name!r}: sigma falls from {s[k, 0]:.6g} at z = {z[k, 0]:.6g} to {s[k + 1, 0]:.6g} at "
            f"{z[k + 1, 0]:.6g}, but phi was given: what falls is the gradient of no convex function. Leave phi out to use it "
            "where sigma alone is needed"
        )


def _check_potential(act: Any, z: np.ndarray, s: np.ndarray) -> None:
    """Check that phi rises between neighbours by the integral of sigma, to what quadrature tells or else to bounds."""
    phi = act.formula("phi", z)[:, 0]
    low, high = z[:-1, 0], z[1:, 0]
    rise, width = np.diff(phi), high - low
    nodes = 0.5 * (low + high)[:, None] + 0.5 * width[:, None] * NODES
    integral = 0.5 * width * (act.sigma(nodes) @ WEIGHTS)
    slack = ROUNDING * (1.0 + np.abs(phi[1:]) + np.abs(phi[:-1])) * 10
    least, most = s[:-1, 0] * width, s[1:, 0] * width
    parts = [_in_two(act, low, high, share) for share in CUTS]
    smooth = np.all([np.abs(found - integral) <= slack for found in parts], axis=0)  # neither a kink nor a jump inside
    wrong = np.where(smooth, np.abs(rise - integral) > 4 * slack, (rise < least - slack) | (rise > most + slack))
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"activation {act.name!r}: phi rises by {rise[k]:.9g} from z = {low[k]:.6g} to {high[k]:.6g}, where the integral "
            f"of sigma is {integral[k]:.9g}: phi is the function of z whose derivative is sigma"
        )


def _in_two(act: Any, low: np.ndarray, high: np.ndarray, share: float) -> np.ndarray:
    """Return the integral of sigma over each piece as the sum over its two parts."""
    middle, total = low + share * (high - low), np.zeros_like(low)
    for a, b in ((low, middle), (middle, high)):
        nodes = 0.5 * (a + b)[:, None] + 0.5 * (b - a)[:, None] * NODES
        total += 0.5 * (b - a) * (act.sigma(nodes) @ WEIGHTS)
    return total


def _check_psi(act: Any, z: np.ndarray, s: np.ndarray) -> None:
    """Check Fenchel's equality: |s|^2/2 + Psi(s) + phi(z) = s z at s = sigma(z)."""
    phi, psi = act.formula("phi", z)[:, 0], act.formula("psi", s)[:, 0]
    expected = s[:, 0] * z[:, 0] - phi - 0.5 * s[:, 0] ** 2
    slack = 100 * ROUNDING * (1.0 + np.abs(phi) + z[:, 0] ** 2)
    wrong = ~(np.abs(psi - expected) <= slack) & (np.abs(z[:, 0]) < 10)  # further out sigma(z) is rounded to an end
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"activation {act.name!r}: psi is {psi[k]:.9g} at x = sigma({z[k, 0]:.6g}) = {s[k, 0]:.6g}, where "
            f"x z - phi(z) - x^2/2 is {expected[k]:.9g}: psi is the Psi whose prox sigma is, without x^2/2"
        )


def _check_prox(act: Any, z: np.ndarray, s: np.ndarray) -> None:
    """Check that the prox of lam Psi at (1 - lam) sigma(z) + lam z is sigma(z)."""
    if not math.isfinite(act.lipschitz):
        return
    for lam in LAMS:
        w = (1.0 - lam) * s + lam * z
        x = act.formula("prox", w, lam=lam)
        wrong = ~(np.abs(x - s) <= 1e3 * ROUNDING * (1.0 + np.abs(s)))[:, 0]
        if wrong.any():
            k = int(np.flatnonzero(wrong)[0])
            raise ValueError(
                f"activation {act.name!r}: prox is {x[k, 0]:.9g} at w = {w[k, 0]:.6g}, lam = {lam}, expected "
                f"sigma({z[k, 0]:.6g}) = {s[k, 0]:.9g}"
            )
