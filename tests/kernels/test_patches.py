"""Convolutions by tiles do what the formulas for any array library do; windows and their transpose agree."""

from __future__ import annotations

import array_api_strict as strict
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paralift.kernels import patches, pooling
from paralift.kernels.windows import Windows


@st.composite
def windows(draw):
    """Windows of small images that see at least one pixel each."""
    along = []
    for _ in range(2):
        kernel, stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
        before, size = draw(st.integers(0, 3)), draw(st.integers(1, 20))
        reach = dilation * (kernel - 1) + 1
        along.append((size, kernel, stride, dilation, before, max(1, (size + 2 * before - reach) // stride + 1)))
    return Windows(*zip(*along, strict=True))


SEVEN = Windows((7, 14), (3, 3), (1, 1), (1, 1), (1, 1), (7, 14))
FIVE = Windows((11, 6), (3, 2), (3, 1), (1, 1), (1, 0), (4, 5))
"""Lines of 7 and of 14 pixels, and of fewer than a tile has; a transpose in three planes."""


@settings(max_examples=60, deadline=None)
@example(SEVEN, 1, 3, 16, 2, 0)
@example(FIVE, 2, 2, 16, 2, 0)
@given(windows(), st.integers(1, 2), st.integers(1, 3), st.integers(1, 19), st.integers(0, 3), st.integers(0, 1000))
def test_tiles_and_formulas_agree(w, groups, channels, outputs, n, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, *w.size, groups * channels))
    weight = rng.standard_normal((*w.kernel, channels, groups * outputs))
    r = rng.standard_normal((n, *w.output, groups * outputs))
    product, pull, gradient = (np.full_like(a, np.nan) for a in (r, x, weight))
    patches.bound_product(x, weight, product, w, groups)()
    patches.bound_transpose(r, weight, pull, w, groups)()
    patches.bound_gradient(x, r, gradient, w, groups)()
    expected = [np.full_like(a, np.nan) for a in (r, x, weight)]
    patches.product_formula(x, weight, expected[0], w, groups)
    patches.transpose_formula(r, weight, expected[1], w, groups)
    patches.gradient_formula(x, r, expected[2], w, groups)
    for found, wanted in zip((product, pull, gradient), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-11)


IMAGE = Windows((5, 6), (3, 2), (2, 1), (1, 2), (1, 1), (3, 6))
ONE = Windows((3, 2), (1, 1), (1, 1), (1, 1), (0, 0), (3, 2))


@pytest.mark.parametrize("w", [IMAGE, ONE], ids=["windows", "one pixel"])
def test_any_array_library(w):
    rng = np.random.default_rng(0)
    host = {"x": rng.standard_normal((2, *w.size, 4)), "weight": rng.standard_normal((*w.kernel, 2, 6)),
            "r": rng.standard_normal((2, *w.output, 6))}  # fmt: skip
    groups = 2
    if w is ONE:
        host["weight"], groups = rng.standard_normal((1, 1, 4, 6)), 1
    found = []
    for xp in (np, strict):
        x, weight, r = (xp.asarray(a) for a in host.values())
        product, pull, gradient = xp.zeros_like(r), xp.zeros_like(x), xp.zeros_like(weight)
        patches.bound_product(x, weight, product, w, groups)()
        patches.bound_transpose(r, weight, pull, w, groups)()
        patches.bound_gradient(x, r, gradient, w, groups)()
        found.append([np.asarray(a) for a in (product, pull, gradient)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_poolings_of_any_array_library():
    rng = np.random.default_rng(0)
    w = Windows((5, 6), (3, 2), (2, 2), (1, 1), (1, 0), (3, 3))
    x, r = rng.integers(0, 4, (2, 5, 6, 3)).astype(float), rng.standard_normal((2, 3, 3, 3))
    spans = np.array([[0, 2], [1, 4], [3, 5]])
    boxes = pooling.Boxes(spans, spans, np.array([0.5, 0.25, 1.0]), np.ones(3))
    found = []
    for xp in (np, strict):
        a, b = xp.asarray(x), xp.asarray(r)
        outs = [xp.zeros_like(c) for c in (b, a, b, a)]
        pooling.bound_max(a, outs[0], w)()
        pooling.bound_max_transpose(a, b, outs[1], w)()
        pooling.bound_sum(a, outs[2], boxes)()
        pooling.bound_spread(b, outs[3], boxes)()
        found.append([np.asarray(o) for o in outs])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(windows())
def test_a_pixel_is_seen_by_the_outputs_that_see_it(w):
    for axis in (0, 1):
        seen = {(o, o * w.stride[axis] + k * w.dilation[axis] - w.before[axis], k)
                for o in range(w.output[axis]) for k in range(w.kernel[axis])}  # fmt: skip
        found = set()
        for a in w.transposed_axes()[axis]:
            for p in range(a.outputs):
                start, to = a.start + p * a.move, a.to + p * a.stride
                found |= {(start + t * a.space, to, a.first + t * a.step) for t in range(a.taps)}
        inside = {(o, i, k) for o, i, k in found if 0 <= o < w.output[axis]}
        assert inside == {(o, i, k) for o, i, k in seen if 0 <= i < w.size[axis]}
