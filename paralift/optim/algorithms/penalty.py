"""The penalty rho of ADMM, fixed or by the spectral rule: as long as functions look curved between two updates.

The update of x leaves a gradient g_i = -rho (x_i - z + u_i) of f_i at x_i; that of z leaves y_i = rho u_i, whose sum is a
subgradient of r at z. With D the difference to an earlier update,

    <Dx, Dg> / |Dx|^2  <=  |Dg|^2 / <Dx, Dg>

are the smallest and the largest curvature that explain what happened (Barzilai & Borwein); the rule takes the larger, or a
mixture where they are far apart. It trusts a curvature where Dx and Dg point the same way, and sets rho to the geometric mean
of the curvatures of f_i and of r, or to the one that it trusts. All of it is known to the rank.

References
----------
Xu, Taylor, Li, Figueiredo, Yuan & Goldstein, ICML 2017 (a penalty for each rank, and the bound on changes); Xu, Figueiredo &
Goldstein, AISTATS 2017 (the rule); Zhou, Gao & Dai, Comput. Optim. Appl. 35, 2006 (the mixture).
"""

from __future__ import annotations

import math

import numpy as np

from paralift.kernels.arrays import Array
from paralift.optim.algorithms.run import inner

EVERY = 2
"""Updates between two changes."""
TRUST = 0.2
"""The least cosine of Dx and Dg."""
CHANGE = 1e10
"""rho changes by a factor of at most 1 + CHANGE / k^2 at update k, so that the method converges as with a fixed one."""


class Penalty:
    """Rho of one rank.

    Parameters
    ----------
    rho : float
        The first one.
    spectral : bool
        Whether it changes.
    """

    def __init__(self, rho: float, spectral: bool) -> None:
        self.rho, self.spectral = rho, spectral
        self._before: tuple[Array, ...] = ()

    def update(self, k: int, x: Array, gradient: Array, z: Array, dual: Array) -> float:
        """Return rho after update k = 1, 2, ..., at which x_i, g_i, z and y_i are as given."""
        if not self.spectral or k % EVERY:
            return self.rho
        now = tuple(array.copy() for array in (x, gradient, z, dual))
        if self._before:
            dx, dg, dz, dy = (a - b for a, b in zip(now, self._before, strict=True))
            found = [c for c in (curvature(dx, dg), curvature(dz, dy)) if c is not None]
            if found:
                limit = 1.0 + CHANGE / k**2
                self.rho = float(np.clip(math.prod(found) ** (1 / len(found)), self.rho / limit, self.rho * limit))
        self._before = now
        return self.rho


def curvature(dx: Array, dg: Array) -> float | None:
    """Return the curvature of a convex function whose gradient changed by `dg` along `dx`, None if none is to be trusted."""
    both, far, steep = inner(dx, dg), inner(dx, dx), inner(dg, dg)
    if not both > TRUST * math.sqrt(far) * math.sqrt(steep):
        return None
    short, long = both / steep, far / both
    return 1.0 / (short if 2.0 * short > long else long - 0.5 * short)
