"""Group soft thresholding against its definition and its optimality condition."""

from __future__ import annotations

import array_api_strict as strict
import numpy as np
import pytest

from paralift.kernels.prox import box, group_soft, l1, prox_formula, ridge


def group_soft_reference(x, t, axis):
    norm = np.linalg.norm(x, axis=axis, keepdims=True)
    return np.where(norm > t, x * (1 - t / np.where(norm > 0, norm, 1)), 0.0)


@pytest.mark.parametrize("library", ["numpy", "other"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (7, 5), (33, 130)])
def test_group_soft_equals_its_definition(shape, axis, dtype, library):
    x = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    x[:1] = 0
    threshold = 0.8 * np.sqrt(shape[axis])
    want = group_soft_reference(x.astype(np.float64), threshold, axis)
    given = x.copy() if library == "numpy" else strict.asarray(x)
    group_soft(given, threshold, axis)
    np.testing.assert_allclose(np.from_dlpack(given), want, rtol=0, atol=32 * np.finfo(dtype).eps)


@pytest.mark.parametrize("as_array", [np.asarray, strict.asarray], ids=["numpy", "other"])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_nan_fills_its_group_and_no_other(axis, as_array):
    x = np.ones((4, 6), np.float32)
    x[2, 3] = np.nan
    group = as_array(x.copy())
    group_soft(group, 0.5, axis)
    spoilt = np.zeros((4, 6), bool)
    spoilt[(2, slice(None)) if axis == 1 else (slice(None), 3)] = True
    np.testing.assert_array_equal(np.isnan(np.from_dlpack(group)), spoilt)


@pytest.mark.parametrize("axis", [0, 1])
def test_threshold_zero_changes_nothing(axis):
    x = np.array([[0.0, 0.0], [3.0, -4.0]])
    group_soft(x, 0.0, axis)
    np.testing.assert_array_equal(x, [[0.0, 0.0], [3.0, -4.0]])


def test_separable_maps_take_any_shape():
    x = np.array([[-2.0, 0.1], [0.5, 3.0]])
    np.testing.assert_allclose(prox_formula(x, l1(0.5)), [[-1.5, 0.0], [0.0, 2.5]])
    np.testing.assert_allclose(prox_formula(x, box(0.0, 1.0)), [[0.0, 0.1], [0.5, 1.0]])
    np.testing.assert_allclose(prox_formula(x, ridge(1.0)), x / 2)
