"""Activations made of formulas: sigma and phi as texts, everything else derived from them.

| wanted | where it comes from |
|---|---|
| kernels for CPU and GPU | `paralift.kernels.generated` |
| sigma' | the chain rule |
| Psi(x) = sup_p <x, p> - phi(p) - x^2/2 | at the p with sigma(p) = x, by bisection, unless it is given |
| prox, x-steps | x = sigma(p), (1 - lam) sigma(p) + lam p = w, by safeguarded Newton steps, unless the prox is given |
| Lip(sigma) | the largest slope on a grid, unless it is given |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from paralift.kernels.algebra import FormulaError
from paralift.kernels.arrays import Array, from_host, namespace, to_host
from paralift.kernels.generated import Definition, scalar
from paralift.kernels.safeguarded import solve
from paralift.kernels.scalars import Scalar
from paralift.lifted.activations.base import NotMonotoneError
from paralift.lifted.activations.elementwise import Elementwise
from paralift.lifted.activations.scrutiny import check_formulas, largest_slope

FARTHEST = 1e8
"""Psi(x) is infinite where no p within this distance, times 1 + |x|, reaches sigma(p) = x."""


@dataclass(frozen=True, repr=False)
class Custom(Elementwise):
    """An activation made of formulas; see `activation`."""

    name: str
    definition: Definition
    a: float = 0.0  # type: ignore[assignment]
    b: float = 0.0  # type: ignore[assignment]
    gain: float = 1.0
    given_lipschitz: float | None = None

    def __repr__(self) -> str:
        texts = {name: getattr(self.definition, name) for name in ("sigma", "phi", "slope", "psi", "prox")}
        numbers = {"a": self.a or None, "b": self.b or None, "lipschitz": self.given_lipschitz}
        gain = {"gain": None if self.gain == 1.0 else self.gain}
        given = {k: v for k, v in {**texts, **numbers, **gain}.items() if v is not None}
        return f"activation({self.name!r}, {', '.join(f'{k}={v!r}' for k, v in given.items())})"

    @property
    def scalar(self) -> Scalar:  # type: ignore[override]
        """The generated scalar functions."""
        return scalar(self.definition)

    @property
    def init_gain(self) -> float:  # type: ignore[override]
        """Factor on the variance of initial weights before it."""
        return self.gain

    @cached_property
    def lipschitz(self) -> float:  # type: ignore[override]
        """Lip(sigma), as it was given or found on a grid; infinite where sigma jumps."""
        return largest_slope(self) if self.given_lipschitz is None else self.given_lipschitz

    @property
    def proximal(self) -> bool:  # type: ignore[override]
        """Whether there is a phi."""
        return self.definition.phi is not None

    def formula(self, name: str, variable: Array, **values: float) -> Array:
        """Return the values of a formula: "sigma", "slope", "phi", "psi" or "prox"."""
        if name not in self.definition.formulas:
            self._lacks(name)
        return self.definition.formulas[name](variable, a=self.a, b=self.b, **values)

    def sigma(self, z: Array) -> Array:
        """Return sigma of each entry."""
        return self.formula("sigma", z)

    def slope(self, z: Array) -> Array:
        """Return sigma' of each entry."""
        return self.formula("slope", z)

    def derivative(self, z: Array, g: Array) -> Array:
        """Return sigma'(z) g."""
        return self.slope(z) * g

    def phi(self, z: Array) -> Array:
        """Return the potential of each row."""
        return namespace(z).sum(self.formula("phi", z), axis=1)

    def psi(self, x: Array) -> Array:
        """Return Psi of each row; +inf outside its domain."""
        if "psi" in self.definition.formulas:
            return namespace(x).sum(self.formula("psi", x), axis=1)
        if not self.proximal:
            self._lacks("phi")
        found = self._conjugate(to_host(x).astype(np.float64)).sum(axis=1)
        return from_host(found.astype(str(x.dtype).rsplit(".", 1)[-1]), x)

    def prox(self, w: Array, lam: float) -> Array:
        """Return prox_{lam Psi}(w)."""
        self._check_continuous()
        if "prox" in self.definition.formulas:
            return self.formula("prox", w, lam=lam)
        return self.sigma(solve(self.sigma, self.slope, w, lam))

    def penalty(self, x: Array, z: Array) -> Array:
        """Return B(x, z) of each row."""
        if not self.proximal:
            self._lacks("phi")
        return super().penalty(x, z)

    def xstep(self, x: Array, z: Array, g: Array, tau: float, r: Array, value: bool = True) -> Array | None:
        """One Euclidean x-step in place; see `Activation.xstep`."""
        self._check_continuous()
        return super().xstep(x, z, g, tau, r, value)

    def xstep_dual(
        self, p: Array, x: Array, z: Array, g: Array, omega: float, r: Array, value: bool = True
    ) -> Array | None:
        """One dual x-step in place; see `Activation.xstep_dual`."""
        if not self.proximal:
            self._lacks("phi")
        return super().xstep_dual(p, x, z, g, omega, r, value)

    def _check_continuous(self) -> None:
        if not self.proximal:
            self._lacks("phi")
        if "prox" not in self.definition.formulas and not math.isfinite(self.lipschitz):
            raise NotMonotoneError(
                f"{self.name}: sigma jumps, so that its x-step is not known: give psi and prox, or use methods.nudged(beta=...)"
            )

    def _conjugate(self, x: np.ndarray) -> np.ndarray:
        """Return Psi of each entry by its definition."""
        reach = FARTHEST * (1.0 + np.abs(x))
        low, high = -np.ones_like(x), np.ones_like(x)
        for ends, short in ((low, lambda s: s > x), (high, lambda s: s < x)):
            while (grows := short(self.sigma(ends)) & (np.abs(ends) < reach)).any():
                ends[grows] *= 4.0
        inside = (self.sigma(low) <= x) & (self.sigma(high) >= x)
        while True:
            middle = low + 0.5 * (high - low)
            if ((middle <= low) | (middle >= high)).all():
                break
            below = self.sigma(middle) < x
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        values = [x * p - self.formula("phi", p) for p in (low, high)]
        return np.where(inside, np.maximum(*values) - 0.5 * x * x, math.inf)

    def _lacks(self, what: str) -> NoReturn:
        raise NotMonotoneError(
            f"{self.name} has no {what}: it was made without that formula; give it to pl.activation, or use methods that need "
            "sigma only (nudged, backprop)"
        )


