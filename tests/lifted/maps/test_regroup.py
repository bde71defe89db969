"""Maps that bring windows and groups of channels into the last axis, and the layers made of them."""

from __future__ import annotations

import numpy as np
import pytest

import paralift as pl
from paralift.lifted.activations import LargestPositive, Normalise
from paralift.lifted.maps import ShapeError
from paralift.lifted.maps.regroup import FromGroups, SumWindows, ToGroups, ToWindows

CASES = {
    "windows": (ToWindows(2), (4, 6, 3)),
    "windows, lines left over": (ToWindows((2, 3)), (5, 7, 2)),
    "windows of a series": (ToWindows(3), (7, 2)),
    "sum": (SumWindows(), (2, 3, 4)),
    "to groups": (ToGroups(2), (3, 2, 6)),
    "from groups": (FromGroups((3, 2, 6)), (2, 18)),
    "axes in another order": (pl.Permute(2, 0, 1), (2, 3, 4)),
}
N = 2


def applied(map_, x):
    out = np.full((x.shape[0], *map_.output_shape(x.shape[1:])), np.nan)
    map_.apply({}, [x], out)
    return out


@pytest.mark.parametrize("name", CASES)
def test_adjoint_is_the_transpose(name):
    map_, shape = CASES[name]
    rng = np.random.default_rng(0)
    x, r = rng.standard_normal((N, *shape)), rng.standard_normal((N, *map_.output_shape(shape)))
    pull = np.full_like(x, np.nan)
    map_.adjoint({}, [x], r, 0, pull)
    assert np.vdot(applied(map_, x), r) == pytest.approx(np.vdot(x, pull), rel=1e-12)
    assert map_.norm({}, 0) == (None if isinstance(map_, SumWindows) else 1.0)


def test_windows_and_groups_hold_what_they_say():
    x = np.arange(2.0 * 4 * 5 * 3).reshape(2, 4, 5, 3)
    found = applied(ToWindows(2), x)
    assert found.shape == (2, 2, 2, 3, 4)
    np.testing.assert_array_equal(found[1, 1, 0, 2], x[1, 2:4, 0:2, 2].ravel())
    groups = applied(ToGroups(3), x)
    np.testing.assert_array_equal(groups[1, 2], x[1, :, :, 2].ravel())
    np.testing.assert_array_equal(applied(FromGroups((4, 5, 3)), groups), x)


def test_axes_get_another_order():
    x = np.arange(2.0 * 2 * 3 * 4).reshape(2, 2, 3, 4)
    np.testing.assert_array_equal(applied(pl.Permute(2, 0, 1), x), x.transpose(0, 3, 1, 2))
    with pytest.raises(ShapeError, match=r"Permute\(1, 0\) expects samples of 2 axes, its parent gives shape \(3,\)"):
        pl.Permute(1, 0).output_shape((3,))
    for wrong in ((), (0, 2), (0, 0), (True, 0)):
        with pytest.raises(ValueError, match="expected each of 0, 1, ..., once"):
            pl.Permute(*wrong)


def outputs(*layers, shape, x):
    network = pl.Sequential(*layers, input_shape=shape)
    return network.apply(network.init(0, np.float64), x)


@pytest.mark.parametrize("shape", [(4, 6, 3), (5, 7, 2), (6, 2)])
def test_relu_and_max_pooling_as_one_activation(shape):
    x = np.random.default_rng(0).standard_normal((N, *shape))
    pool = pl.MaxPool2d(2) if len(shape) == 3 else pl.MaxPool1d(2)
    found = outputs(pl.ReLUMaxPool(2), shape=shape, x=x)
    np.testing.assert_allclose(found, outputs(pool, pl.ReLU(), shape=shape, x=x))


def test_it_has_the_gradient_of_relu_and_max_pooling():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((N, 4, 4, 2)), rng.integers(0, 3, N)
    head, tail = pl.Conv2d(2, 3, 3, padding=1), [pl.GlobalAverage(), pl.Linear(3, 3), pl.Softmax()]
    grads = []
    for layers in ([pl.ReLUMaxPool(2)], [pl.ReLU(), pl.MaxPool2d(2)]):
        network = pl.Sequential(head, *layers, *tail, input_shape=(4, 4, 2))
        params = network.init(0, np.float64)
        for arrays in params.values():
            arrays["weight"] = np.random.default_rng(1).standard_normal(arrays["weight"].shape)
        _, found = pl.value_and_grad(network, pl.methods.nudged(beta=1e-4))(params, x, y)
        grads.append(found["conv2d1"]["weight"])
    np.testing.assert_allclose(*grads, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_normalisation_by_numpy(groups):
    x = np.random.default_rng(0).standard_normal((N, 3, 2, 6))
    parts = x.reshape(N, 6, groups, 6 // groups)
    mean, variance = parts.mean(axis=(1, 3), keepdims=True), parts.var(axis=(1, 3), keepdims=True)
    expected = ((parts - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
    np.testing.assert_allclose(outputs(pl.GroupNorm(groups, 6), shape=(3, 2, 6), x=x), expected)


def test_layers_become_blocks():
    network = pl.Sequential(pl.Conv2d(1, 4, 3), pl.GroupNorm(2, 4), pl.ReLUMaxPool(2), input_shape=(6, 6, 1))
    activations = [type(b.activation) for b in network.blocks if not b.activation.is_identity]
    assert activations == [Normalise, LargestPositive]
    assert network.source.count("GroupNorm(groups=2, channels=4, eps=1e-05), ReLUMaxPool(kernel=2)") == 1
    assert network.output_shape == (2, 2, 4)


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: ToWindows(4).output_shape((3, 8, 1)), "room for a window"),
        (lambda: ToWindows(2).output_shape((8,)), "images or series"),
        (lambda: SumWindows().output_shape((8,)), "two axes"),
        (lambda: ToGroups(4).output_shape((3, 6)), "4 groups do not divide"),
        (lambda: FromGroups((3, 6)).output_shape((4, 4)), "cannot be made"),
        (lambda: pl.GroupNorm(4, 6), "divides the channels"),
    ],
)
def test_what_cannot_be(build, word):
    with pytest.raises((ShapeError, ValueError), match=word):
        build()
