"""Stochastic rounding to levels: exact chances, one code on every path, round trips, and what is no number."""

from __future__ import annotations

import array_api_strict as strict
import numpy as np
import pytest
from cuda_host import compile_by_nvrtc, run_on_cpu
from hypothesis import given, settings
from hypothesis import strategies as st

from paralift.kernels import cuda, draw, quantize
from paralift.kernels.quantize import Grid

UNIFORM = tuple(np.linspace(0.0, 1.0, 8).tolist())
POWERS = (0.0, *(2.0**-k for k in range(6, -1, -1)))
GRIDS = [
    Grid((0.0, 1.0), 2, 4, "max"),
    Grid(POWERS, 4, 64, "max"),
    Grid(UNIFORM, 4, 6, "l2"),
    Grid(tuple(np.linspace(0.0, 1.0, 128).tolist()), 8, 33, "l2"),
    Grid((0.0, 0.25, 1.0), 8, 4096, "max"),
]
SIZES = (1, 2, 3, 5, 64, 127, 700)
TYPES = (np.float32, np.float64)
INSTANCES = [
    *((quantize.SOURCE, f"scale_buckets<{t}>") for t in ("float", "double")),
    *((quantize.SOURCE, f"{name}<{t}, {b}>") for name in ("encode", "decode") for t in ("float", "double") for b in (2, 4, 8)),
]
every_grid = pytest.mark.parametrize("grid", GRIDS, ids=[f"{g.bits} bits, {len(g.levels)} levels, {g.norm}" for g in GRIDS])
both_types = pytest.mark.parametrize("dtype", TYPES)


def numbers(n, dtype, seed=0):
    v = np.random.default_rng(seed).standard_normal(n).astype(dtype)
    v[::7] = 0
    return v


def buffers(n, grid):
    return np.empty(grid.n_buckets(n), np.float32), np.empty(grid.n_bytes(n), np.uint8)


def encoded(v, grid, key=5, nearest=False):
    scales, codes = buffers(v.size, grid)
    quantize.encode(v, grid, key, scales, codes, nearest)
    return scales, codes


def decoded(scales, codes, grid, n, dtype):
    out = np.empty(n, dtype)
    quantize.decode(scales, codes, grid, out)
    return out


