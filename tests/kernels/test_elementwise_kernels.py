"""The fused elementwise kernels against their formulas, on NumPy (Numba) and on arrays that refuse conversion."""

from __future__ import annotations

import platform
import re
import tracemalloc

import array_api_strict
import numba
import numpy as np
import pytest

from paralift.kernels import bias_activation, difference, xstep
from paralift.kernels.jit import FASTMATH
from paralift.lifted.activations import (
    ELU,
    GELU,
    ISRU,
    Arctan,
    Hardtanh,
    Identity,
    LeakyReLU,
    Quantizer,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    SoftThreshold,
    Tanh,
)

PROXIMAL = (
    *(Identity(), ReLU(), LeakyReLU(0.1), Hardtanh(-1.0, 0.5), SoftThreshold(0.3)),
    *(Tanh(), Sigmoid(), Arctan(), ISRU(), Softsign(), ELU(0.5), Softplus()),
    *(Quantizer(4), Quantizer((-1.0, 0.0, 0.3, 2.0))),
)
EVERY = (*PROXIMAL, GELU(), GELU(exact=True), SiLU())
DIFFERENTIABLE = tuple(act for act in EVERY if not isinstance(act, Quantizer))
DTYPES = ("float32", "float64")
LIBRARIES = ("numpy", "strict")
SHAPE = (7, 19)
EDGES = (0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-310, 1e18, -1e18, 1.0, -1.0, 0.5)

everything = pytest.mark.parametrize("act", EVERY, ids=repr)
proximal = pytest.mark.parametrize("act", PROXIMAL, ids=repr)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
libraries = pytest.mark.parametrize("library", LIBRARIES)


class Library:
    """Moves test data to NumPy, or to a pretended device whose arrays NumPy cannot read."""

    def __init__(self, name: str):
        self.device = None if name == "numpy" else array_api_strict.Device("device1")

    def put(self, x: np.ndarray):
        return x.copy() if self.device is None else array_api_strict.asarray(x, device=self.device, copy=True)

    def get(self, x) -> np.ndarray:
        return x if self.device is None else np.asarray(x.to_device(array_api_strict.Device("CPU_DEVICE")))


def _normal(seed: int, dtype: str, scale: float = 1.0, shape=SHAPE) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def _check(actual: np.ndarray, expected: np.ndarray, dtype: str, scale: float = 1.0) -> None:
    assert actual.dtype == dtype
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(actual, expected, rtol=40 * eps, atol=40 * eps * scale)


def _double(*arrays: np.ndarray) -> list[np.ndarray]:
    return [a.astype(np.float64) for a in arrays]


@libraries
@dtypes
@everything
def test_bias_activation(act, dtype, library):
    lib = Library(library)
    z, offset = _normal(0, dtype, 3.0), _normal(1, dtype, shape=SHAPE[1:])
    z64 = (z + offset).astype(np.float64)
    here, x = lib.put(z), lib.put(np.zeros_like(z))
    act.activate(here, lib.put(offset), x)
    np.testing.assert_array_equal(lib.get(here), z + offset)
    _check(lib.get(x), act.sigma(z64), dtype)
    act.activate(here, None, here)
    _check(lib.get(here), act.sigma(z64), dtype)


@dtypes
@pytest.mark.parametrize("act", (Identity(), ReLU()), ids=repr)
def test_bias_activation_in_all_forms(act, dtype):
    for offset in (None, _normal(1, dtype, shape=SHAPE[1:])):
        for same in (False, True):
            z = _normal(0, dtype)
            expected = z if offset is None else z + offset
            x = z if same else np.zeros_like(z)
            act.activate(z, offset, x)
            np.testing.assert_array_equal(x, act.sigma(expected))
            if not same:
                np.testing.assert_array_equal(z, expected)


@libraries
@dtypes
@everything
def test_sigma_of_edge_values_is_that_of_the_formula_in_double_precision(act, dtype, library):
    lib = Library(library)
    z = np.array([EDGES], dtype)
    expected = act.sigma(z.astype(np.float64))
    assert np.isnan(expected[np.isnan(z)]).all()
    x = lib.put(np.zeros_like(z))
    act.activate(lib.put(z), None, x)
    _check(lib.get(x), expected.astype(dtype), dtype)


