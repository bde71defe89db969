"""The fused kernels that are measured: the arrays that each one takes, the bytes it has to move, and the same as a formula."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from paralift.kernels import bias_activation, difference, update, xstep
from paralift.kernels.arrays import Array
from paralift.kernels.prox import NO_PROX, l1
from paralift.lifted.activations import ReLU, Sigmoid, Softplus, Tanh

RANDOM, POSITIVE, OUTPUT = "random", "positive", "output"
"""What an array holds before a run; an output holds whatever is left in it."""
RATE, STEP = 1e-3, 0.5
"""Rate of the optimisers; tau and omega of the x-steps."""
ADAM = (0.9, 0.999, 1e-8, 10)
"""Both betas, eps and the number of the step."""

RELATIVE = 0.01
"""The relative nudge."""

Work = Callable[[Any, Sequence[Array], Array], Any]


@dataclass(frozen=True)
class Kernel:
    """A kernel and the same by whole-array operations.

    Attributes
    ----------
    family : str
    holds : tuple of str
        One for each array.
    n_moved : int
        Arrays read plus arrays written: each input once, each output once. Offsets and sums of one row are left out.
    run, formula : callable
        Take an activation or a proximal map, the arrays, and one row, which is an offset or receives the sums.
    """

    family: str
    holds: tuple[str, ...]
    n_moved: int
    run: Work
    formula: Work


STEPS = (
    Kernel(
        "bias_activation", (RANDOM, OUTPUT), 3,
        lambda act, a, row: bias_activation.bias_activation(act, a[0], row, a[1]),
        lambda act, a, row: bias_activation.formula(act.sigma, a[0], row, a[1]),
    ),
    Kernel(
        "difference", (RANDOM, RANDOM), 3,
        lambda act, a, row: difference.difference(act, a[0], a[1], column_sum=row),
        lambda act, a, row: difference.formula(act.sigma, a[0], a[1], 0.5, 0.5, 0.0, row, False),
    ),
    Kernel(
        "difference_relative", (RANDOM, RANDOM), 3,
        lambda act, a, row: difference.difference(act, a[0], a[1], relative=RELATIVE, column_sum=row),
        lambda act, a, row: difference.formula(act.sigma, a[0], a[1], 0.5, 0.5, RELATIVE, row, False),
    ),
    Kernel(
        "xstep", (RANDOM, RANDOM, RANDOM, OUTPUT), 5,
        lambda act, a, row: xstep.xstep(act, a[0], a[1], a[2], STEP, a[3], value=False),
        lambda act, a, row: xstep.formula(act, a[0], a[1], a[2], STEP, a[3], False),
    ),
    Kernel(
        "xstep_dual", (RANDOM, OUTPUT, RANDOM, RANDOM, OUTPUT), 6,
        lambda act, a, row: xstep.xstep_dual(act, *a[:4], STEP, a[4], value=False),
        lambda act, a, row: xstep.formula_dual(act, *a[:4], STEP, a[4], False),
    ),
)  # fmt: skip
UPDATES = (
    Kernel(
        "sgd", (RANDOM, RANDOM), 3,
        lambda prox, a, row: update.sgd(*a, RATE, prox=prox),
        lambda prox, a, row: update.sgd_formula(*a, 0.0, RATE, prox),
    ),
    Kernel(
        "momentum", (RANDOM,) * 3, 5,
        lambda prox, a, row: update.momentum(*a, RATE, 0.9, prox=prox),
        lambda prox, a, row: update.momentum_formula(*a, 0.9, RATE, 0.0, 1.0, 0.0, prox),
    ),
    Kernel(
        "adam", (RANDOM, RANDOM, RANDOM, POSITIVE), 7,
        lambda prox, a, row: update.adam(*a, RATE, *ADAM, prox=prox),
        lambda prox, a, row: update.adam_formula(*a, *adam_numbers(), prox),
    ),
)  # fmt: skip


def adam_numbers() -> tuple[float, ...]:
    """Return what the formula of Adam takes: fade, step, eps, the betas and 1 minus them, scale, decay."""
    beta1, beta2, eps, t = ADAM
    root = (1.0 - beta2**t) ** 0.5
    return (0.0, RATE * root / (1.0 - beta1**t), eps * root, beta1, 1.0 - beta1, beta2, 1.0 - beta2, 1.0, 0.0)


@dataclass(frozen=True)
class Case:
    """A kernel with its activation or proximal map."""

    kernel: Kernel
    variant: str
    act: Any
    flat: bool


def cases() -> list[Case]:
    """Return all cases, kernel by kernel."""
    acts = (ReLU(), Tanh(), Sigmoid(), Softplus())
    found = [Case(k, type(act).__name__.lower(), act, False) for k in STEPS for act in acts]
    return found + [Case(k, prox.kind, prox, True) for k in UPDATES for prox in (NO_PROX, l1(1e-6))]


class Arrays:
    """Work arrays of one size and type, put back from a pattern of random numbers before every run.

    Parameters
    ----------
    xp : module
        NumPy or CuPy.
    shape : (int, int)
    dtype : str
    """

    def __init__(self, xp: ModuleType, shape: tuple[int, int], dtype: str) -> None:
        rng = np.random.default_rng(0)
        self.xp, self.dtype = xp, dtype
        self.pattern = xp.asarray(rng.standard_normal(shape, np.float32).astype(dtype))
        self.positive = self.pattern * self.pattern
        self.work = [xp.zeros(shape, dtype) for _ in range(5)]
        self.spare = xp.zeros(shape, dtype)
        self.row = xp.zeros(shape[1], dtype)
        self.n_bytes = int(self.pattern.nbytes)

    def of(self, case: Case) -> list[Array]:
        """Return the arrays that a case works on."""
        taken = self.work[: len(case.kernel.holds)]
        return [a.reshape(-1) for a in taken] if case.flat else taken

    def prepare(self, case: Case) -> None:
        """Put the inputs of a case back, each rolled by another number of rows, so that no two are equal."""
        self.row[...] = 0.125
        for k, holds in enumerate(case.kernel.holds):
            if holds != OUTPUT:
                source, target = self.pattern if holds == RANDOM else self.positive, self.work[k]
                target[k:] = source[: len(source) - k]
                target[:k] = source[len(source) - k :]

    def copy(self) -> None:
        """Copy one array onto another: the yardstick."""
        self.xp.copyto(self.spare, self.pattern)