def activation(
    name: str,
    sigma: str,
    phi: str | None = None,
    *,
    slope: str | None = None,
    psi: str | None = None,
    prox: str | None = None,
    a: float = 0.0,
    b: float = 0.0,
    lipschitz: float | None = None,
    gain: float = 1.0,
) -> Custom:
    """Return an activation made of formulas, with kernels for CPU and GPU, its penalty, and its x-steps.

    Formulas are texts of numbers, variables, the parameters a and b, pi, e, + - * / **, ``where(condition, u, v)`` or
    ``u if condition else v``, and abs, sign, sqrt, exp, expm1, log, log1p, sin, cos, tan, sinh, cosh, tanh, arctan, arcsinh,
    erf, floor, min, max, clip. They are read, never run, so that they may stand in configurations too.

    Parameters
    ----------
    name : str
        For people.
    sigma : str
        Of z; must not fall anywhere if there is a `phi`.
    phi : str, optional
        Of z: the potential, whose derivative is sigma. Without it there is no penalty: for methods that need sigma only.
    slope : str, optional
        Of z: sigma', where that which the chain rule gives is inexact for large z.
    psi : str, optional
        Of x: Psi(x), inf outside its domain; faster than the supremum that takes its place.
    prox : str, optional
        Of w and lam: prox_{lam Psi}(w) in closed form; needs `psi`.
    a, b : float
        Parameters: kernels are compiled once for all their values.
    lipschitz : float, optional
        Of sigma; by default the largest slope on a grid.
    gain : float
        Factor on the variance of the initial weights before it; 2 for those that halve the variance, such as ReLU.

    Raises
    ------
    FormulaError
        If a text is no formula, naming what is not known.
    ValueError
        If sigma falls, phi' is not sigma, or Psi and the prox do not belong to them: where, and by how much.

    Examples
    --------
    >>> activation("softsign", sigma="z / (1 + abs(z))", phi="abs(z) - log1p(abs(z))")
    """
    numbers: dict[str, Any] = {"a": a, "b": b, "gain": gain, **({} if lipschitz is None else {"lipschitz": lipschitz})}
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"activation {name!r}: {key} = {value!r} was given, expected a finite number")
    if gain <= 0 or (lipschitz is not None and lipschitz <= 0):
        raise ValueError(f"activation {name!r}: gain = {gain} and lipschitz = {lipschitz} were given, expected numbers above 0")
    if prox is not None and psi is None:
        raise ValueError(f"activation {name!r}: a prox was given without psi, which its penalty needs: give both or none")
    made = Custom(name, Definition(sigma, phi, slope, psi, prox), float(a), float(b), float(gain), lipschitz)
    try:
        made.definition.formulas  # noqa: B018 - reads them all
    except FormulaError as error:
        raise FormulaError(f"activation {name!r}: {error}") from None
    check_formulas(made)
    return made
