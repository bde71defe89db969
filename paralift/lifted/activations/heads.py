"""Several activations side by side: the output of a network with several heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from paralift.kernels.arrays import Array, namespace
from paralift.lifted.activations.base import Activation


@dataclass(frozen=True, init=False, repr=False)
class Heads(Activation):
    """x = (sigma_1(z_1), sigma_2(z_2), ...), the last axis cut into the widths given: phi and Psi are sums over the parts.

    Parameters
    ----------
    *parts : pair of (Activation, int)
        Each with its width; for example ``Heads((Softmax(), 10), (Identity(), 4))``.

    Raises
    ------
    TypeError, ValueError
        If a part is no such pair, or couples samples (batch normalisation).
    """

    parts: tuple[tuple[Activation, int], ...]

    def __init__(self, *parts: tuple[Activation, int]) -> None:
        for part in parts:
            if not isinstance(part, tuple | list) or len(part) != 2 or not isinstance(part[0], Activation):
                raise TypeError(f"Heads: {part!r} was given, expected pairs of an activation and its width")
            if type(part[1]) is not int or part[1] < 1:
                raise ValueError(f"Heads: {part[0]!r} has width {part[1]!r}, expected a whole number of at least 1")
            if part[0].couples_batch:
                raise ValueError(f"Heads: {part[0]!r} couples samples, which a head cannot; put it into a block before")
        if not parts:
            raise ValueError("Heads: expected at least one pair of an activation and its width")
        object.__setattr__(self, "parts", tuple((a, n) for a, n in parts))

    def __repr__(self) -> str:
        return f"Heads({', '.join(map(repr, self.parts))})"

    @property
    def lipschitz(self) -> float:  # type: ignore[override]
        """The largest Lipschitz constant of the parts."""
        return max(float(a.lipschitz) for a, _ in self.parts)

    @property
    def proximal(self) -> bool:  # type: ignore[override]
        """Whether all parts are proximal maps."""
        return all(a.proximal for a, _ in self.parts)

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless the widths add up to the last axis."""
        total = sum(n for _, n in self.parts)
        if shape[-1] != total:
            raise ValueError(f"{self!r} has {total} outputs, its map gives {shape[-1]}")
        for activation, n in self.parts:
            activation.check((*shape[:-1], n))

    def cut(self) -> Iterator[tuple[Activation, slice]]:
        """Yield each part with its columns."""
        start = 0
        for activation, n in self.parts:
            yield activation, slice(start, start + n)
            start += n

    def sigma(self, z: Array) -> Array:
        """Return sigma of each part."""
        return self._side_by_side(z, lambda a, part: a.sigma(z[:, part]))

    def derivative(self, z: Array, g: Array) -> Array:
        """Return sigma'(z) g of each part."""
        return self._side_by_side(z, lambda a, part: a.derivative(z[:, part], g[:, part]))

    def prox(self, w: Array, lam: float) -> Array:
        """Return the prox of each part."""
        return self._side_by_side(w, lambda a, part: a.prox(w[:, part], lam))

    def phi(self, z: Array) -> Array:
        """Return the sum of the parts' phi of each row."""
        return sum(a.phi(z[:, part]) for a, part in self.cut())

    def psi(self, x: Array) -> Array:
        """Return the sum of the parts' Psi of each row."""
        return sum(a.psi(x[:, part]) for a, part in self.cut())

    def _side_by_side(self, z: Array, of: Callable[[Activation, slice], Any]) -> Array:
        out = namespace(z).empty_like(z)
        for activation, part in self.cut():
            out[:, part] = of(activation, part)
        return out
