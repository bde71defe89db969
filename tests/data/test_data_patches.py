"""Patches of pictures: which, how noisy, the same for whoever reads them; files that hold no pictures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import paralift as pl
from paralift.data import DataError, PatchSource, load_shard
from paralift.data.denoising import pictures


def grey(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(4, 11), st.integers(4, 11)), min_size=1, max_size=3), st.integers(1, 4), st.integers(1, 5)
)
def test_patches_are_where_they_should_be(shapes, patch, stride):
    found = grey(*shapes)
    source = PatchSource(found, patch, stride, sigma=0.0)
    expected = [
        p[i : i + patch, j : j + patch, None] / 255
        for p in found
        for i in range(0, p.shape[0] - patch + 1, stride)
        for j in range(0, p.shape[1] - patch + 1, stride)
    ]
    x, y = load_shard(source, 0, source.n_samples, np.float32)
    np.testing.assert_allclose(y, np.array(expected), atol=1e-7)
    np.testing.assert_array_equal(x, y)


def test_noise_is_a_function_of_seed_and_number():
    source = PatchSource(grey((40, 40)), 8, 4, sigma=25.0, seed=3)
    x, y = load_shard(source, 0, source.n_samples, np.float64)
    assert (x - y).std() == pytest.approx(25 / 255, rel=0.03)
    assert abs((x - y).mean()) < 4 * 25 / 255 / np.sqrt(x.size)
    part, _ = load_shard(source, 7, 20, np.float64)
    np.testing.assert_array_equal(part, x[7:20])
    other, _ = load_shard(PatchSource(grey((40, 40)), 8, 4, sigma=25.0, seed=4), 0, source.n_samples, np.float64)
    assert np.abs(np.corrcoef((x - y).ravel(), (other - y).ravel())[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ([], "holds no pictures"),
        ([np.zeros((9, 9))], r"picture 0: has type float64 and shape \(9, 9\), expected grey values of type uint8"),
        (grey((9, 9), (9, 3)), r"picture 1: has type uint8 and shape \(9, 3\), .*at least \(4, 4\)"),
        (grey((9, 9, 3)), r"shape \(9, 9, 3\)"),
    ],
)
def test_what_is_no_picture(found, text):
    with pytest.raises(DataError, match=text):
        PatchSource(found, 4, 4, 25.0)


@pytest.mark.parametrize("wrong", [{"patch": 0}, {"stride": 0}, {"sigma": -1.0}, {"sigma": np.nan}, {"seed": -1}])
def test_wrong_numbers(wrong):
    with pytest.raises(ValueError, match="expected whole numbers of at least 1"):
        PatchSource(grey((9, 9)), **{"patch": 4, "stride": 4, "sigma": 25.0, **wrong})


def test_files(tmp_path, monkeypatch):
    """Several sizes, one array of many pictures, and what is no picture."""
    names = np.array(["a", "b"])
    np.savez(tmp_path / "train400.npz", images=np.stack(grey((50, 50), (50, 50))), names=names)
    np.savez(tmp_path / "set12.npz", b=grey((60, 45))[0], a=grey((40, 41))[0])
    data = pl.data.denoising(tmp_path, patch=40, stride=5)
    assert (data.train.n_samples, data.test.n_samples, data.sample_shape) == (2 * 9, 2, (40, 40, 1))
    assert [p.shape for p in pictures("set12", tmp_path)] == [(40, 41), (60, 45)]
    monkeypatch.delenv("PARALIFT_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="PARALIFT_DATA is not set"):
        pl.data.denoising()
    with pytest.raises(FileNotFoundError, match="bsd68"):
        pictures("bsd68", tmp_path)


@pytest.mark.parametrize("text", [b"", b"no zip at all"])
def test_damaged_file(tmp_path, text):
    (tmp_path / "set12.npz").write_bytes(text)
    with pytest.raises(DataError, match="is no npz file"):
        pictures("set12", tmp_path)
