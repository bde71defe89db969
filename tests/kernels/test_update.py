"""The fused parameter updates against the textbook: every family, proximal map, dtype, awkward lengths."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys

import array_api_strict as strict
import numba
import numpy as np
import pytest

from paralift.kernels import update
from paralift.kernels.jit import FASTMATH
from paralift.kernels.prox import KINDS, MAPS, NO_PROX, box, l1, ridge

FAMILIES = ("proximal", "sgd", "momentum", "nesterov", "adam", "adamw")
PROXES = {"none": NO_PROX, "l1": l1(0.3), "box": box(-0.4, 0.7), "ridge": ridge(0.25)}
RATE, DECAY, SCALE, MU, BETA1, BETA2, EPS = 0.1, 0.05, 0.5, 0.9, 0.8, 0.95, 1e-3


def soft(x, t):
    return np.sign(x) * np.maximum(np.abs(x) - t, 0)


REFERENCE_PROX = {
    "none": lambda x: x,
    "l1": lambda x: soft(x, 0.3),
    "box": lambda x: np.minimum(np.maximum(x, -0.4), 0.7),
    "ridge": lambda x: x / 1.25,
}


def operands(name, n, dtype, seed=0):
    """Parameter, gradient and as many states as the family has; second moments are not negative."""
    rng = np.random.default_rng(seed)
    count = {"proximal": 1, "sgd": 2, "momentum": 3, "nesterov": 3, "adam": 4, "adamw": 4}[name]
    arrays = [rng.standard_normal(n).astype(dtype) for _ in range(count)]
    if count == 4:
        np.abs(arrays[3], out=arrays[3])
    return arrays


def call(name, arrays, prox, t=3):
    if name == "proximal":
        update.proximal(*arrays, prox)
    elif name == "sgd":
        update.sgd(*arrays, RATE, DECAY, SCALE, prox)
    elif name in ("momentum", "nesterov"):
        update.momentum(*arrays, RATE, MU, name == "nesterov", DECAY, SCALE, prox)
    else:
        update.adam(*arrays, RATE, BETA1, BETA2, EPS, t, DECAY, name == "adamw", SCALE, prox)


def reference(name, arrays, prox, t=3):
    """What `call` should leave in the arrays, by the textbook, in float64."""
    p, *rest = (x.astype(np.float64) for x in arrays)
    prox = REFERENCE_PROX[prox.kind]
    if name == "proximal":
        return [prox(p)]
    g, *states = rest
    d = SCALE * g + (0.0 if name == "adamw" else DECAY) * p
    if name == "sgd":
        return [prox(p - RATE * d), g]
    if name in ("momentum", "nesterov"):
        v = MU * states[0] + d
        return [prox(p - RATE * (d + MU * v if name == "nesterov" else v)), g, v]
    m = BETA1 * states[0] + (1 - BETA1) * d
    s = BETA2 * states[1] + (1 - BETA2) * d**2
    if name == "adamw":
        p = p - RATE * DECAY * p
    return [prox(p - RATE * (m / (1 - BETA1**t)) / (np.sqrt(s / (1 - BETA2**t)) + EPS)), g, m, s]


@pytest.mark.parametrize("n", [0, 1, 7, 64, 1003])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FAMILIES)
def test_numba_kernels_equal_the_textbook(name, kind, dtype, n):
    arrays = operands(name, n, dtype)
    expected = reference(name, arrays, PROXES[kind])
    call(name, arrays, PROXES[kind])
    for got, want in zip(arrays, expected, strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, rtol=0, atol=8 * np.finfo(dtype).eps * 8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FAMILIES)
def test_formulas_for_other_libraries_equal_the_textbook(name, kind, dtype):
    arrays = operands(name, 19, dtype)
    expected = reference(name, arrays, PROXES[kind])
    others = [strict.asarray(x) for x in arrays]
    call(name, others, PROXES[kind])
    for got, want in zip(others, expected, strict=True):
        assert np.dtype(str(got.dtype).rsplit(".", 1)[-1]) == dtype
        np.testing.assert_allclose(np.from_dlpack(got), want, rtol=0, atol=64 * np.finfo(dtype).eps)


@pytest.mark.parametrize("library", [np.asarray, strict.asarray], ids=["numpy", "other"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "proximal"])
def test_a_forecast_is_what_the_parameter_would_become(name, kind, dtype, library):
    """All else stays as it is, bit for bit."""
    arrays = operands(name, 29, dtype)
    expected = [x.copy() for x in arrays]
    call(name, expected, PROXES[kind])
    given = [library(x.copy()) for x in (*arrays, np.full(29, np.nan, dtype))]
    *kept, forecast = given
    step = update.adam if len(kept) == 4 else update.momentum if len(kept) == 3 else update.sgd
    last = {"forecast": forecast}
    if step is update.adam:
        step(*kept, RATE, BETA1, BETA2, EPS, 3, DECAY, name == "adamw", SCALE, PROXES[kind], **last)
    elif step is update.momentum:
        step(*kept, RATE, MU, name == "nesterov", DECAY, SCALE, PROXES[kind], **last)
    else:
        step(*kept, RATE, DECAY, SCALE, PROXES[kind], **last)
    for got, want in zip(kept, arrays, strict=True):
        np.testing.assert_array_equal(np.from_dlpack(got), want)
    np.testing.assert_allclose(np.from_dlpack(forecast), expected[0], rtol=0, atol=64 * np.finfo(dtype).eps)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FAMILIES)
def test_nan_comes_through_and_stays_where_it_was(name, kind):
    arrays = operands(name, 37, np.float32)
    source = arrays[0] if name == "proximal" else arrays[1]
    source[[0, 20, 36]] = np.nan
    call(name, arrays, PROXES[kind])
    assert np.flatnonzero(np.isnan(arrays[0])).tolist() == [0, 20, 36]


@pytest.mark.parametrize("name", FAMILIES)
def test_only_the_slice_that_is_given_changes(name):
    arrays = operands(name, 101, np.float32)
    before = [x.copy() for x in arrays]
    call(name, [x[13:76] for x in arrays], PROXES["l1"])
    for x, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(x[:13], old[:13])
        np.testing.assert_array_equal(x[76:], old[76:])
    assert not np.array_equal(arrays[0][13:76], before[0][13:76])


@pytest.mark.parametrize("as_array", [np.asarray, strict.asarray], ids=["numpy", "other"])
@pytest.mark.parametrize("x", [0.0, -0.0, 0.3, -0.3, 1e-40, 3e38, -math.inf, math.inf])
def test_edge_values_of_the_proximal_maps(x, as_array):
    for kind, prox in PROXES.items():
        p = as_array(np.full(5, x, np.float32))
        update.proximal(p, prox)
        want = REFERENCE_PROX[kind](np.float32(x))
        np.testing.assert_allclose(np.from_dlpack(p), np.full(5, want), rtol=3e-7, atol=2e-8)


def test_nonnegative_is_a_half_open_box():
    p = np.array([-math.inf, -2.0, 0.0, 3.0, math.inf])
    update.proximal(p, box(0.0, math.inf))
    np.testing.assert_array_equal(p, [0.0, 0.0, 0.0, 3.0, math.inf])


def test_first_step_of_adam_is_the_sign_of_the_gradient():
    """Known answer: both bias corrections undo the zero start, so m^ / sqrt(s^) = sign(g)."""
    g = np.array([3.0, -1e-4, 50.0])
    p, m, s = np.zeros(3), np.zeros(3), np.zeros(3)
    update.adam(p, g, m, s, 0.01, eps=0.0, t=1)
    np.testing.assert_allclose(p, -0.01 * np.sign(g), rtol=1e-12)


def test_late_steps_of_adam_lose_no_precision_in_float32():
    """1 - beta2^t is formed in float64: in float32 it is wrong by per cents for beta2 near 1."""
    beta2 = 1 - 1e-7
    p, g, m, s = (np.zeros(1, np.float32) for _ in range(4))
    g[0] = 2.0
    update.adam(p, g, m, s, 1.0, 0.0, beta2, 0.0, 1)
    np.testing.assert_allclose(p, -1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "error"),
    [
        ((np.zeros(3), np.zeros(4)), ValueError),
        ((np.zeros(3), np.zeros(3, np.float32)), TypeError),
        ((np.zeros((2, 2)), np.zeros((2, 2))), TypeError),
        ((np.zeros(6)[::2], np.zeros(3)), TypeError),
        ((np.zeros(3, np.int64), np.zeros(3, np.int64)), TypeError),
        ((np.zeros(3), [0.0, 0.0, 0.0]), TypeError),
        ((strict.zeros(3), strict.zeros(4)), ValueError),
        ((strict.zeros(3), strict.zeros(3, dtype=strict.float32)), TypeError),
    ],
    ids=["length", "mixed", "matrix", "strided", "integer", "list", "other-length", "other-mixed"],
)
def test_arrays_that_do_not_fit_are_refused(arrays, error):
    with pytest.raises(error, match="sgd: the arrays .* were given, expected one-dimensional contiguous"):
        update.sgd(*arrays, 0.1)


def test_a_read_only_parameter_is_refused():
    p = np.zeros(3)
    p.flags.writeable = False
    with pytest.raises(TypeError, match="writable"):
        update.sgd(p, np.zeros(3), 0.1)


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_states_of_another_length_are_refused_before_anything_is_written(name):
    arrays = operands(name, 9, np.float64)
    arrays[-1] = arrays[-1][:-1].copy()
    before = arrays[0].copy()
    with pytest.raises(ValueError, match="of one length"):
        call(name, arrays, NO_PROX)
    np.testing.assert_array_equal(arrays[0], before)


def test_adam_counts_steps_from_one():
    with pytest.raises(ValueError, match="t = 0 was given"):
        update.adam(*operands("adam", 3, np.float64), 0.1, t=0)


def test_another_process_loads_every_kernel_from_the_disk(tmp_path):
    """Two fresh processes: what the first one compiles, the second one finds."""
    program = (
        "from paralift.kernels.update import FORMULAS, kernel\n"
        f"stats = [kernel(name, kind).stats for name in FORMULAS for kind in {KINDS}]\n"
        "print(*(sum(sum(s[i].values()) for s in stats) for i in (1, 2)))"
    )
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", program]
    counts = [
        subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ]
    assert counts == [["0", "64"], ["64", "0"]]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="looks for x86 instructions")
@pytest.mark.parametrize(("dtype", "root"), [("f4", "sqrtps"), ("f8", "sqrtpd")])
def test_adam_is_vectorised(dtype, root):
    """The machine code has packed roots: a kernel that takes one entry at a time is 11 times slower."""
    compiled = numba.njit(update._build_adam(MAPS["l1"]), fastmath=FASTMATH, error_model="numpy")
    compiled.compile("b1(" + ",".join([f"{dtype}[::1]"] * 4 + [dtype] * 11) + ")")
    assert root in compiled.inspect_asm(compiled.signatures[0])
