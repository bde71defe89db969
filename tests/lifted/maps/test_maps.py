"""Every map: linear in each parent and in theta, with adjoint and gradient to match; shapes and their errors."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from paralift.lifted.maps import Add, Combine, Concatenate, Diagonal, Flatten, Keep, Linear, Reshape, ShapeError

CASES = {
    "linear": (Linear(4, 3), [(4,)]),
    "linear without bias": (Linear(4, 6, bias=False), [(4,)]),
    "linear on tokens": (Linear(4, 3), [(5, 4)]),
    "linear on an image": (Linear(2, 3), [(3, 4, 2)]),
    "diagonal": (Diagonal(4), [(4,)]),
    "diagonal on tokens": (Diagonal(4), [(5, 4)]),
    "add": (Add(), [(4,), (4,)]),
    "add three on tokens": (Add(), [(3, 4)] * 3),
    "weighted sum": (Combine(1.0, -0.5, -1.0), [(3, 4)] * 3),
    "scaled": (Combine(0.3), [(5,)]),
    "concatenate": (Concatenate(), [(2,), (4,), (1,)]),
    "concatenate tokens": (Concatenate(), [(3, 2), (3, 5)]),
    "keep": (Keep(), [(3, 4)]),
    "reshape": (Reshape(2, 6), [(3, 4)]),
    "reshape by -1": (Reshape(-1, 2), [(3, 4)]),
    "flatten": (Flatten(), [(2, 3, 2)]),
}
N = 3


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return CASES[request.param]


def arrays(map_, shapes, seed=0):
    rng = np.random.default_rng(seed)
    xs = [rng.standard_normal((N, *s)) for s in shapes]
    r = rng.standard_normal((N, *map_.output_shape(*shapes)))
    theta = {name: rng.standard_normal(s) for name, s in map_.parameters().items()}
    return xs, r, theta


def applied(map_, theta, xs):
    out = np.full((xs[0].shape[0], *map_.output_shape(*(x.shape[1:] for x in xs))), np.nan)
    map_.apply(theta, xs, out)
    return out


def alone(xs, k):
    """The parents with all but number k set to zero: what is affine in each parent is linear so."""
    return [x if j == k else np.zeros_like(x) for j, x in enumerate(xs)]


def test_adjoint_is_the_transpose_in_every_parent(case):
    map_, shapes = case
    xs, r, theta = arrays(map_, shapes)
    for k, x in enumerate(xs):
        pull = np.full_like(x, np.nan)
        map_.adjoint(theta, xs, r, k, pull)
        assert np.vdot(applied(map_, theta, alone(xs, k)), r) == pytest.approx(np.vdot(x, pull), rel=1e-12)


def test_apply_is_the_sum_of_the_parents_parts(case):
    map_, shapes = case
    xs, _, theta = arrays(map_, shapes)
    parts = sum(applied(map_, theta, alone(xs, k)) for k in range(len(xs)))
    np.testing.assert_allclose(applied(map_, theta, xs), parts, atol=1e-14)


def test_gradient_is_the_transpose_in_theta_and_leaves_the_offset(case):
    map_, shapes = case
    xs, r, theta = arrays(map_, shapes)
    gradient = {name: np.full_like(a, np.nan) for name, a in theta.items()}
    map_.gradient(xs, r, gradient)
    if map_.offset:
        assert np.isnan(gradient.pop(map_.offset)).all()
    if gradient:
        expected = np.vdot(applied(map_, theta, xs), r)
        found = sum(np.vdot(theta[name], g) for name, g in gradient.items())
        assert found == pytest.approx(expected, rel=1e-12)


def matrix_of(map_, theta, shapes, k):
    """The matrix of the map in parent k, built column by column."""
    size = math.prod(shapes[k])
    xs = [np.zeros((size, *s)) for s in shapes]
    xs[k] = np.eye(size).reshape(size, *shapes[k])
    return applied(map_, theta, xs).reshape(size, -1)


def test_norm_is_the_spectral_norm_where_it_is_known(case):
    map_, shapes = case
    _, _, theta = arrays(map_, shapes)
    for k in range(len(shapes)):
        known = map_.norm(theta, k)
        if isinstance(map_, Linear):
            assert known is None
        else:
            assert known == pytest.approx(np.linalg.norm(matrix_of(map_, theta, shapes, k), 2), rel=1e-12)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(("linear", "diagonal"))])
def test_curvature_bounds_the_gram_matrix_of_theta(name):
    map_, shapes = CASES[name]
    xs, _, theta = arrays(map_, shapes)
    columns = []
    for key, a in theta.items():
        for index in itertools.product(*map(range, a.shape)):
            unit = {k: np.zeros_like(b) for k, b in theta.items()}
            unit[key][index] = 1.0
            z = applied(map_, unit, xs)
            columns.append((z + unit[map_.offset] if map_.offset else z).ravel())
    jacobian = np.array(columns).T
    largest = np.linalg.norm(jacobian, 2) ** 2
    parts = [map_.curvature([x[i : i + 1] for x in xs]) for i in range(N)]
    np.testing.assert_allclose(sum(parts), map_.curvature(xs), rtol=1e-12)
    width = jacobian.shape[1] if isinstance(map_, Diagonal) else map_.parameters()["weight"][0] + 1
    assert largest <= map_.curvature(xs).max() * (1 + 1e-12) <= width * largest * (1 + 1e-12)


def test_maps_without_parameters_have_no_curvature():
    assert Add().curvature([np.ones((2, 3))] * 2).max() == 0.0
    assert Add().parameters() == {} and Keep().init(np.random.default_rng(0), 1.0) == {}


def test_linear_is_the_product_and_its_start_has_the_gain():
    map_ = Linear(400, 50)
    start = map_.init(np.random.default_rng(0), 2.0)
    assert start["weight"].var() == pytest.approx(2.0 / 400, rel=0.05)
    assert not start["bias"].any() and start["bias"].shape == (50,)
    assert list(Linear(2, 3, bias=False).init(np.random.default_rng(0), 1.0)) == ["weight"]
    x = np.random.default_rng(1).standard_normal((2, 400))
    np.testing.assert_allclose(applied(map_, start, [x]), x @ start["weight"])


def test_diagonal_starts_as_the_identity():
    x = np.random.default_rng(1).standard_normal((2, 5, 4))
    theta = Diagonal(4).init(np.random.default_rng(0), 1.0)
    np.testing.assert_array_equal(applied(Diagonal(4), theta, [x]), x)
    assert not theta["shift"].any()


def test_output_shapes():
    for map_, shapes in CASES.values():
        xs, r, theta = arrays(map_, shapes)
        assert applied(map_, theta, xs).shape == r.shape and not np.isnan(applied(map_, theta, xs)).any()
    assert Reshape(-1, 2).output_shape((3, 4)) == (6, 2)
    assert Flatten().output_shape((3, 4)) == (12,)
    assert Concatenate().output_shape((3, 2), (3, 5)) == (3, 7)
    assert Linear(4, 3).output_shape((7, 5, 4)) == (7, 5, 3)


def test_declared_inputs_and_costs():
    assert Linear(4, 3).input_shape() == (4,) and Diagonal(4).input_shape() == (4,)
    assert Add().input_shape() is None and Flatten().input_shape() is None
    assert Linear(4, 3).cost((5, 4)) == 2 * 5 * 4 * 3
    assert Diagonal(4).cost((5, 4)) == 20 and Add().cost((4,), (4,)) == 4 and Keep().cost((4,)) == 0


@pytest.mark.parametrize(
    ("map_", "shapes", "words"),
    [
        (Linear(4, 3), [(5,)], ["Linear", "4 features", "(5,)"]),
        (Linear(4, 3), [()], ["4 features", "()"]),
        (Linear(4, 3), [(4,), (4,)], ["reads 1 parent", "2 given"]),
        (Diagonal(4), [(2, 3)], ["Diagonal", "4 features", "(2, 3)"]),
        (Diagonal(4), [], ["reads 1 parent", "0 given"]),
        (Add(), [(4,)], ["two or more", "(4,)"]),
        (Add(), [(4,), (5,)], ["one shape", "(4,), (5,)"]),
        (Concatenate(), [(4,)], ["two or more", "(4,)"]),
        (Concatenate(), [(2, 4), (3, 4)], ["last axis", "(2, 4), (3, 4)"]),
        (Concatenate(), [(4,), (2, 4)], ["last axis", "(4,), (2, 4)"]),
        (Concatenate(), [(), ()], ["last axis", "(), ()"]),
        (Reshape(5), [(2, 3)], ["Reshape(5)", "(2, 3)"]),
        (Reshape(4, -1), [(2, 3)], ["Reshape(4, -1)", "(2, 3)"]),
        (Flatten(), [(2,), (3,)], ["Flatten()", "2 given"]),
        (Keep(), [(2,), (3,)], ["Keep()", "2 given"]),
    ],
)
def test_shapes_that_do_not_fit(map_, shapes, words):
    with pytest.raises(ShapeError) as error:
        map_.output_shape(*shapes)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: Linear(0, 3), "in_features is 0"),
        (lambda: Linear(3, -1), "out_features is -1"),
        (lambda: Linear(3, 2.0), "out_features is 2.0"),
        (lambda: Diagonal(0), "width is 0"),
        (lambda: Reshape(), "expected integers"),
        (lambda: Reshape(-1, -1), "at most one is -1"),
        (lambda: Reshape(2, -3), "expected integers"),
        (lambda: Reshape(2.0), "expected integers"),
    ],
)
def test_maps_that_cannot_be(build, word):
    with pytest.raises(ValueError, match=word):
        build()


def test_float32_stays_float32():
    for map_, shapes in CASES.values():
        xs, r, theta = arrays(map_, shapes)
        xs32, theta32 = [x.astype(np.float32) for x in xs], {k: a.astype(np.float32) for k, a in theta.items()}
        out = np.empty(r.shape, np.float32)
        map_.apply(theta32, xs32, out)
        np.testing.assert_allclose(out, applied(map_, theta, xs), rtol=1e-4, atol=1e-5)
