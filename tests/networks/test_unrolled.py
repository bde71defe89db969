"""Unrolled proximal networks: each layer is the iteration that it says, operators are shared, sizes are free."""

import numpy as np
import pytest

import paralift as pl
from paralift.networks import unrolled

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
