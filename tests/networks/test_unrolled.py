"""Unrolled proximal networks: each layer is the iteration that it says, operators are shared, sizes are free."""

import numpy as np
import pytest

import paralift as pl
from paralift.networks import cosine_filters, unrolled

DEPTH, FILTERS, SIDE, BOUND = 3, 9, 8, 0.2


def network(shape=(SIDE, SIDE, 1)):
    return unrolled(shape, DEPTH, FILTERS, kernel=3, bound=BOUND)


def by_definition(params, z):
    """Iterate u <- clip(u - L(L* u - z)) with the operators as matrices, for one picture."""
    size = z.size
    matrices = []
    for k in range(DEPTH + 1):
        name = "conv2d1" if k == 0 else f"convtranspose2d{k}"
        weight, columns = params[name]["weight"], []
        for i in range(size):  # L e_i, a convolution by its definition
            picture = np.zeros((SIDE + 2, SIDE + 2))
            picture[1 + i // SIDE, 1 + i % SIDE] = 1.0
            windows = np.lib.stride_tricks.sliding_window_view(picture, (3, 3))
            columns.append(np.einsum("ijst,stf->ijf", windows, weight[:, :, 0]).reshape(-1))
        matrices.append(np.stack(columns, axis=1))
    u = np.clip(FILTERS**-0.5 * (matrices[0] @ z), -BOUND, BOUND)
    for op in matrices[1:DEPTH]:
        u = np.clip(u - op @ (op.T @ u - z), -BOUND, BOUND)
    return z - matrices[DEPTH].T @ u


def test_layers_are_the_iterations():
    net, z = network(), np.random.default_rng(0).standard_normal((2, SIDE, SIDE, 1))
    params = net.init(1, np.float64)
    found = net.apply(params, z)
    expected = np.stack([by_definition(params, each.reshape(-1)).reshape(SIDE, SIDE, 1) for each in z])
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_both_uses_of_an_operator_share_its_weights():
    ties = {tie.blocks for tie in network().ties}
    assert ties == {(f"convtranspose2d{k}", f"conv2d{k + 1}") for k in range(1, DEPTH)}
    assert network().n_parameters == (DEPTH + 1) * FILTERS * 9


def test_parameters_fit_pictures_of_any_size():
    """Far from the edges a part of a picture is denoised like the picture."""
    z = np.random.default_rng(0).standard_normal((1, 40, 36, 1))
    params = network().init(1, np.float64)
    whole = network((40, 36, 1)).apply(params, z)
    part = network((30, 30, 1)).apply(params, np.ascontiguousarray(z[:, :30, :30]))
    reach = 2 * DEPTH
    np.testing.assert_allclose(whole[:, : 30 - reach, : 30 - reach], part[:, :-reach, :-reach], atol=1e-12)


def test_gradients_are_those_of_backpropagation():
    net, rng = network(), np.random.default_rng(0)
    params = net.init(1, np.float64)
    y = rng.random((8, SIDE, SIDE, 1))
    x = y + 0.1 * rng.standard_normal(y.shape)
    nudged, exact = (pl.value_and_grad(net, m)(params, x, y)[1] for m in (pl.methods.nudged(1e-3), pl.methods.backprop()))
    for block, arrays in exact.items():
        a, b = nudged[block]["weight"], arrays["weight"]
        assert np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)) > 0.999, block


@pytest.mark.parametrize(("channels", "filters", "repeated"), [(1, 8, 1), (2, 16, 1), (1, 16, 2)])
def test_cosines_are_a_tight_frame(channels, filters, repeated):
    """A full set of filters is an orthonormal basis of what a window holds besides its mean, over the root of its size."""
    net = unrolled((SIDE, SIDE, channels), DEPTH, filters, kernel=3)
    params = cosine_filters(net, spread=0.0, dtype=np.float64)
    expected = np.kron(np.eye(9) - 1 / 9, np.eye(channels)) / 9
    for name, arrays in params.items():
        matrix = arrays["weight"].reshape(9 * channels, filters) * (filters**-0.5 if name == "conv2d1" else 1.0)
        np.testing.assert_allclose(matrix @ matrix.T, expected, atol=1e-12)


def test_cosines_denoise_before_anything_is_learnt():
    rng = np.random.default_rng(0)
    clean = np.kron(rng.random((4, 4, 4, 1)), np.ones((1, 8, 8, 1)))
    noisy = clean + 0.1 * rng.standard_normal(clean.shape)
    net = unrolled((32, 32, 1), 5, 8, kernel=3, bound=0.05)
    error = np.std(net.apply(cosine_filters(net, dtype=np.float64), noisy) - clean)
    assert error < 0.6 * 0.1


def test_cosines_with_chance_are_replicas_that_differ_by_seed():
    net = network()
    params, other = cosine_filters(net, 1), cosine_filters(net, 2)
    assert {k: v["weight"].shape for k, v in params.items()} == {k: v["weight"].shape for k, v in net.init(0).items()}
    for tie in net.ties:
        first, *others = (params[block]["weight"] for block in tie.blocks)
        assert all(np.array_equal(first, each) and each is not first for each in others)
        assert not np.array_equal(first, other[tie.blocks[0]]["weight"])
    assert params["conv2d1"]["weight"].dtype == np.float32


@pytest.mark.parametrize(
    ("net", "spread"),
    [(network(), -0.1), (network(), np.nan), (unrolled((4, 4, 1), 2, 3, kernel=1), 0.1), (pl.networks.lenet(), 0.1)],
)
def test_errors_of_cosines(net, spread):
    with pytest.raises(ValueError, match="cosine_filters: "):
        cosine_filters(net, spread=spread)


def test_it_learns_to_denoise():
    rng = np.random.default_rng(0)
    levels = rng.random((200, 2, 1, 1, 1))
    y = np.concatenate([np.broadcast_to(levels[:, i], (200, SIDE, SIDE // 2, 1)) for i in (0, 1)], axis=2)
    x = y + 0.1 * rng.standard_normal(y.shape)
    run = pl.fit(network(), (x, y), optimizer=pl.optim.Adam(3e-3), epochs=15, batch_size=20, comm=None, progress=False)
    assert run.evaluate((x, y))["error"] < 0.06


@pytest.mark.parametrize(
    "wrong", [{"depth": 0}, {"kernel": 4}, {"step": 0.0}, {"bound": -1.0}, {"filters": 0}, {"input_shape": (8, 8)}]
)
def test_errors(wrong):
    with pytest.raises(ValueError, match="unrolled: "):
        unrolled(**wrong)
