"""Regularisers: optimality of the proximal maps, values, what they act on, and their fused kernels."""

from __future__ import annotations

import math

import array_api_strict as strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from paralift.kernels.prox import KINDS, prox_formula
from paralift.optim import L1, Box, GroupL1, MaxNorm, NonNegative, Regularizer, Ridge

SEPARABLE = [L1(0.7), Box(-0.5, 1.25), Box(None, 0.5), Box(-1.0, None), NonNegative(), Ridge(1.5)]
ALL = [*SEPARABLE, GroupL1(0.7), GroupL1(1.1, axis=0), MaxNorm(1.2), MaxNorm(0.4, axis=1)]
NAMES = {kind.__name__: kind for kind in (L1, Box, NonNegative, Ridge, GroupL1, MaxNorm)}
matrices = hnp.arrays(np.float64, (4, 3), elements=st.floats(-3, 3))
steps = st.floats(0.05, 4)
thorough = settings(deadline=None, max_examples=60, derandomize=True)
every = pytest.mark.parametrize("r", ALL, ids=repr)


@every
@thorough
@given(v=matrices, other=matrices, step=steps)
def test_no_other_point_is_better_than_the_prox(r, v, other, step):
    """It minimises step R(x) + |x - v|^2 / 2, so by strong convexity others are worse by |x - p|^2 / 2."""
    p = r.prox(v, step)
    other = r.prox(other, 0.0) if r.value(other) == math.inf else other  # into the domain
    for x in (other, p + 1e-3 * (other - p)):
        worse = step * r.value(x) + 0.5 * np.sum((x - v) ** 2)
        best = step * r.value(p) + 0.5 * np.sum((p - v) ** 2)
        assert worse >= best + 0.5 * np.sum((x - p) ** 2) - 1e-12


@every
@thorough
@given(u=matrices, v=matrices, step=steps)
def test_the_prox_is_firmly_nonexpansive(r, u, v, step):
    p, q = r.prox(u, step), r.prox(v, step)
    assert np.sum((p - q) ** 2) <= np.sum((p - q) * (u - v)) + 1e-12


@thorough
@given(v=matrices, step=steps)
def test_moreau_identity_of_l1(v, step):
    """V - prox_{t R}(v) is the projection onto the box of radius t weight, the conjugate's domain."""
    r = L1(0.7)
    np.testing.assert_allclose(v - r.prox(v, step), Box(-0.7 * step, 0.7 * step).prox(v, 1.0), atol=1e-14)


def test_known_values():
    x = np.array([[3.0, -4.0], [0.0, 1.0]])
    assert L1(2.0).value(x) == 16.0
    assert Ridge(2.0).value(x) == 26.0
    assert GroupL1(2.0).value(x) == pytest.approx(2 * (5 + 1))
    assert GroupL1(2.0, axis=0).value(x) == pytest.approx(2 * (3 + math.sqrt(17)))
    assert Box(-4.0, 3.0).value(x) == 0.0
    assert Box(-3.9, 3.0).value(x) == math.inf
    assert NonNegative().value(x) == math.inf
    assert NonNegative().value(abs(x)) == 0.0
    np.testing.assert_allclose(MaxNorm(2.5, axis=1).prox(x, 1.0), [[1.5, -2.0], [0.0, 1.0]])
    np.testing.assert_allclose(MaxNorm(2.0).prox(x, 1.0), x * [2 / 3, 2 / math.sqrt(17)])
    assert MaxNorm(5.0, axis=1).value(x) == 0.0 and MaxNorm(4.9, axis=1).value(x) == math.inf
    np.testing.assert_allclose(L1(2.0).value_rows(x), [14, 2])
    np.testing.assert_allclose(GroupL1(2.0).value_rows(x), [10, 2])
    np.testing.assert_array_equal(Box(-3.0, 3.0).value_rows(x), [math.inf, 0])


@pytest.mark.parametrize("r", [*SEPARABLE, GroupL1(0.7), MaxNorm(1.0, axis=1)], ids=repr)
def test_rows_sum_to_the_value(r):
    x = np.abs(np.random.default_rng(0).standard_normal((5, 4))) / 10
    rows = r.value_rows(x)
    assert rows.shape == (5,)
    assert np.sum(rows) == pytest.approx(r.value(x))


def test_groups_that_couple_rows_have_no_value_for_each():
    with pytest.raises(TypeError, match=r"GroupL1\(axis=0\) couples the rows"):
        GroupL1(1.0, axis=0).value_rows(np.ones((2, 2)))


def test_groups_of_a_kernel_are_those_of_its_first_or_last_dimension():
    x = np.random.default_rng(2).standard_normal((4, 2, 3, 5))
    rows = GroupL1(0.4).prox(x, 2.0)
    columns = GroupL1(0.4, axis=0).prox(x, 2.0)
    for i in range(4):
        factor = max(1 - 0.8 / np.linalg.norm(x[i]), 0)
        np.testing.assert_allclose(rows[i], x[i] * factor)
    for j in range(5):
        factor = max(1 - 0.8 / np.linalg.norm(x[..., j]), 0)
        np.testing.assert_allclose(columns[..., j], x[..., j] * factor)