@both_types
@every_grid
def test_codes_are_those_of_the_definition(grid, dtype):
    """Number by number, by Python's own arithmetic."""
    for n in SIZES:
        v = numbers(n, dtype, n)
        scales, codes = encoded(v, grid, key=11)
        got = decoded(scales, codes, grid, n, np.float64)
        start = draw.mix((11 + (quantize.STREAM + 1) * draw.H) & draw.MASK)
        for j, x in enumerate(v.astype(float)):
            bucket = v[j // grid.bucket * grid.bucket :][: grid.bucket].astype(float)
            size = np.sqrt((bucket**2).sum()) if grid.norm == "l2" else abs(bucket).max()
            scale = float(scales[j // grid.bucket])
            assert size * (1 - 1e-12) <= scale <= size * (1 + 3e-7)
            a = abs(x) / scale if scale else 0.0
            k = max(i for i, level in enumerate(grid.levels) if level <= a)
            if k + 1 < len(grid.levels):
                u = (draw.mix((start + (j + 1) * draw.G) & draw.MASK) >> 11) * 2.0**-53
                k += u < (a - grid.levels[k]) / (grid.levels[k + 1] - grid.levels[k])
            assert got[j] == np.sign(x) * grid.levels[k] * scale


@both_types
@every_grid
def test_formulas_of_other_libraries_have_the_same_codes(grid, dtype):
    device = strict.Device("device1")

    def there(x, kind):
        return strict.asarray(x.tolist(), dtype=kind, device=device)

    def here(x):
        return np.array(x.to_device(strict.Device("CPU_DEVICE")))

    kind = strict.float32 if dtype is np.float32 else strict.float64
    for nearest in (False, True):
        v = numbers(131, dtype)
        scales, codes = encoded(v, grid, nearest=nearest)
        far = there(v, kind), there(np.zeros_like(scales), strict.float32), there(np.zeros_like(codes), strict.uint8)
        quantize.encode(far[0], grid, 5, *far[1:], nearest)
        np.testing.assert_array_equal(here(far[1]), scales)
        np.testing.assert_array_equal(here(far[2]), codes)
        out = there(np.ones(131), kind)
        quantize.decode(*far[1:], grid, out, add=True)
        np.testing.assert_array_equal(here(out), 1 + decoded(scales, codes, grid, 131, dtype))
        assert quantize.variance(far[0], grid, far[1]) == pytest.approx(quantize.variance(v, grid, scales), rel=1e-13)


finite = st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=40)


@settings(deadline=None)
@given(finite, st.sampled_from(GRIDS), st.integers(0, draw.MASK))
def test_what_is_decoded_is_a_neighbouring_level_and_right_on_average(values, grid, key):
    v = np.array(values)
    scales, codes = encoded(v, grid, key)
    a, k, chance = quantize.places(v, grid, scales)
    assert ((0 <= chance) & (chance <= 1)).all()
    levels = np.append(grid.levels, grid.levels[-1])
    np.testing.assert_allclose((1 - chance) * levels[k] + chance * levels[k + 1], a, rtol=1e-12)
    scale = np.repeat(scales.astype(float), grid.bucket)[: v.size]
    got = decoded(scales, codes, grid, v.size, np.float64)
    below, above = levels[k] * scale, levels[k + 1] * scale
    assert ((abs(got) == below) | (abs(got) == above)).all()
    assert (got * v >= 0).all() and (abs(v) <= scale).all()
    spread = (1 - chance) * (abs(v) - below) ** 2 + chance * (above - abs(v)) ** 2
    assert quantize.variance(v, grid, scales) == pytest.approx(spread.sum(), rel=1e-6, abs=1e-12 * (scale**2).sum())


@settings(deadline=None)
@given(finite, st.sampled_from(GRIDS))
def test_what_was_decoded_to_the_largest_magnitude_comes_back(values, grid):
    """A second round trip to the nearest level changes nothing: all numbers lie on levels, the largest on the last."""
    grid = grid._replace(norm="max")
    v = np.array(values, np.float32)
    once = decoded(*encoded(v, grid, nearest=True), grid, v.size, np.float32)
    twice = decoded(*encoded(once, grid, nearest=True), grid, v.size, np.float32)
    np.testing.assert_allclose(twice, once, rtol=3e-7)


@both_types
@every_grid
def test_random_numbers_are_uniform_and_depend_on_key_and_place_alone(grid, dtype):
    n = 4096
    v = numbers(n, dtype)
    got = decoded(*encoded(v, grid, 1), grid, n, dtype)
    again = decoded(*encoded(v, grid, 1), grid, n, dtype)
    other = decoded(*encoded(v, grid, 2), grid, n, dtype)
    np.testing.assert_array_equal(got, again)
    assert (got != other).any()
    scales, _ = encoded(v, grid)
    expected = quantize.variance(v, grid, scales)
    assert ((got - v).astype(float) ** 2).sum() == pytest.approx(expected, rel=0.2)


def test_zeros_stay_zeros_and_a_scale_is_never_too_small():
    for grid in GRIDS:
        scales, codes = encoded(np.zeros(50), grid)
        assert not scales.any() and not codes.any()
        assert not decoded(scales, codes, grid, 50, np.float64).any()
        scales, _ = encoded(np.full(50, 1e-60), grid)  # its square, and its float32, are zero
        assert (scales == 2.0**-126).all()
    v = np.full(64, 1 + 1e-12)  # between two float32
    assert encoded(v, GRIDS[1])[0][0] == np.float32(1 + 2.0**-23)


@both_types
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_shows_in_its_scale_and_no_other(bad, dtype):
    for grid in GRIDS:
        for place in (0, 13, 49):
            v = numbers(50, dtype)
            v[place] = bad
            scales, _ = encoded(v, grid)
            assert np.flatnonzero(~np.isfinite(scales)).tolist() == [place // grid.bucket]
            formula = quantize.scales_formula(v, grid)
            assert np.flatnonzero(~np.isfinite(formula)).tolist() == [place // grid.bucket]


def test_nvrtc_compiles_all_text():
    compile_by_nvrtc(INSTANCES)


@pytest.fixture(scope="module")
def function(tmp_path_factory):
    return run_on_cpu(INSTANCES, tmp_path_factory.mktemp("quantize"))


@pytest.fixture
def on_cpu(function, monkeypatch):
    """Launches take NumPy arrays and run on the CPU, by three blocks so that threads have several turns."""
    monkeypatch.setattr(cuda, "function", function)
    monkeypatch.setattr(cuda, "BLOCKS", 3)


@both_types
@every_grid
def test_the_text_has_the_same_codes(on_cpu, grid, dtype):
    for n in (1, 5, 127, *((1601,) if grid.bucket > 32 else ())):
        v = numbers(n, dtype, n)
        for nearest in (False, True):
            scales, codes = encoded(v, grid, draw.MASK, nearest)
            got = buffers(n, grid)
            quantize.cuda_encode(v, grid, draw.MASK, *got, nearest)
            np.testing.assert_allclose(got[0], scales, rtol=2e-7)  # the sums are in another order
            got[0][...] = scales
            quantize.cuda_encode_codes(v, grid, draw.MASK, *got, nearest)
            np.testing.assert_array_equal(got[1], codes)
        out = numbers(n, dtype, 1)
        want = out + decoded(scales, codes, grid, n, dtype)
        quantize.cuda_decode(scales, codes, grid, out, True)
        np.testing.assert_array_equal(out, want)
        quantize.cuda_decode(scales, codes, grid, out, False)
        np.testing.assert_array_equal(out, decoded(scales, codes, grid, n, dtype))


def test_the_text_shows_what_is_no_number(on_cpu):
    for bad in (np.nan, np.inf):
        for grid in GRIDS:
            v = numbers(40, np.float32)
            v[30] = bad
            scales, codes = buffers(40, grid)
            quantize.cuda_encode(v, grid, 1, scales, codes, False)
            assert np.flatnonzero(~np.isfinite(scales)).tolist() == [30 // grid.bucket]


@pytest.mark.gpu
@both_types
@every_grid
def test_on_a_gpu_codes_are_the_same(grid, dtype):
    cupy = pytest.importorskip("cupy")
    v = numbers(100_003, dtype)
    scales, codes = encoded(v, grid)
    device = [cupy.asarray(x) for x in (v, np.zeros_like(scales), np.zeros_like(codes), np.zeros_like(v))]
    quantize.encode(device[0], grid, 5, *device[1:3])
    np.testing.assert_allclose(device[1].get(), scales, rtol=2e-7)
    assert (device[2].get() != codes).mean() < 1e-3
    quantize.decode(cupy.asarray(scales), cupy.asarray(codes), grid, device[3])
    np.testing.assert_array_equal(device[3].get(), decoded(scales, codes, grid, v.size, dtype))
