"""CUDA text of the parameter updates and of group soft thresholding: compiled, run on the CPU or a GPU."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_host import compile_by_nvrtc, run_on_cpu

from paralift.kernels import cuda, prox, update

COEFFICIENTS = {
    "proximal": (),
    "sgd": (0.01, 0.1),
    "momentum": (0.9, 0.09, 0.1, 0.5, 0.05),
    "adam": (0.01, 0.1, 1e-3, 0.8, 0.2, 0.95, 0.05, 0.5, 0.05),
    "average": (0.75,),
    "sgd_forecast": (0.01, 0.1),
    "momentum_forecast": (0.9, 0.09, 0.1, 0.5, 0.05),
    "adam_forecast": (0.01, 0.1, 1e-3, 0.8, 0.2, 0.95, 0.05, 0.5, 0.05),
}
N_ARRAYS = {
    "proximal": 1, "sgd": 2, "momentum": 3, "adam": 4, "average": 2, "sgd_forecast": 3, "momentum_forecast": 4,
    "adam_forecast": 5,
}  # fmt: skip
PROXES = (prox.NO_PROX, prox.l1(0.3), prox.box(-0.4, 0.7), prox.ridge(0.25))
TYPES = ("float", "double")
INSTANCES = [
    *((update.SOURCE, f"{name}<{t}, {k}>") for name in COEFFICIENTS for t in TYPES for k in range(4)),
    *(
        (prox.GROUP_SOURCE, f"group_rows<{t}, {v}>")
        for t, full in zip(TYPES, (4, 2), strict=True)
        for v in (1, full)
    ),
    *((prox.GROUP_SOURCE, f"group_columns<{t}>") for t in TYPES),
]
both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def operands(name, n, dtype, seed=0):
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(n).astype(dtype) for _ in range(N_ARRAYS[name])]
    if name.startswith("adam"):
        np.abs(arrays[3], out=arrays[3])
    return arrays


def check_close(got, want):
    np.testing.assert_allclose(got, want, rtol=0, atol=32 * np.finfo(want.dtype).eps)


@pytest.fixture(scope="module")
def function(tmp_path_factory):
    return run_on_cpu(INSTANCES, tmp_path_factory.mktemp("update"))


@pytest.fixture
def on_cpu(function, monkeypatch):
    """Launches take NumPy arrays and run on the CPU, by three blocks so that threads have several turns."""
    monkeypatch.setattr(cuda, "function", function)
    monkeypatch.setattr(cuda, "BLOCKS", 3)
    monkeypatch.setattr(cuda, "address", lambda x: x.ctypes.data)


def test_nvrtc_compiles_all_text_with_accesses_of_16_bytes():
    ptx = compile_by_nvrtc(INSTANCES).decode()
    for access in ("ld.global.v4.f32", "st.global.v4.f32", "ld.global.v2.f64", "st.global.v2.f64"):
        assert access in ptx


@pytest.mark.parametrize("offsets", [(0, 0, 0, 0, 0), (1, 1, 1, 1, 1), (3, 3, 3, 3, 3), (0, 1, 2, 3, 1)])
@pytest.mark.parametrize("n", [1, 3, 4, 17, 3101])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", COEFFICIENTS)
def test_the_text_equals_the_formula_at_any_length_and_alignment(on_cpu, name, dtype, n, offsets):
    for kind in PROXES:
        whole = operands(name, n + 9, dtype)
        expected = [x.copy() for x in whole]
        parts = [
            [x[o : o + n] for x, o in zip(arrays, offsets, strict=False)] for arrays in (whole, expected)
        ]
        update.cuda_launch(name, tuple(parts[0]), COEFFICIENTS[name], kind)
        update.FORMULAS[name](*parts[1], *COEFFICIENTS[name], kind)
        for got, want in zip(whole, expected, strict=True):
            check_close(got, want)


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_nan_comes_through(on_cpu, name):
    for kind in PROXES:
        arrays = operands(name, 37, np.float32)
        arrays[0 if name == "proximal" else 1][[0, 20, 36]] = np.nan
        update.cuda_launch(name, tuple(arrays), COEFFICIENTS[name], kind)
        written = arrays[-1 if name.endswith("forecast") else 0]
        assert np.flatnonzero(np.isnan(written)).tolist() == [0, 20, 36]


@both_types
def test_the_dispatchers_pass_their_coefficients_in_order(on_cpu, monkeypatch, dtype):
    def steps():
        flats = [operands(name, 23, dtype) for name in COEFFICIENTS]
        update.proximal(*flats[0], PROXES[1])
        update.sgd(*flats[1], 0.1, 0.05, 0.5, PROXES[2])
        update.momentum(*flats[2], 0.1, 0.9, True, 0.05, 0.5, PROXES[3])
        update.adam(*flats[3], 0.1, 0.8, 0.95, 1e-3, 3, 0.05, True, 0.5, PROXES[1])
        update.average(*flats[4], 0.75)
        for step, arrays, numbers in (
            (update.sgd, flats[5], (0.1, 0.05, 0.5)),
            (update.momentum, flats[6], (0.1, 0.9, True, 0.05, 0.5)),
            (update.adam, flats[7], (0.1, 0.8, 0.95, 1e-3, 3, 0.05, True, 0.5)),
        ):
            step(*arrays[:-1], *numbers, PROXES[1], arrays[-1])
        return [x for arrays in flats for x in arrays]

    expected = steps()
    monkeypatch.setattr(update, "family", lambda x: "cupy")
    for got, want in zip(steps(), expected, strict=True):
        check_close(got, want)


def test_an_empty_array_starts_no_kernel(monkeypatch):
    monkeypatch.setattr(update, "family", lambda x: "cupy")
    monkeypatch.setattr(cuda, "function", None)
    update.sgd(np.zeros(0), np.zeros(0), 0.1)


@both_types
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (5, 64), (70, 8), (33, 1300)])
def test_groups_equal_the_formula(on_cpu, shape, axis, dtype):
    x = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    x[:, :1] = 0
    want = x.copy()
    threshold = 0.9 * float(np.sqrt(shape[axis]))
    prox.cuda_group_soft(x, threshold, axis)
    prox.group_soft_formula(want, threshold, axis)
    check_close(x, want)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_nan_fills_its_group_and_no_other(on_cpu, axis):
    x = np.ones((4, 6), np.float32)
    x[2, 3] = np.nan
    prox.cuda_group_soft(x, 0.5, axis)
    assert np.isnan(x).sum() == (6 if axis == 1 else 4)
    assert np.isnan(x[2] if axis == 1 else x[:, 3]).all()


@pytest.mark.gpu
@both_types
@pytest.mark.parametrize("n", [0, 1, 1003, 1 << 20])
def test_on_a_gpu_the_dispatchers_equal_the_formula(n, dtype):
    cupy = pytest.importorskip("cupy")
    for kind in PROXES:
        for decoupled in (False, True):
            arrays = operands("adam", n, dtype)
            device = [cupy.asarray(x) for x in arrays]
            settings = (0.1, 0.8, 0.95, 1e-3, 3, 0.05, decoupled, 0.5, kind)
            update.adam(*arrays, *settings)
            update.adam(*device, *settings)
            for got, want in zip(device, arrays, strict=True):
                check_close(got.get(), want)
        for nesterov in (False, True):
            arrays = operands("momentum", n, dtype)
            device = [cupy.asarray(x) for x in arrays]
            update.momentum(*arrays, 0.1, 0.9, nesterov, 0.05, 0.5, kind)
            update.momentum(*device, 0.1, 0.9, nesterov, 0.05, 0.5, kind)
            for got, want in zip(device, arrays, strict=True):
                check_close(got.get(), want)


@pytest.mark.gpu
@both_types
@pytest.mark.parametrize("axis", [0, 1])
def test_on_a_gpu_groups_equal_the_formula(axis, dtype):
    cupy = pytest.importorskip("cupy")
    x = np.random.default_rng(1).standard_normal((300, 130)).astype(dtype)
    device = cupy.asarray(x)
    prox.group_soft(x, 12.0, axis)
    prox.group_soft(device, 12.0, axis)
    check_close(device.get(), x)
