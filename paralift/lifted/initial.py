"""Schemes of initial weights, for any map: they take the place of its own, in all parameters of two or more axes.

| scheme | weights |
|---|---|
| none | normal, variance gain / fan-in; the gain is the activation's, 2 for ReLU, 1 for tanh |
| `he` | normal, variance 2 / fan-in, whatever the activation (He et al., ICCV 2015) |
| `xavier` | normal, variance 2 / (fan-in + fan-out) (Glorot & Bengio, AISTATS 2010) |
| `orthogonal` | sqrt(gain) times a random matrix with orthonormal rows or columns (Saxe et al., ICLR 2014) |

The last axis is the output's, the one before it the input's, and axes before them (of a kernel) belong to both fans.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

SCHEMES = ("he", "xavier", "orthogonal")
Scheme = str | Mapping[str, str] | None


def scheme_of(scheme: Scheme, block: str) -> str | None:
    """Return the scheme of a block: the one given, or in a mapping that of the first pattern which fits its name."""
    if scheme is None or isinstance(scheme, str):
        return scheme
    return next((value for pattern, value in scheme.items() if fnmatchcase(block, pattern)), None)


def weights(scheme: str, drawn: np.ndarray, gain: float) -> np.ndarray:
    """Return weights by a scheme.

    Parameters
    ----------
    scheme : {"he", "xavier", "orthogonal"}
    drawn : array of two or more axes
        Normal, of variance gain / fan-in, as maps draw them.
    gain : float
    """
    *kernel, inputs, outputs = drawn.shape
    fan_in, fan_out = math.prod(kernel) * inputs, math.prod(kernel) * outputs
    if scheme == "he":
        return drawn * math.sqrt(2.0 / gain)
    if scheme == "xavier":
        return drawn * math.sqrt(2.0 * fan_in / (gain * (fan_in + fan_out)))
    matrix = drawn.reshape(fan_in, outputs)
    wide = fan_in < outputs
    q, r = np.linalg.qr(matrix.T if wide else matrix)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # so that all orthogonal matrices are as likely
    return math.sqrt(gain) * (q.T if wide else q).reshape(drawn.shape)


def read_scheme(value: Any) -> Scheme:
    """Return a scheme, or one for each pattern of blocks' names; ValueError unless all are known."""
    if value is None:
        return None
    mapping = value if isinstance(value, Mapping) else {"*": value}
    for name, scheme in mapping.items():
        if not isinstance(name, str) or not isinstance(scheme, str) or scheme not in SCHEMES:
            raise ValueError(f"init is {value!r}, expected one of {SCHEMES}, or a mapping of blocks' names to them")
    return value


def check_scheme(scheme: Scheme, names: list[str]) -> None:
    """Raise ValueError unless each pattern of a scheme fits one of the blocks' `names`."""
    for pattern in read_scheme(scheme) if isinstance(scheme, Mapping) else ():  # type: ignore[union-attr]
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"init: no block is called {pattern!r}; this network has {names}")
