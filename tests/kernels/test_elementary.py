"""The vectorisable exponential family against NumPy's long doubles."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paralift.kernels import elementary
from paralift.kernels.jit import FASTMATH

NAMES = ("exp_minus", "expm1_minus", "log1p", "tanh", "arctan")
ULPS = {"exp_minus": 2, "expm1_minus": 2, "log1p": 2, "tanh": 4, "arctan": 4}
DTYPES = (np.float32, np.float64)


def _kernel(name: str):
    function = getattr(elementary, name)

    def kernel(x, y):
        for i in range(x.shape[0]):
            y[i] = function(x[i])

    return numba.njit(fastmath=FASTMATH, error_model="numpy")(kernel)  # not kept: always of today's source


KERNELS = {name: _kernel(name) for name in NAMES}


def _evaluate(name: str, x: np.ndarray) -> np.ndarray:
    y = np.empty_like(x)
    KERNELS[name](x, y)
    return y


def _arguments(name: str, dtype: type) -> np.ndarray:
    rng = np.random.default_rng(0)
    limit = np.log10(float(np.finfo(dtype).max))
    wide = 10.0 ** rng.uniform(-limit, limit, 20000)
    x = np.concatenate([rng.uniform(0, 1, 20000), rng.uniform(0, 10, 20000), rng.uniform(0, 760, 20000), wide])
    signs = rng.choice([-1, 1], x.size) if name in ("tanh", "arctan") else 1
    return (signs * x).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_accuracy_in_units_of_the_last_place(name, dtype):
    x = _arguments(name, dtype)
    exact = getattr(elementary, name)(x.astype(np.longdouble))
    spacing = np.spacing(np.abs(exact).astype(dtype)).astype(np.longdouble)
    error = np.abs(_evaluate(name, x).astype(np.longdouble) - exact) / spacing
    assert error.max() <= ULPS[name]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_zero_infinity_nan_and_subnormal_numbers(name, dtype):
    tiny = float(np.finfo(dtype).smallest_subnormal)
    y = _evaluate(name, np.array([0.0, math.inf, math.nan, tiny], dtype))
    limits = {"exp_minus": (1, 0, 1), "expm1_minus": (0, -1, -tiny), "log1p": (0, math.inf, tiny)}
    limits |= {"tanh": (0, 1, tiny), "arctan": (0, dtype(math.pi / 2), tiny)}
    assert np.isnan(y[2])
    assert tuple(y[[0, 1, 3]]) == limits[name]
    if name in ("tanh", "arctan"):
        np.testing.assert_array_equal(_evaluate(name, np.array([-math.inf], dtype)), -y[1:2])


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.sampled_from(NAMES), st.floats(0, 1e300), st.floats(0, 1e300))
def test_monotone_to_rounding(name, a, b):
    low, high = _evaluate(name, np.array(sorted((a, b))))
    slack = 8 * np.finfo(np.float64).eps * abs(low)
    assert low >= high - slack if name.endswith("minus") else low <= high + slack


def test_the_result_has_the_type_of_the_argument():
    double = elementary.exp_minus(np.float64(1.5))
    assert abs(_evaluate("exp_minus", np.array([1.5]))[0] - double) <= 4e-16
    single = _evaluate("exp_minus", np.array([1.5], np.float32))
    assert single.dtype == np.float32
    assert abs(float(single[0]) - float(double)) < 1e-7
