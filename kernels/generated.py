"""Scalar functions and CUDA structs that are generated from formulas; see `algebra` for what a formula is.

The generated source holds nothing but operations that `algebra` knows: no text of a user reaches a compiler. Its functions
live in a module of their own for each definition, because kernels on disk are found by the names of what they are made of.
"""

from __future__ import annotations

import hashlib
import linecache
import math
import sys
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType

import numpy as np
from numba.extending import register_jitable

from paralift.kernels import algebra, elementary
from paralift.kernels.algebra import Formula
from paralift.kernels.elementary import arctan, exp_minus, tanh
from paralift.kernels.scalars import Scalar

VARIABLES = {"sigma": ("z",), "slope": ("z",), "phi": ("z",), "psi": ("x",), "prox": ("w", "lam")}
"""The functions of a definition and their variables, before the parameters a and b."""


@register_jitable(forceinline=True, error_model="numpy")
def exp(t):
    """Return e^t, for any t, as the square of e^(t/2): no intermediate number is subnormal before the result is."""
    T = type(t)
    half = exp_minus(T(0.5) * abs(t))
    half = T(1) / half if t > T(0) else half
    return half * half


@register_jitable(forceinline=True, error_model="numpy")
def log1p(t):
    """Return ln(1 + t) for any t."""
    T = type(t)
    y = elementary.log1p(t if t > T(-0.5) else T(0))
    return y if t > T(-0.5) else np.log(T(1) + t)


@dataclass(frozen=True)
class Definition:
    """The formulas of an activation, as texts."""

    sigma: str
    phi: str | None = None
    slope: str | None = None
    psi: str | None = None
    prox: str | None = None

    @cached_property
    def formulas(self) -> dict[str, Formula]:
        """The formulas that are given, by name, and the slope, which is derived unless it is given."""
        found = {}
        for name, variables in VARIABLES.items():
            text = getattr(self, name)
            if text is not None:
                try:
                    found[name] = Formula(text, (*variables, "a", "b"))
                except algebra.FormulaError as error:
                    raise algebra.FormulaError(f"{name}: {error}") from None
        return {"slope": found["sigma"].derivative, **found}

    @property
    def key(self) -> str:
        """A short hash of the texts and of the sources of this translation."""
        texts = repr([getattr(self, name) for name in VARIABLES])
        return hashlib.sha256(f"{_translation()}{texts}".encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Generated(Scalar):
    """Scalar functions whose source is not in a file."""

    source_stamp: str = ""

    @cached_property
    def stamp(self) -> str:
        """A hash of the formulas and of their translation."""
        return self.source_stamp


@cache
def scalar(definition: Definition) -> Scalar:
    """Return the scalar functions and the CUDA struct of a definition, the same object for equal ones."""
    formulas = definition.formulas
    name = f"formula_{definition.key}"
    module = _module(name, "\n\n".join(f.numba(which) for which, f in formulas.items()))
    functions = {which: register_jitable(forceinline=True, error_model="numpy")(getattr(module, which)) for which in formulas}
    return Generated(name, **functions, cuda=_struct(formulas), source_stamp=definition.key)


def _module(name: str, source: str) -> ModuleType:
    """Return a module that holds the functions of a generated source."""
    module = ModuleType(f"{__package__}.{name}")
    helpers = {"np": np, "math": math, "exp": exp, "log1p": log1p, "tanh": tanh, "arctan": arctan}
    vars(module).update(helpers)
    file = f"<{name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), vars(module))
    sys.modules[module.__name__] = module
    return module


def _struct(formulas: dict[str, Formula]) -> str:
    arguments = {which: ", ".join(f"T {v}" for v in variables) for which, variables in VARIABLES.items()}
    members = "".join(f.cuda(which, arguments[which]) for which, f in formulas.items())
    return f"\ntemplate <typename T> struct Act {{\n  T a, b;\n{members}}};\n"


@cache
def _translation() -> str:
    """Return a hash of the sources that make the translation."""
    files = (__file__, algebra.__file__, elementary.__file__)
    return hashlib.sha256(b"".join(Path(str(f)).read_bytes() for f in files)).hexdigest()