@libraries
@dtypes
@everything
def test_difference_and_its_column_sum(act, dtype, library):
    lib = Library(library)
    z, g, total = _normal(0, dtype, 2.0), _normal(1, dtype), _normal(2, dtype, shape=SHAPE[1:])
    expected, sums = _double(g, total)
    difference.formula(act.sigma, z.astype(np.float64), expected, 0.4, 0.6, 0.0, sums, True)
    here, there = lib.put(g), lib.put(total)
    act.difference(lib.put(z), here, 0.4, 0.6, column_sum=there, accumulate=True)
    if not isinstance(act, Quantizer):  # a step of the staircase may be met in one precision and missed in another
        _check(lib.get(here), expected, dtype, 5.0)
        _check(lib.get(there), sums, dtype, 20.0)
    _check(lib.get(there) - total, lib.get(here).sum(axis=0), dtype, 20.0)


@libraries
@dtypes
@pytest.mark.parametrize("act", (ReLU(), Tanh()), ids=repr)
def test_relative_difference(act, dtype, library):
    lib = Library(library)
    z, g, total = _normal(0, dtype, 2.0), _normal(1, dtype), _normal(2, dtype, shape=SHAPE[1:])
    z[2], g[3], z[4], g[4] = 0, 0, 0, 0
    expected, sums = _double(g, total)
    difference.formula(act.sigma, z.astype(np.float64), expected, 0.5, 0.5, 0.1, sums, False)
    here, there = lib.put(g), lib.put(total)
    act.difference(lib.put(z), here, relative=0.1, column_sum=there)
    _check(lib.get(here), expected, dtype, 100.0)
    _check(lib.get(there), sums, dtype, 300.0)
    assert not lib.get(here)[3:5].any()
    act.difference(lib.put(z), here, relative=0.1)  # without a sum


def test_relative_difference_scales_each_row_by_its_own_step():
    """For the identity r = g whatever the step; for x^3 (a stand-in) the step is seen in the second-order term."""
    z, g = np.full((2, 4), 2.0), np.array([[1.0] * 4, [100.0] * 4])
    scale = difference.relative_scale(z, g, 0.1)
    np.testing.assert_allclose(scale[:, 0], [0.2, 0.002])
    r = g.copy()
    difference.formula(lambda x: x**3, z, r, 0.5, 0.5, 0.1, None, False)
    np.testing.assert_allclose(r, 12 * g + 0.25 * scale**2 * g**3)


@libraries
@dtypes
@pytest.mark.parametrize("act", DIFFERENTIABLE, ids=repr)
def test_pull_back(act, dtype, library):
    lib = Library(library)
    z, g, total = _normal(0, dtype, 2.0), _normal(1, dtype), _normal(2, dtype, shape=SHAPE[1:])
    expected = act.derivative(*_double(z, g))
    here, there = lib.put(g), lib.put(total)
    act.pull_back(lib.put(z), here, there, accumulate=True)
    _check(lib.get(here), expected, dtype)
    _check(lib.get(there), total + expected.sum(axis=0), dtype, 10.0)


@pytest.mark.parametrize("act", DIFFERENTIABLE, ids=repr)
def test_residuals_keep_a_nan(act):
    z, g = _normal(0, "float32"), _normal(1, "float32")
    g[1, 2] = np.nan
    r, total = g.copy(), np.zeros(SHAPE[1], np.float32)
    act.difference(z, r, column_sum=total)
    assert np.isnan(r[1, 2]) and np.isnan(total[2]) and np.isnan(r).sum() == 1
    act.pull_back(z, g, total)
    assert np.isnan(g[1, 2]) and np.isnan(total[2]) and np.isnan(g).sum() == 1


