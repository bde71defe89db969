"""The fused kernels that are measured, each with its arrays, the bytes it has to move, and the same as a whole-array formula."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from paralift.kernels import bias_activation, difference, update, xstep
from paralift.kernels.arrays import Array
from paralift.kernels.prox import NO_PROX, Prox
from paralift.lifted.activations import ReLU, Sigmoid, Softplus, Tanh

STEP = 0.5
"""tau and omega of the x-steps."""
ADAM = (1e-3, 0.9, 0.999, 1e-8, 10)
"""Rate, both betas, eps and the number of the step."""


@dataclass(frozen=True)
class Case:
    """One kernel on arrays of one type.

    Attributes
    ----------
    family, variant : str
        The kernel, and the activation or the proximal map.
    dtype : str
    n_bytes : int
        Each input read once, each output written once; offsets and sums of one row are left out.
    run, formula : callable
        The kernel, and the same by whole-array operations.
    prepare : callable
        Puts the arrays that a run has overwritten back; not timed.
    """

    family: str
    variant: str
    dtype: str
    n_bytes: int
    run: Callable[[], Any]
    formula: Callable[[], Any]
    prepare: Callable[[], None]


class Arrays:
    """Work arrays of one size, made once; what kernels overwrite is put back from a pattern of random numbers."""

    def __init__(self, xp: ModuleType, shape: tuple[int, int], dtype: str, count: int = 5) -> None:
        self.xp, self.shape, self.dtype = xp, shape, dtype
        rng = np.random.default_rng(0)
        self.pattern = xp.asarray(rng.standard_normal(shape, np.float32).astype(dtype))
        self.work = [xp.array(self.pattern) for _ in range(count)]
        self.spare = xp.array(self.pattern)
        self.row = xp.asarray(rng.standard_normal(shape[1]).astype(dtype))
        self.sums = xp.zeros(shape[1], dtype)
        self.n_bytes = int(self.pattern.nbytes)

    def take(self, *shifts: int | None) -> list[Array]:
        """Return work arrays; `shifts` roll the pattern, so that no two are equal, None leaves an output as it is."""
        return [self._fill(k, shift) for k, shift in enumerate(shifts)]

    def _fill(self, k: int, shift: int | None) -> Array:
        if shift is not None:
            rows = shift % self.shape[0]
            self.work[k][rows:] = self.pattern[: self.shape[0] - rows]
            self.work[k][:rows] = self.pattern[self.shape[0] - rows :]
        return self.work[k]

    def copy(self) -> None:
        """Copy one array onto another: the yardstick."""
        self.xp.copyto(self.spare, self.pattern)


def cases(arrays: Arrays) -> list[Case]:
    """Return all cases on `arrays`."""
    return [*_steps_of(arrays), *_updates(arrays)]


def _steps_of(arrays: Arrays) -> list[Case]:
    found = []
    for act in (ReLU(), Tanh(), Sigmoid(), Softplus()):
        for build in (_bias_activation, _difference, _xstep, _xstep_dual):
            found.append(build(arrays, act))
    return found


def _bias_activation(arrays: Arrays, act: Any) -> Case:
    z, x = arrays.take(1, None)

    def prepare() -> None:
        arrays.take(1, None)

    def run() -> None:
        bias_activation.bias_activation(act, z, arrays.row, x)

    def formula() -> None:
        bias_activation.formula(act.sigma, z, arrays.row, x)

    return _case("bias_activation", act, arrays, 3, run, formula, prepare)


def _difference(arrays: Arrays, act: Any) -> Case:
    z, g = arrays.take(1, 2)

    def prepare() -> None:
        arrays.take(1, 2)

    def run() -> None:
        difference.difference(act, z, g, column_sum=arrays.sums)

    def formula() -> None:
        difference.formula(act.sigma, z, g, 0.5, 0.5, 0.0, arrays.sums, False)

    return _case("difference", act, arrays, 3, run, formula, prepare)


def _xstep(arrays: Arrays, act: Any) -> Case:
    x, z, g, r = arrays.take(3, 1, 2, None)

    def prepare() -> None:
        arrays.take(3, 1, 2, None)
        x[...] = act.sigma(x) if arrays.xp is not np else _activated(act, x)

    def run() -> None:
        xstep.xstep(act, x, z, g, STEP, r, value=False)

    def formula() -> None:
        xstep.formula(act, x, z, g, STEP, r, False)

    return _case("xstep", act, arrays, 5, run, formula, prepare)


def _activated(act: Any, x: np.ndarray) -> np.ndarray:
    act.activate(x, None, x)
    return x


def _xstep_dual(arrays: Arrays, act: Any) -> Case:
    p, x, z, g, r = arrays.take(3, None, 1, 2, None)

    def prepare() -> None:
        arrays.take(3, None, 1, 2, None)

    def run() -> None:
        xstep.xstep_dual(act, p, x, z, g, STEP, r, value=False)

    def formula() -> None:
        xstep.formula_dual(act, p, x, z, g, STEP, r, False)

    return _case("xstep_dual", act, arrays, 6, run, formula, prepare)


def _case(
    family: str, act: Any, arrays: Arrays, moved: int, run: Any, formula: Any, prepare: Any
) -> Case:
    name = type(act).__name__.lower()
    return Case(family, name, arrays.dtype, moved * arrays.n_bytes, run, formula, prepare)


def _updates(arrays: Arrays) -> list[Case]:
    l1 = Prox("l1", 1e-6)
    return [build(arrays, prox) for build in (_sgd, _momentum, _adam) for prox in (NO_PROX, l1)]


def _flat(found: Sequence[Array]) -> list[Array]:
    return [a.reshape(-1) for a in found]


def _sgd(arrays: Arrays, prox: Prox) -> Case:
    p, g = _flat(arrays.take(1, 2))
    rate = ADAM[0]
    return _update(
        arrays, "sgd", prox, 3, (1, 2),
        lambda: update.sgd(p, g, rate, prox=prox),
        lambda: update.sgd_formula(p, g, 0.0, rate, prox),
    )  # fmt: skip


def _momentum(arrays: Arrays, prox: Prox) -> Case:
    p, g, v = _flat(arrays.take(1, 2, 3))
    rate = ADAM[0]
    return _update(
        arrays, "momentum", prox, 5, (1, 2, 3),
        lambda: update.momentum(p, g, v, rate, 0.9, prox=prox),
        lambda: update.momentum_formula(p, g, v, 0.9, rate, 0.0, 1.0, 0.0, prox),
    )  # fmt: skip


def _adam(arrays: Arrays, prox: Prox) -> Case:
    p, g, m, s = _flat(arrays.take(1, 2, 3, 4))
    rate, beta1, beta2, eps, t = ADAM
    numbers = (0.0, rate, eps, beta1, 1 - beta1, beta2, 1 - beta2, 1.0, 0.0)
    case = _update(
        arrays, "adam", prox, 7, (1, 2, 3, 4),
        lambda: update.adam(p, g, m, s, rate, beta1, beta2, eps, t, prox=prox),
        lambda: update.adam_formula(p, g, m, s, *numbers, prox),
    )  # fmt: skip

    def prepare() -> None:
        case.prepare()
        arrays.xp.multiply(s, s, out=s)  # a second moment is not negative

    return Case(case.family, case.variant, case.dtype, case.n_bytes, case.run, case.formula, prepare)


def _update(
    arrays: Arrays, family: str, prox: Prox, moved: int, shifts: tuple[int, ...], run: Any, formula: Any
) -> Case:
    def prepare() -> None:
        arrays.take(*shifts)

    return Case(family, prox.kind, arrays.dtype, moved * arrays.n_bytes, run, formula, prepare)
