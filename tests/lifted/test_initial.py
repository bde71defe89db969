"""Initial weights by schemes, for all blocks or some; scaled branches."""

from __future__ import annotations

import numpy as np
import pytest

import paralift as pl
from paralift.lifted.initial import weights


def network(scale=1.0):
    branch = pl.Residual(pl.Linear(200, 200), pl.Tanh(), pl.Linear(200, 200), pl.LayerNorm(200), scale=scale)
    return pl.Sequential(pl.Linear(100, 200), pl.ReLU(), branch, pl.Linear(200, 50), pl.Softmax())


@pytest.mark.parametrize(("scheme", "variances"), [("he", [2 / 100, 2 / 200]), ("xavier", [2 / 300, 2 / 400])])
def test_variances(scheme, variances):
    params = network().init(0, "float64", scheme)
    for name, variance in zip(("linear1", "linear2"), variances, strict=True):
        assert params[name]["weight"].var() == pytest.approx(variance, rel=0.05)
        assert not params[name]["bias"].any()


def test_orthogonal_rows_or_columns():
    params = network().init(0, "float64", "orthogonal")
    wide, square, tall = (params[name]["weight"] for name in ("linear1", "linear2", "linear4"))
    np.testing.assert_allclose(wide @ wide.T, 2.0 * np.eye(100), atol=1e-12)  # before a ReLU: the gain is 2
    np.testing.assert_allclose(square.T @ square, np.eye(200), atol=1e-12)
    np.testing.assert_allclose(tall.T @ tall, np.eye(50), atol=1e-12)


def test_kernels_of_more_axes():
    drawn = np.random.default_rng(0).standard_normal((3, 3, 8, 64)) * np.sqrt(2.0 / 72)
    assert weights("he", drawn, 2.0).var() == pytest.approx(2.0 / 72, rel=0.1)
    assert weights("xavier", drawn, 2.0).var() == pytest.approx(2.0 / (72 + 576), rel=0.1)
    found = weights("orthogonal", drawn, 2.0).reshape(72, 64)
    np.testing.assert_allclose(found.T @ found, 2.0 * np.eye(64), atol=1e-12)


def test_some_blocks_and_the_rest_as_before():
    plain, found = network().init(3), network().init(3, scheme={"linear1": "xavier", "linear*": "he"})
    he, xavier = network().init(3, scheme="he"), network().init(3, scheme="xavier")
    np.testing.assert_array_equal(found["linear1"]["weight"], xavier["linear1"]["weight"])
    np.testing.assert_array_equal(found["linear2"]["weight"], he["linear2"]["weight"])
    one = network().init(3, scheme={"linear2": "orthogonal"})
    np.testing.assert_array_equal(one["linear1"]["weight"], plain["linear1"]["weight"])
    for name in ("gain", "shift"):
        np.testing.assert_array_equal(found["diagonal1"][name], plain["diagonal1"][name])


def test_a_branch_is_scaled_by_its_last_weights():
    plain, scaled = network().init(0, "float64"), network(0.25).init(0, "float64")
    for block, arrays in plain.items():
        for name, a in arrays.items():
            factor = 0.25 if (block, name) == ("linear3", "weight") else 1.0
            np.testing.assert_array_equal(scaled[block][name], factor * a)
    orthogonal = network(0.25).init(0, "float64", "orthogonal")["linear3"]["weight"]
    np.testing.assert_allclose(orthogonal.T @ orthogonal, 0.0625 * np.eye(200), atol=1e-12)
    nested = pl.Sequential(pl.Residual(pl.Linear(4, 4), pl.Residual(pl.ReLU(), pl.Linear(4, 4), scale=0.5), scale=0.5))
    assert [block.scale for block in nested.blocks] == [1.0, 1.0, 0.25, 1.0, 1.0]
    assert repr(network(0.5).layers[2]).endswith("LayerNorm(200), scale=0.5)") or "scale=0.5" in repr(network(0.5))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: network().init(scheme="glorot"), "init is 'glorot', expected one of"),
        (lambda: network().init(scheme={"linear1": "no"}), "init is {'linear1': 'no'}"),
        (lambda: network().init(scheme={"conv*": "he"}), r"no block is called 'conv\*'; this network has \['linear1'"),
        (lambda: pl.Residual(pl.Linear(2, 2), scale=0.0), "Residual: scale is 0.0"),
        (lambda: pl.Sequential(pl.Residual(pl.ReLU(), scale=0.5), input_shape=(3,)), "no layer has weights to be scaled"),
    ],
)
def test_what_cannot_be(build, words):
    with pytest.raises(ValueError, match=words):
        build()