@pytest.mark.parametrize("rows", (0, 1, 3, 4, 5, 8))
@pytest.mark.parametrize("accumulate", (False, True))
def test_identity_leaves_the_pull_and_sums_columns(rows, accumulate):
    g = _normal(0, "float64", shape=(rows, 5))
    r, total = g.copy(), np.ones(5)
    Identity().difference(g, r, column_sum=total, accumulate=accumulate)
    np.testing.assert_array_equal(r, g)
    np.testing.assert_allclose(total, g.sum(axis=0) + accumulate, rtol=1e-14, atol=1e-14)
    Identity().difference(g, r, up=1.0, down=1.0)
    np.testing.assert_array_equal(r, 2 * g)


@libraries
@dtypes
@proximal
def test_euclidean_xstep(act, dtype, library):
    lib = Library(library)
    z, g = _normal(0, dtype, 2.0), _normal(1, dtype)
    x = act.sigma(_normal(2, dtype, 2.0))
    x64, r64 = _double(x, x)
    value64 = xstep.formula(act, x64, *_double(z, g), 0.7, r64, True)
    here, r = lib.put(x), lib.put(x)
    value = act.xstep(here, lib.put(z), lib.put(g), 0.7, r)
    _check(lib.get(here), x64, dtype)
    _check(lib.get(r), r64, dtype)
    _check(lib.get(value), value64, dtype, 10.0)


@libraries
@dtypes
@proximal
def test_dual_xstep(act, dtype, library):
    lib = Library(library)
    z, g, p = _normal(0, dtype, 2.0), _normal(1, dtype), _normal(2, dtype, 2.0)
    p64, x64, r64 = _double(p, p, p)
    value64 = xstep.formula_dual(act, p64, x64, *_double(z, g), 0.3, r64, True)
    if isinstance(act, Quantizer):  # whatever side of a step p falls on, x is its level
        p64 = p64.astype(dtype).astype(np.float64)
    here, x, r = lib.put(p), lib.put(p), lib.put(p)
    value = act.xstep_dual(here, x, lib.put(z), lib.put(g), 0.3, r)
    for actual, expected in ((here, p64), (x, x64), (r, r64)):
        _check(lib.get(actual), expected, dtype, 2.0)
    _check(lib.get(value), value64, dtype, 20.0)


@libraries
@pytest.mark.parametrize("act", (ReLU(), Tanh()), ids=repr)
def test_the_penalty_may_be_left_out(act, library):
    lib = Library(library)
    numbers = [_normal(seed, "float32") for seed in range(4)]
    for step in (act.xstep, lambda x, z, g, tau, r, value: act.xstep_dual(x, x, z, g, tau, r, value)):
        with_value, without = ([lib.put(a) for a in numbers] for _ in range(2))
        assert step(*with_value[:3], 0.3, with_value[3], True) is not None
        assert step(*without[:3], 0.3, without[3], False) is None
        for a, b in zip(with_value, without, strict=True):
            _check(lib.get(a), lib.get(b), "float32")


@dtypes
@pytest.mark.parametrize("tau", (1e-3, 0.1, 1.0, 30.0))
@pytest.mark.parametrize("act", PROXIMAL[5:12], ids=repr)
def test_newton_reaches_full_precision_from_every_w(act, tau, dtype):
    """The defect (1 - lam) x + lam p - w vanishes to rounding; the reference p is found by bisection."""
    lam = tau / (1.0 + tau)
    w = np.concatenate([np.linspace(-3, 3, 301), np.logspace(-5, 5, 60), -np.logspace(-5, 5, 60)])[None]
    w = w.astype(dtype).astype(np.float64)
    low, high = -1.0 - np.abs(w) / lam - 1.0 / lam, 1.0 + np.abs(w) / lam
    for _ in range(200):
        p = 0.5 * (low + high)
        above = (1.0 - lam) * act.sigma(p) + lam * p > w
        low, high = np.where(above, low, p), np.where(above, p, high)
    x = (w * (1.0 + tau)).astype(dtype)
    zero, r = np.zeros_like(x), np.empty_like(x)
    act.xstep(x, zero, zero, tau, r)
    eps = np.finfo(dtype).eps
    error = np.abs(x.astype(np.float64) - act.sigma(0.5 * (low + high)))
    assert (error <= 16 * eps * (1.0 + np.abs(w))).all()


