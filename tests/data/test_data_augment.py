"""Augmentations: which samples they take, what they refuse, that all work in place."""

from __future__ import annotations

import numpy as np
import pytest

import paralift as pl
from paralift.data import Crop, Flip, Noise, Shift
from paralift.data.augment import check_augmentations
from paralift.kernels.draw import sample_keys

ALL = [Shift(1), Crop(2), Flip(), Noise(0.1)]
KEYS = sample_keys(0, 0, np.arange(20))


@pytest.mark.parametrize("augmentation", ALL, ids=repr)
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)], ids=str)
def test_images_with_and_without_channels(augmentation, shape):
    x = np.random.default_rng(0).standard_normal((20, *shape))
    out, channels = x.copy(), x.reshape(20, 4, 5, -1).copy()
    augmentation.check(shape)
    augmentation.apply(out, KEYS, -1)
    augmentation.apply(channels, KEYS, -1)
    assert np.abs(out - x).max() > 0.01
    np.testing.assert_array_equal(out, channels.reshape(out.shape))


def test_noise_takes_samples_of_any_shape():
    for shape in ((6,), (2, 3), (2, 2, 2, 2)):
        x = np.zeros((20, *shape))
        Noise(1.0).check(shape)
        Noise(1.0).apply(x, KEYS, -1)
        assert 0.5 < x.std() < 1.5


@pytest.mark.parametrize(
    ("value", "shape", "error", "words"),
    [
        ([Shift(2)], (64,), ValueError, r"Shift\(pixels=2\) takes images, .* given \(64,\): .* Reshape\(height, width, chan"),
        ([Flip()], (2, 2, 2, 2), ValueError, r"Flip\(\) takes images"),
        ([Noise(1.0), Crop(4)], (8, 4), ValueError, r"Crop\(padding=4\) takes images of more than 4 pixels"),
        (["Flip()"], (8, 8), TypeError, "expected a list of Shift, Crop, Flip and Noise"),
        (Flip(), (8, 8), TypeError, "expected a list"),
    ],
)
def test_what_does_not_fit(value, shape, error, words):
    with pytest.raises(error, match=words):
        check_augmentations(value, shape)


@pytest.mark.parametrize(
    "build", [lambda: Shift(0), lambda: Shift(1.5), lambda: Crop(True), lambda: Noise(0.0), lambda: Noise(float("inf"))]
)
def test_what_cannot_be(build):
    with pytest.raises(ValueError, match="expected a (whole number of at least 1|finite number greater than 0)"):
        build()


def test_epochs_differ_and_evaluation_sees_the_samples_as_they_are():
    """With a rate of 0 the loss of an epoch moves by augmentation alone, and scores do not move at all."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((60, 4, 5)), rng.integers(0, 3, 60)
    network = pl.Sequential(pl.Flatten(), pl.Linear(20, 3), pl.Softmax(), input_shape=(4, 5))
    settings = {"optimizer": pl.optim.SGD(0.0), "epochs": 3, "batch_size": 16, "comm": None, "progress": False, "test": data}
    plain = pl.fit(network, data, dtype="float64", **settings).history
    found = pl.fit(network, data, dtype="float64", augment=ALL, **settings).history
    reshaped = pl.Sequential(pl.Reshape(4, 5), pl.Flatten(), pl.Linear(20, 3), pl.Softmax(), input_shape=(20,))
    params = {"linear1": network.init()["linear1"]}
    vectors = {**settings, "test": (data[0].reshape(60, 20), data[1]), "params": params}
    again = pl.fit(reshaped, vectors["test"], augment=ALL, **vectors).history  # vectors that the network takes for images
    assert [r["loss"] for r in again] == pytest.approx([r["loss"] for r in found], rel=1e-5)
    assert len({record["loss"] for record in found}) == 3 and np.ptp([record["loss"] for record in plain]) < 1e-12
    assert {record["test_loss"] for record in found} == {record["test_loss"] for record in plain}