@pytest.mark.parametrize("axis", [0, 1])
def test_in_a_vector_every_entry_is_a_group(axis):
    x = np.array([3.0, -0.5, 1.0])
    group, entries = GroupL1(1.0, axis=axis, on="all"), L1(1.0, on="all")
    np.testing.assert_allclose(group.prox(x, 0.75), entries.prox(x, 0.75))
    assert group.value(x) == pytest.approx(entries.value(x))


@every
def test_offsets_are_left_alone_unless_asked_for(r):
    x = np.array([-2.0, 0.5, 3.0])
    assert not r.acts_on(x.shape)
    assert r.value(x) == 0.0
    np.testing.assert_array_equal(r.prox(x, 1.0), x)
    kwargs = {f: getattr(r, f) for f in ("weight", "limit", "axis", "low", "high") if hasattr(r, f)}
    everywhere = type(r)(**kwargs, on="all")
    assert everywhere.acts_on(x.shape)
    as_matrix = x[None, :] if getattr(r, "axis", 1) == 0 else x[:, None]
    np.testing.assert_allclose(everywhere.prox(x, 1.0), r.prox(as_matrix, 1.0).reshape(-1))


@every
def test_prox_is_a_new_array_and_apply_works_in_place(r):
    x = np.random.default_rng(3).standard_normal((6, 4))
    before = x.copy()
    p = r.prox(x, 0.6)
    np.testing.assert_array_equal(x, before)
    r.apply(x, 0.6)
    np.testing.assert_array_equal(x, p)
    assert not np.array_equal(x, before)


@every
@pytest.mark.parametrize("view", [lambda x: x.T, lambda x: x[:, ::2]], ids=["transposed", "strided"])
def test_apply_reaches_through_views(r, view):
    x = np.random.default_rng(4).standard_normal((6, 4))
    want = r.prox(view(x).copy(), 0.6)
    r.apply(view(x), 0.6)
    np.testing.assert_allclose(view(x), want, rtol=1e-15)


@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_other_array_libraries_give_the_same(r, dtype):
    x = np.random.default_rng(5).standard_normal((6, 4)).astype(dtype)
    other = strict.asarray(x)
    p = r.prox(other, 0.6)
    assert p.dtype == getattr(strict, dtype)
    np.testing.assert_allclose(np.from_dlpack(p), r.prox(x, 0.6), rtol=0, atol=8 * np.finfo(dtype).eps)
    assert r.value(p) == pytest.approx(r.value(r.prox(x, 0.6)), rel=1e-6)


@pytest.mark.parametrize("r", SEPARABLE, ids=repr)
def test_fused_kernels_are_told_the_same_map(r):
    x = np.random.default_rng(6).standard_normal((6, 4))
    prox = r.fused(0.6)
    assert prox.kind in KINDS
    np.testing.assert_allclose(prox_formula(x, prox), r.prox(x, 0.6))


def test_groups_are_not_separable():
    assert GroupL1(1.0).fused(0.5) is None


def test_a_nan_shows_in_the_result_and_makes_a_box_infinite():
    x = np.full((2, 2), np.nan)
    for r in ALL:
        assert np.isnan(r.prox(x, 0.5)).all()
    assert Box(0.0, 1.0).value(x) == math.inf


@pytest.mark.parametrize("r", [*ALL, L1(np.float32(0.5), on="all"), Box(-math.inf, math.inf)], ids=repr)
def test_the_repr_makes_the_regulariser_again(r):
    assert eval(repr(r), NAMES) == r


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: L1(-1.0), ValueError, "L1: weight = -1.0 was given, expected a finite number >= 0"),
        (lambda: L1(None), TypeError, "weight = None was given, expected a number"),
        (lambda: Ridge(math.nan), ValueError, "Ridge: weight = nan"),
        (lambda: GroupL1(-1.0), ValueError, "GroupL1: weight = -1.0"),
        (lambda: GroupL1(1.0, axis=2), ValueError, "axis = 2 was given, expected 1"),
        (lambda: Box(1.0, 0.0), ValueError, "low = 1.0 and high = 0.0 were given, expected low <= high"),
        (lambda: Box(math.nan, 0.0), ValueError, "low = nan"),
        (lambda: Box(0.0, -math.inf), ValueError, "high = -inf"),
        (
            lambda: L1(1.0, on="offsets"),
            ValueError,
            "on = 'offsets' was given, expected one of 'weights', 'all'",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_regulariser_without_formulas_says_so():
    x = np.ones((2, 2))
    with pytest.raises(NotImplementedError, match="Regularizer is not a sum over entries"):
        Regularizer().value(x)
    with pytest.raises(NotImplementedError, match="Regularizer has no proximal map"):
        Regularizer().apply(x, 1.0)