@dtypes
@pytest.mark.parametrize("act", PROXIMAL[5:12], ids=repr)
def test_newton_at_infinity_and_nan(act, dtype):
    x = np.array([[np.inf, -np.inf, np.nan, 1.0]], dtype)
    expected = act.sigma(x.astype(np.float64))[0, :2]
    zero, r = np.zeros_like(x), np.empty_like(x)
    act.xstep(x, zero, zero, 0.5, r)
    np.testing.assert_allclose(x[0, :2], expected.astype(dtype))
    assert np.isnan(x[0, 2]) and np.isfinite(x[0, 3])


@pytest.mark.parametrize("act", (ReLU(), Tanh()), ids=repr)
def test_strided_arrays(act):
    z, g = (np.asfortranarray(_normal(seed, "float64")) for seed in (0, 1))
    x = np.zeros((7, 38))[:, ::2]
    act.activate(z, None, x)
    np.testing.assert_allclose(x, act.sigma(z), rtol=1e-14)
    expected = act.sigma(z + 0.5 * g) - act.sigma(z - 0.5 * g)
    act.difference(z, g)
    np.testing.assert_allclose(g, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("act", (ReLU(), Tanh(), Identity()), ids=repr)
def test_nothing_is_allocated_after_the_first_call(act):
    z, g, x, r = (_normal(seed, "float32", shape=(200, 300)) for seed in range(4))
    offset, total = z[0].copy(), z[1].copy()

    def work():
        act.activate(z, offset, x)
        act.activate(z, offset, z)
        act.difference(z, g, column_sum=total)
        act.pull_back(z, g, total, accumulate=True)
        act.xstep(x, z, g, 0.5, r, value=False)
        act.xstep_dual(x, x, z, g, 0.5, r, value=False)

    work()
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000  # one of the arrays has 240,000 bytes


def test_a_kernel_is_compiled_once_for_all_parameters_of_an_activation():
    first, second = LeakyReLU(0.1), LeakyReLU(0.9)
    assert bias_activation.numba_kernel(first.scalar) is bias_activation.numba_kernel(second.scalar)
    z = np.array([[-1.0]])
    for act in (first, second):
        x = np.empty_like(z)
        act.activate(z, None, x)
        assert x[0, 0] == -act.slope


MATRIX, VECTOR = np.zeros((4, 64), np.float32), np.zeros(64, np.float32)
LOOPS = {
    "bias in place": (bias_activation.numba_kernel, (MATRIX, VECTOR, None)),
    "bias": (bias_activation.numba_kernel, (MATRIX, VECTOR, MATRIX)),
    "difference": (difference.numba_difference, (MATRIX, MATRIX, 0.5, 0.5, VECTOR, False)),
    "relative": (difference.numba_relative, (MATRIX, MATRIX, 0.5, 0.5, 0.1, VECTOR, False)),
    "pull back": (difference.numba_pull_back, (MATRIX, MATRIX, VECTOR, False)),
    "prox": (xstep.numba_prox, (MATRIX, MATRIX, MATRIX, 0.5, MATRIX, VECTOR)),
    "newton": (xstep.numba_newton, (MATRIX, MATRIX, MATRIX, 0.5, MATRIX, VECTOR)),
    "dual": (xstep.numba_dual, (MATRIX, MATRIX, MATRIX, MATRIX, 0.5, MATRIX, VECTOR)),
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads the assembly of x86-64")
@pytest.mark.parametrize("name", LOOPS)
def test_loops_are_vectorised(name):
    """Packed multiplications and additions of single precision appear, and no call of a scalar function."""
    factory, arguments = LOOPS[name]
    act = Softplus() if name in ("newton", "dual") else ReLU()
    fresh = numba.njit(fastmath=FASTMATH, error_model="numpy")(factory(act.scalar).py_func)
    fresh(*arguments, 0.0, 0.0)
    (assembly,) = fresh.inspect_asm().values()
    assert re.search(r"\bv?(fn?m(add|sub)\d+|mul|add|sub|max|min)ps\b", assembly)
    assert not re.search(r"call\w*\s+\*?%?\w*(expf?|log1pf?)\b", assembly)
