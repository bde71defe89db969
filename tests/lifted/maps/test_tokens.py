"""Embedding, Readout and Positions: products with one-hot rows and sums, written out in NumPy."""

from __future__ import annotations

import array_api_strict as strict
import numpy as np
import pytest

import paralift as pl
from paralift.lifted.maps import Embedding, Linear, Positions, Readout, ShapeError, Tied
from paralift.lifted.maps.positions import sinusoids

N, T, TOKENS, WIDTH = 3, 4, 7, 5
RNG = np.random.default_rng(0)
X = RNG.integers(0, TOKENS, (N, T)).astype(float)
W = RNG.standard_normal((TOKENS, WIDTH))
R = RNG.standard_normal((N, T, WIDTH))
HOT = np.eye(TOKENS)[X.astype(int)]
EMBEDDING, READOUT = Embedding(TOKENS, WIDTH), Readout(TOKENS, WIDTH)


@pytest.mark.parametrize("xp", [np, strict])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_embedding_is_a_product_with_one_hot_rows(xp, dtype):
    tokens, weight, r = (xp.asarray(a.astype(dtype)) for a in (X, W, R))
    out, gradient = xp.zeros(R.shape, dtype=getattr(xp, dtype)), xp.ones(W.shape, dtype=getattr(xp, dtype))
    EMBEDDING.apply({"weight": weight}, [tokens], out)
    EMBEDDING.gradient([tokens], r, {"weight": gradient})
    np.testing.assert_array_equal(np.asarray(out), W.astype(dtype)[X.astype(int)])
    expected = np.einsum("ntk,ntj->kj", HOT, R)
    np.testing.assert_allclose(np.asarray(gradient), expected, atol=1e-5 if dtype == "float32" else 1e-13)


def test_numbers_outside_the_table_stay_inside_its_memory():
    out, gradient = np.empty((1, 4, WIDTH)), np.empty_like(W)
    wild = np.array([[-3.0, 1e12, np.inf, -np.inf]])
    EMBEDDING.apply({"weight": W}, [wild], out)
    EMBEDDING.gradient([wild], np.ones((1, 4, WIDTH)), {"weight": gradient})
    assert gradient.sum() == 4 * WIDTH and (np.abs(out[..., None, :] - W).min(axis=2) == 0).all()


def test_tokens_do_not_move():
    with pytest.raises(TypeError, match="tokens have no pull"):
        EMBEDDING.adjoint({"weight": W}, [X], R, 0, X)
    assert EMBEDDING.norm({"weight": W}, 0) == 0.0


def test_readout_is_the_product_with_the_transpose():
    x, r = R, RNG.standard_normal((N, T, TOKENS))
    out, pull, gradient = np.empty_like(r), np.empty_like(x), np.empty_like(W)
    READOUT.apply({"weight": W}, [x], out)
    READOUT.adjoint({"weight": W}, [x], r, 0, pull)
    READOUT.gradient([x], r, {"weight": gradient})
    np.testing.assert_allclose(out, x @ W.T, atol=1e-13)
    assert np.vdot(out, r) == pytest.approx(np.vdot(x, pull), rel=1e-12)
    assert np.vdot(out, r) == pytest.approx(np.vdot(W, gradient), rel=1e-12)


@pytest.mark.parametrize("kind", ["learned", "sinusoidal"])
@pytest.mark.parametrize("xp", [np, strict])
def test_positions_are_added(kind, xp):
    map_ = Positions(T, WIDTH, kind)
    p = map_.init(np.random.default_rng(1), 1.0).get("position", sinusoids(T, WIDTH, "float64"))
    theta = {"position": xp.asarray(p.copy())}
    x, r, out, pull = xp.asarray(R), xp.asarray(R[::-1].copy()), *(xp.zeros(R.shape, dtype=xp.float64) for _ in range(2))
    map_.apply(theta if map_.parameters() else {}, [x], out)
    map_.adjoint(theta, [x], r, 0, pull)
    np.testing.assert_allclose(np.asarray(out), R + p)
    np.testing.assert_array_equal(np.asarray(pull), R[::-1])
    if map_.parameters():
        map_.gradient([x], r, theta)
        np.testing.assert_allclose(np.asarray(theta["position"]), R.sum(axis=0))
    assert map_.norm(theta, 0) == 1.0


