"""The CUDA text of the elementwise kernels: compiled by NVRTC, run on the CPU by g++, and on a GPU if there is one.

The launch code under test is the one that CuPy arrays take; only the compiler and the address of an array differ.
"""

from __future__ import annotations

import cuda_host
import numpy as np
import pytest

from paralift.kernels import bias_activation, cuda, difference, xstep
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

ACTIVATIONS = (
    *(Identity(), ReLU(), LeakyReLU(0.1), Hardtanh(-1.0, 0.5), SoftThreshold(0.3), Quantizer(4)),
    Quantizer(8, 2.0, signed=True),
    *(Tanh(), Sigmoid(), Arctan(), ISRU(), Softsign(), ELU(0.5), Softplus(), GELU(), GELU(exact=True), SiLU()),
)
DTYPES = ("float32", "float64")
SHAPES = ((7, 19), (5, 64), (300, 8), (2, 3000), (1, 1))
"""Ragged rows, rows of whole 16 bytes, several blocks down, several blocks across, and a single number."""

every = pytest.mark.parametrize("act", ACTIVATIONS, ids=repr)
proximal = pytest.mark.parametrize("act", [a for a in ACTIVATIONS if a.proximal], ids=repr)
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def _instances():
    """Yield all kernels of all activations: both types of number, with and without accesses of 16 bytes."""
    for act in ACTIVATIONS:
        scalar = act.scalar
        for T, V in (("float", 4), ("float", 1), ("double", 2), ("double", 1)):
            yield bias_activation.cuda_source(scalar), f"bias_activation<{T}, {V}, Act<{T}>>"
            yield difference.cuda_source(scalar), f"residual<{T}, {V}, DIFFERENCE, Act<{T}>>"
            yield difference.cuda_source(scalar), f"row_scale<{T}, {V}>"
            if scalar.slope is not None:
                yield difference.cuda_source(scalar), f"residual<{T}, {V}, SLOPE, Act<{T}>>"
            if act.proximal:
                yield xstep.cuda_source(scalar), f"xstep<{T}, {V}, Act<{T}>>"
                yield xstep.cuda_source(scalar), f"xstep_dual<{T}, {V}, Act<{T}>>"
        yield difference.cuda_source(scalar), "finish<float>"
        yield difference.cuda_source(scalar), "finish<double>"


