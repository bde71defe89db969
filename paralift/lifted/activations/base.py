"""What an activation is: a proximal map with its potential, its penalty and the steps that inference takes with it.

sigma = grad phi = prox of Psi, phi = (1/2|.|^2 + Psi)^*. All methods take two-dimensional arrays (rows, width); a row is a
sample, a token or a pixel. An activation that is not elementwise couples the entries of a row (softmax, layer
normalisation) or of a column (batch normalisation).

Sources: Wang & Benning, JMLR 24(232), 2023, section 2; Combettes & Pesquet, 2020, for the table of proximal activations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from paralift.kernels.arrays import Array, Work, namespace
from paralift.kernels.difference import formula, sum_columns


class NotMonotoneError(TypeError):
    """An activation that is no proximal map was used where a penalty is needed."""


@dataclass(frozen=True)
class Activation:
    """Base of all activations: the formulas, and the in-place work that stages call, written by the formulas.

    A subclass gives `sigma` and, where it has them, `phi`, `psi`, `prox` and `derivative`; it overrides the in-place
    methods where a fused kernel does the same in one pass over memory.
    """

    lipschitz: ClassVar[float] = 1.0
    """Lipschitz constant of sigma in the Euclidean norm; at most 1 whenever Psi is convex."""
    proximal: ClassVar[bool] = True
    """Whether sigma is the gradient of a convex phi (GELU and SiLU are not)."""
    projection: ClassVar[bool] = False
    """Whether sigma is a projection: Psi is 0 on the range of sigma and infinite elsewhere."""
    is_identity: ClassVar[bool] = False
    init_gain: ClassVar[float] = 1.0
    """Factor on the variance 1 / fan-in of initial weights before this activation; 2 for those that halve the variance."""
    couples_batch: ClassVar[bool] = False
    """Whether a sample's output depends on the other samples of its micro-batch."""

    def statistics(self, width: int) -> dict[str, Any]:
        """Return running statistics, arrays of shape (width,), that training tracks and evaluation uses; most have none."""
        return {}

    def track(self, z: Array, running: Any) -> None:
        """Move the running statistics towards those of `z`; only called where there are some."""
        raise NotImplementedError

    def evaluate(self, z: Array, offset: Array | None, x: Array, running: Any) -> None:
        """Do what `activate` does, by the running statistics; only called where there are some."""
        raise NotImplementedError

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError if a sample of `shape` cannot be activated; the shape itself never changes."""

    def sigma(self, z: Array) -> Array:
        """Return sigma(z), shape (rows, width)."""
        raise NotImplementedError

    def phi(self, z: Array) -> Array:
        """Return the potential phi(z) of each row, shape (rows,); its gradient is sigma."""
        raise self._no("phi")

    def psi(self, x: Array) -> Array:
        """Return Psi(x) of each row, shape (rows,); +inf outside its domain."""
        raise self._no("Psi")

    def derivative(self, z: Array, g: Array) -> Array:
        """Return sigma'(z) g, which only `backprop` and the `quadratic` penalty need."""
        raise self._no("derivative")

    def prox(self, w: Array, lam: float) -> Array:
        """Return prox_{lam Psi}(w) for 0 < lam <= 1, shape (rows, width): the Euclidean x-step."""
        raise self._no("prox")

    def penalty(self, x: Array, z: Array) -> Array:
        """Return B(x, z) = |x|^2/2 + Psi(x) + phi(z) - <x, z> of each row, shape (rows,)."""
        xp = namespace(z)
        return 0.5 * xp.sum(x * x, axis=1) + self.psi(x) + self.phi(z) - xp.sum(x * z, axis=1)

    def penalty_dual(self, p: Array, z: Array) -> Array:
        """Return B(sigma(p), z) = <p - z, sigma(p)> - phi(p) + phi(z) of each row; needs neither Psi nor a domain."""
        return namespace(z).sum((p - z) * self.sigma(p), axis=1) - self.phi(p) + self.phi(z)

    def activate(self, z: Array, offset: Array | None, x: Array) -> None:
        """Add `offset` (width,) to `z` in place and write sigma(z) into `x`, which may be `z` itself."""
        if offset is not None:
            z += offset
        x[...] = self.sigma(z)

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
        """Overwrite the pull `g` by the residual r = (sigma(z + s up g) - sigma(z - s down g)) / s.

        s = 1, or with ``relative`` = eps > 0, for each row, s = eps rms(z) / rms(g) (rms(z) = 1 where z = 0; rms(g) has a
        floor, below which r is lost to rounding). `column_sum` (width,), if given, receives the sum of r over the rows,
        or has it added if `accumulate`.
        """
        formula(self.sigma, z, g, up, down, relative, column_sum, accumulate)

    def pull_back(self, z: Array, g: Array, column_sum: Array | None = None, accumulate: bool = False) -> None:
        """Overwrite the pull `g` by sigma'(z) g, the residual of backpropagation."""
        g[...] = self.derivative(z, g)
        sum_columns(g, column_sum, accumulate)

    def bound_activate(self, z: Array, offset: Array | None, x: Array) -> Work:
        """Return `activate` as work on these arrays, which sweeps repeat for every batch."""
        return partial(self.activate, z, offset, x)

    def bound_train(self, z: Array, offset: Array | None, x: Array, running: Any) -> Work:
        """Return `activate` and `track` as work on these arrays; only called where there are running statistics."""
        activate = self.bound_activate(z, offset, x)

        def train() -> None:
            activate()
            self.track(z, running)

        return train

    def bound_difference(
        self, z: Array, g: Array, up: float, down: float, relative: float, column_sum: Array | None, accumulate: bool
    ) -> Work:
        """Return `difference` as work on these arrays."""
        return partial(self.difference, z, g, up, down, relative, column_sum, accumulate)

    def xstep(self, x: Array, z: Array, g: Array, tau: float, r: Array, value: bool = True) -> Array | None:
        """One Euclidean x-step in place; write r = sigma(z) - x; return B(x, z) of each row if `value` is wanted.

        x <- argmin_x B(x, z) + <g, x> + |x - x_old|^2 / (2 tau) = prox_{lam Psi}((x_old + tau (z - g)) / (1 + tau)),
        lam = tau / (1 + tau).
        """
        x[...] = self.prox((x + tau * (z - g)) / (1.0 + tau), tau / (1.0 + tau))
        r[...] = self.sigma(z) - x
        return self.penalty(x, z) if value else None

    def xstep_dual(
        self, p: Array, x: Array, z: Array, g: Array, omega: float, r: Array, value: bool = True
    ) -> Array | None:
        """One dual x-step in place: p <- (1 - omega) p + omega (z - g), x = sigma(p); r and return as in `xstep`."""
        p[...] = (1.0 - omega) * p + omega * (z - g)
        x[...] = self.sigma(p)
        r[...] = self.sigma(z) - x
        return self.penalty_dual(p, z) if value else None

    def _no(self, what: str) -> NotMonotoneError:
        name = type(self).__name__
        if self.proximal:
            return NotMonotoneError(f"{name} has no {what}: it is not defined or not known in closed form")
        return NotMonotoneError(
            f"{name} has no {what}: it is not monotone, so it is the gradient of no convex function and no proximal map; "
            "use it with methods that need sigma only (nudged, backprop), or take Softplus or ReLU instead"
        )
