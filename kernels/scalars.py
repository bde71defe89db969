"""What the fused kernels know of an elementwise activation: a few functions of one number, for CPU and GPU.

Every function takes the two parameters `a` and `b` of its activation last (the slope of a leaky ReLU, the ends of
a clip; unused ones are 0), so that one compiled kernel serves all their values. `T = type(z)` makes literals of
the type of `z`, on the CPU as in CUDA: a literal of double precision would halve the speed of a float32 kernel.
They are registered with ``forceinline=True``: a call left inside a loop keeps the loop from being vectorised.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar, Protocol

from paralift.kernels.arrays import Array

Function = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Scalar:
    """An activation for kernels: plain Python functions, registered by ``numba.extending.register_jitable``.

    Attributes
    ----------
    name : str
        Part of file names on disk and of CUDA kernel names; unique.
    sigma : (z, a, b) -> float
        The activation.
    slope : (z, a, b) -> float, optional
        A derivative of sigma.
    phi : (z, a, b) -> float, optional
        The potential.
    psi : (x, a, b) -> float, optional
        Psi; needed where `prox` is given.
    prox : (w, lam, a, b) -> float, optional
        prox_{lam Psi}(w) in closed form. Without it the x-step solves (1 - lam) sigma(p) + lam p = w by
        Newton's method.
    start : (w, lam, a, b) -> float, optional
        The first p of Newton's method, from which it converges. Where `prox` and `start` are missing, steps are
        safeguarded.
    cuda : str
        A struct ``Act<T>`` with the same functions as ``__device__`` members.
    """

    name: str
    sigma: Function
    slope: Any = None
    phi: Any = None
    psi: Any = None
    prox: Any = None
    start: Any = None
    cuda: str = ""

    @cached_property
    def stamp(self) -> str:
        """A checksum of the sources that the functions come from: kernels on disk follow every change of them."""
        checksum = 0
        for file in sorted(_sources(self.sigma, set())):
            checksum = zlib.crc32(Path(file).read_bytes(), checksum)
        return f"{checksum:08x}"


def _sources(function: Function, found: set[str]) -> set[str]:
    """Return the file of `function` and the files of its own package that its module takes functions from."""
    found.add(function.__code__.co_filename)
    package = function.__globals__.get("__package__")
    for other in function.__globals__.values():
        if isinstance(other, FunctionType) and other.__globals__.get("__package__") == package:
            if other.__code__.co_filename not in found:
                _sources(other, found)
    return found


class Elementwise(Protocol):
    """What the dispatchers need of an activation."""

    scalar: ClassVar[Scalar]

    @property
    def a(self) -> float:
        """First parameter of the scalar functions."""

    @property
    def b(self) -> float:
        """Second parameter of the scalar functions."""

    def sigma(self, z: Array) -> Array:
        """Return sigma(z) for any array."""

    def derivative(self, z: Array, g: Array) -> Array:
        """Return sigma'(z) g for any array."""

    def prox(self, w: Array, lam: float) -> Array:
        """Return prox_{lam Psi}(w) for any array."""

    def penalty(self, x: Array, z: Array) -> Array:
        """Return B(x, z) of each row for any array."""

    def penalty_dual(self, p: Array, z: Array) -> Array:
        """Return B(sigma(p), z) of each row for any array."""
