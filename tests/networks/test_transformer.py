"""A transformer by its operators is a transformer: written out in NumPy, and its gradient by finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from problems import cosine, numerical_derivative, random_params

import paralift as pl
from paralift.lifted.activations import Normalise
from paralift.lifted.maps import Scores, ShapeError

TOKENS, T, WIDTH, HEADS = 7, 5, 6, 2
RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, TOKENS, (3, T)).astype(float), RNG.integers(0, TOKENS, (3, T))


def small(**settings):
    return pl.networks.transformer(TOKENS, T, WIDTH, 2, HEADS, **settings)


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def by_hand(p, x, norm):
    """The forward pass, sample by sample and head by head."""

    def affine(name, a):
        return a @ p[name]["weight"] + p[name].get("bias", 0.0)

    def normal(number, a):
        a = Normalise(centre=norm == "layer").sigma(a)
        return a * p[f"diagonal{number}"]["gain"] + p[f"diagonal{number}"]["shift"]

    out = []
    for row in x.astype(int):
        a = p["embedding1"]["weight"][row] + p["positions1"]["position"]
        for block in range(2):
            first, b = 6 * block, normal(1 + 2 * block, a)
            q, k, v = (affine(f"linear{first + i}", b) for i in (1, 2, 3))
            heads = []
            for own in np.split(np.arange(WIDTH), HEADS):
                scores = q[:, own] @ k[:, own].T / np.sqrt(WIDTH / HEADS)
                heads.append(softmax(np.where(np.tri(T, dtype=bool), scores, -np.inf)) @ v[:, own])
            a = a + affine(f"linear{first + 4}", np.concatenate(heads, axis=1))
            hidden = np.maximum(affine(f"linear{first + 5}", normal(2 + 2 * block, a)), 0.0)
            a = a + affine(f"linear{first + 6}", hidden)
        out.append(softmax(normal(5, a) @ p["readout1"]["weight"].T))
    return np.array(out)


def tied_params(network, seed=0):
    params = random_params(network, seed)
    for tie in network.ties:
        for block in tie.blocks[1:]:
            params[block][tie.name] = params[tie.blocks[0]][tie.name].copy()
    return params


@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_forward_by_hand(norm):
    network = small(norm=norm)
    params = tied_params(network)
    np.testing.assert_allclose(network.apply(params, X), by_hand(params, X, norm), atol=1e-12)


def test_no_token_sees_what_follows_it():
    network = small()
    params, other = network.init(0, np.float64), X.copy()
    other[:, 3] = (other[:, 3] + 1) % TOKENS
    a, b = network.apply(params, X), network.apply(params, other)
    np.testing.assert_array_equal(a[:, :3], b[:, :3])
    assert (a[:, 3:] != b[:, 3:]).all()


def shared_direction(network, params):
    """A direction in which replicas move together, and one whose product with a gradient counts them once."""
    rng = np.random.default_rng(5)
    along = {b: {k: rng.standard_normal(a.shape) for k, a in arrays.items()} for b, arrays in params.items()}
    once = {b: dict(arrays) for b, arrays in along.items()}
    for tie in network.ties:
        for block in tie.blocks[1:]:
            along[block][tie.name] = along[tie.blocks[0]][tie.name]
            once[block][tie.name] = np.zeros(tie.shape)
    return along, once


@pytest.mark.parametrize("tied", [True, False])
def test_gradient_is_that_of_the_mean_loss_of_a_token(tied):
    network = small(tied=tied, activation=pl.Softplus())
    params = tied_params(network)
    f = pl.value_and_grad(network, pl.methods.backprop())
    along, once = shared_direction(network, params)
    value, grads = f(params, X, Y)
    expected = numerical_derivative(lambda p: f(p, X, Y)[0], params, along)
    found = sum(np.vdot(grads[b][k], once[b][k]) for b in grads for k in grads[b])
    assert found == pytest.approx(expected, rel=1e-6)
    chosen = np.take_along_axis(network.apply(params, X), Y[..., None], axis=-1)
    assert value == pytest.approx(-np.log(chosen).mean())


@pytest.mark.parametrize(("method", "least"), [("beta=1.0", 0.9), ("beta=1e-3", 1 - 1e-6), ("relative=1e-3", 1 - 1e-3)])
def test_nudges_point_along_backpropagation(method, least):
    network = small()
    params = tied_params(network)
    key, value = method.split("=")
    _, expected = pl.value_and_grad(network, pl.methods.backprop())(params, X, Y)
    _, found = pl.value_and_grad(network, pl.methods.nudged(**{key: float(value)}))(params, X, Y)
    assert min(cosine(found[b][k], a) for b, arrays in expected.items() for k, a in arrays.items()) > least


def test_attention_without_a_mask_sees_everything():
    network = pl.Sequential(pl.Attention(WIDTH, HEADS, causal=False), input_shape=(T, WIDTH))
    assert any(isinstance(b.activation, pl.Softmax) for b in network.blocks)
    params, x = network.init(0, np.float64), RNG.standard_normal((1, T, WIDTH))
    other = x.copy()
    other[:, -1] += 1.0
    assert (network.apply(params, x)[:, 0] != network.apply(params, other)[:, 0]).all()
    assert len(pl.Sequential(pl.Attention(WIDTH, HEADS, bias=False), input_shape=(T, WIDTH)).init(0)) == 4


def test_size_and_start():
    network = small()
    per_block = 4 * WIDTH * WIDTH + 3 * WIDTH + 8 * WIDTH * WIDTH + 5 * WIDTH + 4 * WIDTH
    assert network.n_parameters == TOKENS * WIDTH + T * WIDTH + 2 * per_block + 2 * WIDTH
    assert small(tied=False).n_parameters == network.n_parameters + TOKENS * WIDTH
    params = pl.networks.transformer(TOKENS, T, 64, 8).init(0)
    deviation = {name: arrays["weight"].std() * 8 for name, arrays in params.items() if name in ("linear1", "linear4")}
    assert deviation["linear4"] == pytest.approx(0.25 * deviation["linear1"], rel=0.1)


def test_branches_may_be_combined_by_any_map():
    branches = (pl.Linear(WIDTH, WIDTH), pl.Linear(WIDTH, WIDTH))
    network = pl.Sequential(pl.Parallel(*branches, combine=Scores(HEADS)), input_shape=(T, WIDTH))
    assert network.output_shape == (HEADS, T, T)
    assert "combine=Scores(heads=2)" in repr(network)
    with pytest.raises(ShapeError, match="reads 2 parents, 3 given"):
        pl.Sequential(pl.Parallel(*branches, branches[0], combine=Scores(HEADS)), input_shape=(T, WIDTH))


def test_iterations_refuse_what_they_have_no_step_for():
    with pytest.raises(TypeError, match=r"scores1: the parents of Scores\(heads=2\) multiply each other"):
        pl.value_and_grad(small(), pl.methods.lifted_bregman())(small().init(0), X.astype(np.float32), Y)
    with pytest.raises(TypeError, match="multiply each other"):
        pl.infer(small(), small().init(0), {"input": pl.Clamped(X.astype(np.float32))})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"norm": "batch"}, "norm is 'batch'"),
        ({"feed_forward": 0}, "feed_forward is 0"),
        ({"depth": 0}, "depth is 0"),
        ({"depth": 10**12}, "from 1 to 10000"),
        ({"heads": 4}, "4 heads do not divide a width of 6"),
    ],
)
def test_transformers_that_cannot_be(settings, words):
    with pytest.raises(ValueError, match=words):
        pl.networks.transformer(TOKENS, T, **{"width": WIDTH, "heads": HEADS, **settings})