def test_sinusoids_by_hand():
    table = sinusoids(3, 4, "float64")
    np.testing.assert_allclose(table[0], [0, 1, 0, 1])
    np.testing.assert_allclose(table[2], [np.sin(2), np.cos(2), np.sin(0.02), np.cos(0.02)])


@pytest.mark.parametrize("map_", [EMBEDDING, READOUT, Positions(T, WIDTH)], ids=repr)
def test_curvature_bounds_the_gram_matrix(map_):
    x = X if map_ is EMBEDDING else R
    columns, (name, shape) = [], next(iter(map_.parameters().items()))
    zero = np.empty((N, *map_.output_shape(x.shape[1:])))
    map_.apply({name: np.zeros(shape)}, [x], zero)
    for index in np.ndindex(shape):
        unit, z = np.zeros(shape), np.empty_like(zero)
        unit[index] = 1.0
        map_.apply({name: unit}, [x], z)
        columns.append((z - zero).ravel())
    largest = np.linalg.norm(np.array(columns), 2) ** 2
    assert largest <= map_.curvature([x]).max() * (1 + 1e-12) <= (WIDTH + 1) * largest
    np.testing.assert_allclose(sum(map_.curvature([x[i : i + 1]]) for i in range(N)), map_.curvature([x]))


def test_starts_have_the_size_of_a_linear_maps():
    for map_ in (Embedding(500, 40), Readout(500, 40)):
        assert map_.init(np.random.default_rng(0), 2.0)["weight"].var() == pytest.approx(2.0 / 40, rel=0.05)
    plain, small = (Linear(40, 500, gain=g).init(np.random.default_rng(0), 1.0)["weight"] for g in (1.0, 0.25))
    np.testing.assert_allclose(small, 0.25 * plain)
    assert repr(Linear(2, 3)) == "Linear(in_features=2, out_features=3, bias=True)"
    assert repr(Linear(2, 3, gain=0.5)) == "Linear(in_features=2, out_features=3, bias=True, gain=0.5)"


@pytest.mark.parametrize("value", [-1.0, TOKENS, 1.5, np.nan])
def test_tokens_are_checked_where_they_enter(value):
    net = pl.Sequential(EMBEDDING, Readout(TOKENS, WIDTH), pl.Softmax(), input_shape=(T,))
    params, x = net.init(0, np.float64), X.copy()
    x[2, 1] = value
    words = rf"sample 2, position 1: the token is {value:g}, expected a whole number from 0 to {TOKENS - 1}"
    for use in (lambda: net.apply(params, x), lambda: pl.value_and_grad(net)(params, x, X.astype(int))):
        with pytest.raises(ValueError, match=words):
            use()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Embedding(0, 3), "tokens is 0"),
        (lambda: Readout(3, 0), "width is 0"),
        (lambda: Embedding((1 << 24) + 1, 3), "float32 tells no more"),
        (lambda: Positions(0, 3), "length is 0"),
        (lambda: Positions(3, 3, "random"), "kind is 'random'"),
        (lambda: Linear(3, 3, gain=-1.0), "gain is -1.0"),
        (lambda: Tied(pl.Flatten(), "linear1"), "a map with parameters"),
        (lambda: Tied(READOUT, ""), "the name of an earlier block"),
        (lambda: Tied(Tied(READOUT, "a"), "b"), "a map with parameters"),
    ],
)
def test_maps_that_cannot_be(build, words):
    with pytest.raises(ValueError, match=words):
        build()


@pytest.mark.parametrize(
    ("map_", "shape", "words"),
    [
        (EMBEDDING, (), "one token or more"),
        (READOUT, (T, 4), "5 features"),
        (Positions(T, WIDTH), (T + 1, WIDTH), r"samples of shape \(4, 5\)"),
    ],
)
def test_shapes_that_do_not_fit(map_, shape, words):
    with pytest.raises(ShapeError, match=words):
        map_.output_shape(shape)