def test_nvrtc_compiles_every_kernel():
    ptx = cuda_host.compile_by_nvrtc(_instances())
    assert b"ld.global.v4" in ptx and b"ld.global.v2" in ptx  # 16 bytes at once


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return cuda_host.run_on_cpu(_instances(), tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def on_cpu(compiled, monkeypatch):
    """Let the launch code run the kernels on NumPy arrays."""
    monkeypatch.setattr(cuda, "function", compiled)
    monkeypatch.setattr(cuda, "address", lambda x: x.ctypes.data)


def _normal(seed: int, dtype: str, shape, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def _check(actual, expected, scale: float = 1.0) -> None:
    eps = np.finfo(actual.dtype).eps
    np.testing.assert_allclose(actual, expected, rtol=40 * eps, atol=40 * eps * scale)


def _double(*arrays):
    return [a.astype(np.float64) for a in arrays]


def _smooth(act) -> bool:
    return not isinstance(act, Quantizer)


@dtypes
@every
def test_bias_activation_on_the_cpu(act, dtype, on_cpu):
    for shape in SHAPES:
        z, offset = _normal(0, dtype, shape, 3.0), _normal(1, dtype, shape[1:])
        for shift in (offset, None):
            for same in (False, True):
                here = z.copy()
                x = here if same else np.zeros_like(z)
                bias_activation.cuda_launch(act, here, shift, x)
                moved = z if shift is None else z + shift
                _check(x, act.sigma(moved.astype(np.float64)))
                if not same:
                    np.testing.assert_array_equal(here, moved)


@dtypes
@every
def test_edge_values_on_the_cpu(act, dtype, on_cpu):
    z = np.array([[0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 1e18, -1e18]], dtype)
    x = np.zeros_like(z)
    bias_activation.cuda_launch(act, z, None, x)
    np.testing.assert_allclose(x, act.sigma(z.astype(np.float64)).astype(dtype), rtol=1e-6)


@dtypes
@every
def test_difference_on_the_cpu(act, dtype, on_cpu):
    for k, shape in enumerate(SHAPES):
        z, g, total = _normal(0, dtype, shape, 2.0), _normal(1, dtype, shape), _normal(2, dtype, shape[1:])
        relative, accumulate = (0.1, False) if k % 2 else (0.0, True)
        expected, sums = _double(g, total)
        difference.formula(act.sigma, z.astype(np.float64), expected, 0.4, 0.6, relative, sums, accumulate)
        r, c = g.copy(), total.copy()
        difference.cuda_difference(act, z, r, 0.4, 0.6, relative, c, accumulate)
        _check(c - accumulate * total, r.sum(axis=0), 30.0)
        if _smooth(act):
            _check(r, expected, 200.0 if relative else 5.0)
        alone = g.copy()
        difference.cuda_difference(act, z, alone, 0.4, 0.6, relative, None, False)
        np.testing.assert_array_equal(alone, r)


@dtypes
@pytest.mark.parametrize("act", [a for a in ACTIVATIONS if _smooth(a)], ids=repr)
def test_pull_back_on_the_cpu(act, dtype, on_cpu):
    for shape in SHAPES:
        z, g, total = _normal(0, dtype, shape, 2.0), _normal(1, dtype, shape), _normal(2, dtype, shape[1:])
        expected = act.derivative(*_double(z, g))
        difference.cuda_residual("SLOPE", act, z, g, None, 0.0, 0.0, total, False)
        _check(g, expected)
        _check(total, expected.sum(axis=0), 30.0)


@dtypes
@proximal
def test_xsteps_on_the_cpu(act, dtype, on_cpu):
    for shape in SHAPES:
        z, g, p = _normal(0, dtype, shape, 2.0), _normal(1, dtype, shape), _normal(2, dtype, shape, 2.0)
        for kind in ("xstep", "xstep_dual"):
            x = act.sigma(p)
            p64, x64, r64 = _double(p, x, x)
            if kind == "xstep":
                value64 = xstep.formula(act, x64, *_double(z, g), 0.7, r64, True)
                matrices = [x, z, g, np.zeros_like(z)]
            else:
                value64 = xstep.formula_dual(act, p64, x64, *_double(z, g), 0.3, r64, True)
                matrices = [p.copy(), x, z, g, np.zeros_like(z)]
            again = [a.copy() for a in matrices]
            value = xstep.cuda_launch(act, kind, tuple(matrices), 0.7 if kind == "xstep" else 0.3, True)
            assert xstep.cuda_launch(act, kind, tuple(again), 0.7 if kind == "xstep" else 0.3, False) is None
            for a, b in zip(matrices, again, strict=True):
                np.testing.assert_array_equal(a, b)
            _check(x, x64, 2.0)
            _check(matrices[-1], r64, 2.0)
            _check(value, value64, 20.0 * max(1, shape[1] // 100))


@dtypes
@pytest.mark.parametrize("act", [a for a in ACTIVATIONS if a.proximal and _smooth(a)], ids=repr)
def test_xstep_at_infinity_and_nan_on_the_cpu(act, dtype, on_cpu):
    x = np.array([[np.inf, -np.inf, np.nan, 1.0]], dtype)
    limits = act.sigma(x.astype(np.float64)).astype(dtype)
    zero, r = np.zeros_like(x), np.zeros_like(x)
    xstep.cuda_launch(act, "xstep", (x, zero, zero, r), 0.5, False)
    np.testing.assert_allclose(x[0, :3], limits[0, :3], rtol=1e-6)
    assert np.isfinite(x[0, 3])


@pytest.mark.parametrize("shape", ((7, 19), (5, 64), (1, 133)), ids=str)
def test_nothing_is_written_beside_an_array(shape, on_cpu):
    size, buffers = shape[0] * shape[1], [np.full(4096, 7.0, np.float32) for _ in range(4)]
    starts = [(-b.ctypes.data // 4) % 4 + 64 for b in buffers]
    z, g, x, r = (b[s : s + size].reshape(shape) for b, s in zip(buffers, starts, strict=True))
    total = np.zeros(shape[1], np.float32)
    bias_activation.cuda_launch(ReLU(), z, None, x)
    bias_activation.cuda_launch(ReLU(), z, total, x)
    difference.cuda_difference(ReLU(), z, g, 0.5, 0.5, 0.1, total, False)
    xstep.cuda_launch(ReLU(), "xstep", (x, z, g, r), 0.5, True)
    xstep.cuda_launch(ReLU(), "xstep_dual", (x, g, z, g, r), 0.5, True)
    for b, s in zip(buffers, starts, strict=True):
        assert (b[:s] == 7.0).all() and (b[s + size :] == 7.0).all()


@pytest.mark.parametrize("rows", (1, 5, 1000, 10**6))
@pytest.mark.parametrize("width", (1, 10, 64, 1000, 10**6))
@pytest.mark.parametrize("vector", (1, 4))
def test_tiles_cover_the_matrix_within_the_limits_of_a_launch(rows, width, vector):
    for cut, down in ((cuda.tiles(rows, width, vector), 1), (cuda.row_tiles(rows, width, vector), 0)):
        assert cut.block[0] * cut.block[1] == cuda.THREADS
        assert cut.grid[down] * cut.chunk >= rows > (cut.grid[down] - 1) * cut.chunk
        assert cut.grid[1] <= 65535
    tiles = cuda.tiles(rows, width, vector)
    assert tiles.grid[0] * tiles.block[0] * vector >= width


def test_wide_accesses_need_aligned_rows(on_cpu):
    numbers = np.zeros(1028, np.float32)
    start = (-numbers.ctypes.data // 4) % 4
    aligned, shifted = numbers[start : start + 1024], numbers[start + 1 : start + 1025]
    assert cuda.vector(64, aligned) == 4
    assert cuda.vector(64, aligned, shifted) == 1
    assert cuda.vector(62, aligned) == 1
    assert cuda.vector(64, np.zeros(4, np.float64)) == 2


@pytest.mark.parametrize(
    "fits, arrays",
    (
        (True, [np.zeros((2, 3), np.float32)] * 2),
        (False, [np.zeros((2, 3), np.float32), np.zeros((2, 3))]),
        (False, [np.zeros((2, 6))[:, ::2]]),
        (False, [np.zeros((0, 3))]),
        (False, [np.zeros((2, 3), np.float16)]),
    ),
)
def test_kernels_take_contiguous_arrays_of_one_known_type(fits, arrays):
    assert cuda.suits(*arrays) is fits


@pytest.fixture
def cupy():
    library = pytest.importorskip("cupy", reason="CuPy is not installed: pip install paralift[gpu]")
    try:
        library.cuda.runtime.getDeviceCount()
    except library.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"no CUDA device: {error}")
    return library


@pytest.mark.gpu
@dtypes
@every
def test_all_kernels_on_the_gpu(act, dtype, cupy):
    for shape in SHAPES:
        z, g, x = _normal(0, dtype, shape, 2.0), _normal(1, dtype, shape), _normal(2, dtype, shape, 2.0)
        host = [z, g, x, z[0].copy(), np.zeros(shape[1], dtype)]
        device = [cupy.asarray(a) for a in host]
        for zz, gg, xx, offset, total in (host, device):
            act.activate(zz, offset, xx)
            act.difference(zz, gg, column_sum=total)
            act.difference(zz, gg, relative=0.1, column_sum=total, accumulate=True)
            if _smooth(act):
                act.pull_back(zz, gg, total, accumulate=True)
        for a, b in zip(device, host, strict=True):
            if _smooth(act):
                _check(b, a.get(), 500.0)


@pytest.mark.gpu
@dtypes
@proximal
def test_xsteps_on_the_gpu(act, dtype, cupy):
    for shape in SHAPES:
        z, g, p = _normal(0, dtype, shape, 2.0), _normal(1, dtype, shape), _normal(2, dtype, shape, 2.0)
        host = [p, act.sigma(p), z, g, np.zeros_like(z)]
        device = [cupy.asarray(a) for a in host]
        for euclidean in (True, False):
            values = []
            for pp, xx, zz, gg, rr in (host, device):
                step = (xx, zz, gg, 0.7, rr) if euclidean else (pp, xx, zz, gg, 0.3, rr)
                values.append(act.xstep(*step) if euclidean else act.xstep_dual(*step))
            _check(values[0], values[1].get(), 50.0 * max(1, shape[1] // 100))
            for a, b in zip(device, host, strict=True):
                _check(b, a.get(), 2.0)
