"""Scores and Mix: bilinear, with the adjoint of each parent at the other's value; by head, as written out in NumPy."""

from __future__ import annotations

import array_api_strict as strict
import numpy as np
import pytest

from paralift.lifted.maps import Mix, Scores, ShapeError

N, T, S, HEADS, WIDTH = 2, 4, 5, 3, 6
D = WIDTH // HEADS
CASES = {
    "scores": (Scores(HEADS), [(T, WIDTH), (S, WIDTH)]),
    "scores of one head": (Scores(1), [(T, WIDTH), (T, WIDTH)]),
    "mix": (Mix(HEADS), [(HEADS, T, S), (S, WIDTH)]),
    "mix of one head": (Mix(1), [(1, T, T), (T, WIDTH)]),
}


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return CASES[request.param]


def arrays(map_, shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((N, *s)) for s in shapes], rng.standard_normal((N, *map_.output_shape(*shapes)))


def applied(map_, xs):
    out = np.full((N, *map_.output_shape(*(x.shape[1:] for x in xs))), np.nan)
    map_.apply({}, xs, out)
    return out


def test_adjoint_is_the_transpose_at_the_other_parents_value(case):
    map_, shapes = case
    xs, r = arrays(map_, shapes)
    for k, x in enumerate(xs):
        pull = np.full_like(x, np.nan)
        map_.adjoint({}, xs, r, k, pull)
        assert np.vdot(applied(map_, xs), r) == pytest.approx(np.vdot(x, pull), rel=1e-12)


def test_linear_in_each_parent(case):
    map_, shapes = case
    (a, b), _ = arrays(map_, shapes)
    (c, d), _ = arrays(map_, shapes, seed=1)
    np.testing.assert_allclose(applied(map_, [a + 2 * c, b]), applied(map_, [a, b]) + 2 * applied(map_, [c, b]), atol=1e-12)
    np.testing.assert_allclose(applied(map_, [a, b + 2 * d]), applied(map_, [a, b]) + 2 * applied(map_, [a, d]), atol=1e-12)


def test_by_hand():
    (q, k), _ = arrays(*CASES["scores"])
    z = applied(Scores(HEADS), [q, k])
    (p, v), _ = arrays(*CASES["mix"])
    o = applied(Mix(HEADS), [p, v])
    for n in range(N):
        for h in range(HEADS):
            own = slice(h * D, (h + 1) * D)
            np.testing.assert_allclose(z[n, h], q[n][:, own] @ k[n][:, own].T / np.sqrt(D))
            np.testing.assert_allclose(o[n][:, own], p[n, h] @ v[n][:, own])


def test_bound_work_reads_its_arrays_again_and_allocates_no_array(case):
    map_, shapes = case
    xs, r = arrays(map_, shapes)
    out, pull = np.empty_like(r), np.empty_like(xs[1])
    forward, back = map_.bound_apply({}, xs, out), map_.bound_adjoint({}, xs, r, 1, pull)
    forward()
    xs[0] *= 2
    r *= 3
    forward()
    back()
    expected = np.empty_like(pull)
    map_.adjoint({}, xs, r, 1, expected)
    np.testing.assert_array_equal(out, applied(map_, xs))
    np.testing.assert_array_equal(pull, expected)


def test_other_libraries(case):
    map_, shapes = case
    xs, r = arrays(map_, shapes)
    dxs, dr = [strict.asarray(x) for x in xs], strict.asarray(r)
    out = strict.zeros(r.shape, dtype=strict.float64)
    map_.apply({}, dxs, out)
    np.testing.assert_allclose(np.asarray(out), applied(map_, xs), atol=1e-14)
    for k, x in enumerate(xs):
        pull, expected = strict.zeros(x.shape, dtype=strict.float64), np.empty_like(x)
        map_.adjoint({}, dxs, dr, k, pull)
        map_.adjoint({}, xs, r, k, expected)
        np.testing.assert_allclose(np.asarray(pull), expected, atol=1e-14)


def test_shapes_and_costs():
    assert Scores(2).output_shape((T, 8), (S, 8)) == (2, T, S)
    assert Mix(2).output_shape((2, T, S), (S, 8)) == (T, 8)
    assert Scores(2).cost((T, 8), (S, 8)) == Mix(2).cost((2, T, S), (S, 8)) == 2 * T * S * 8
    assert Scores(2).norm({}, 0) is None and Scores(2).bilinear and Mix(2).bilinear


@pytest.mark.parametrize(
    ("map_", "shapes", "words"),
    [
        (Scores(2), [(4, 6)], ["reads 2 parents", "1 given"]),
        (Scores(2), [(4, 6), (4, 8)], ["queries", "(4, 6)", "(4, 8)"]),
        (Scores(2), [(6,), (6,)], ["queries", "(6,)"]),
        (Scores(4), [(4, 6), (4, 6)], ["4 heads", "width of 6"]),
        (Mix(2), [(2, 4, 4), (5, 6)], ["(2, T, S)", "(5, 6)"]),
        (Mix(3), [(2, 4, 4), (4, 6)], ["(3, T, S)", "(2, 4, 4)"]),
        (Mix(4), [(4, 4, 4), (4, 6)], ["4 heads", "width of 6"]),
    ],
)
def test_shapes_that_do_not_fit(map_, shapes, words):
    with pytest.raises(ShapeError) as error:
        map_.output_shape(*shapes)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize("build", [Scores, Mix])
def test_heads_are_counted(build):
    with pytest.raises(ValueError, match="heads is 0"):
        build(0)
