"""The data sets by name, and the choice of a source from the names of files."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import socket
import struct
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from paralift.data import (
    DataError,
    Hdf5Source,
    IdxSource,
    NpzSource,
    digits,
    fashion_mnist,
    from_files,
    load_shard,
    mnist,
    mnist1d,
)


def whole(source, dtype=np.float64):
    return load_shard(source, 0, source.n_samples, dtype)


def test_digits_are_split_by_class_and_nothing_is_lost():
    from sklearn.datasets import load_digits

    data = digits()
    assert (data.train.n_samples, data.test.n_samples) == (1437, 360)
    assert (data.n_classes, data.sample_shape, data.target_shape) == (10, (64,), ())
    (x, y), (x_test, y_test) = whole(data.train), whole(data.test)
    pixels, labels = load_digits(return_X_y=True)
    assert np.abs(np.bincount(y_test) - 0.2 * np.bincount(labels)).max() < 1
    loaded = np.column_stack([np.concatenate([x, x_test]) * 0.376 + 0.305, np.concatenate([y, y_test])])
    expected = np.column_stack([pixels / 16, labels])
    np.testing.assert_array_equal(np.bincount(y) + np.bincount(y_test), np.bincount(labels))
    order, wanted = np.lexsort(loaded.round(6).T), np.lexsort(expected.round(6).T)
    np.testing.assert_allclose(loaded[order], expected[wanted], atol=1e-12)


def test_digits_are_standardised_and_the_split_never_changes():
    data = digits()
    x, x_test = whole(data.train)[0], whole(data.test)[0]
    assert abs(x.mean()) < 0.01 and abs(x.std() - 1) < 0.01
    again = digits()
    np.testing.assert_array_equal(whole(again.test)[0], x_test)
    pixels = np.rint(16 * (x_test * 0.376 + 0.305)).astype(np.uint8)
    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:16] == "dba663f059c2bea3"


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.9])
def test_digits_with_another_fraction(fraction):
    data = digits(fraction)
    assert data.test.n_samples == np.ceil(1797 * fraction)
    assert data.train.n_samples + data.test.n_samples == 1797


def test_digits_split_by_another_seed():
    first, second = whole(digits(seed=0).test)[0], whole(digits(seed=1).test)[0]
    assert first.shape == second.shape and np.any(first != second)
    with pytest.raises(ValueError, match="seed=-1"):
        digits(seed=-1)


def test_digits_as_pictures():
    flat, square = digits(), digits(flat=False)
    assert square.sample_shape == (1, 8, 8)
    np.testing.assert_array_equal(whole(square.test)[0].reshape(360, 64), whole(flat.test)[0])


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, float("nan")])
def test_digits_refuse_a_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match="test_fraction"):
        digits(fraction)


def test_mnist1d_is_generated_the_same_again_without_a_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    data, again, other = mnist1d(500), mnist1d(500), mnist1d(500, seed=43)
    assert (data.train.n_samples, data.test.n_samples) == (400, 100)
    assert data.sample_shape == (40,) and data.n_classes == 10
    for part, same in ((data.train, again.train), (data.test, again.test)):
        for a, b in zip(whole(part), whole(same), strict=True):
            np.testing.assert_array_equal(a, b)
    assert np.any(whole(other.train)[0] != whole(data.train)[0])
    x = np.concatenate([whole(data.train)[0], whole(data.test)[0]])
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-10)
    y = np.concatenate([whole(data.train)[1], whole(data.test)[1]])
    np.testing.assert_array_equal(np.bincount(y), [50] * 10)


def test_mnist1d_is_what_the_package_makes():
    from mnist1d.data import get_dataset_args, make_dataset

    data = mnist1d(300, seed=7)
    args = get_dataset_args()
    args.num_samples, args.seed = 300, 7
    made = make_dataset(args)
    np.testing.assert_array_equal(whole(data.train)[0], made["x"])
    np.testing.assert_array_equal(whole(data.test)[1], made["y_test"])


def test_mnist1d_puts_the_global_random_states_back(capsys):
    random.seed(9)
    np.random.seed(9)  # noqa: NPY002
    expected = random.random(), np.random.random(3).tolist()  # noqa: NPY002
    random.seed(9)
    np.random.seed(9)  # noqa: NPY002
    mnist1d(100)
    assert (random.random(), np.random.random(3).tolist()) == expected  # noqa: NPY002
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("n", [0, 40, 101])
def test_mnist1d_refuses_numbers_that_do_not_share_out(n):
    with pytest.raises(ValueError, match=f"n_samples={n}"):
        mnist1d(n)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_mnist1d_refuses_a_seed_out_of_range(seed):
    with pytest.raises(ValueError, match=f"seed={seed}"):
        mnist1d(100, seed)


def test_mnist1d_without_its_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    with pytest.raises(ImportError, match="pip install mnist1d"):
        mnist1d(100)


def write_idx(path, array, gzipped=True):
    content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if gzipped else content)


def fill(folder, gzipped=True):
    folder.mkdir(parents=True)
    ending = ".gz" if gzipped else ""
    for part, n in (("train", 20), ("t10k", 10)):
        pixels = np.full((n, 28, 28), 51, np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte{ending}", pixels, gzipped)
        write_idx(folder / f"{part}-labels-idx1-ubyte{ending}", (np.arange(n) % 10).astype(np.uint8), gzipped)
    return folder


@pytest.mark.parametrize("gzipped", [True, False])
@pytest.mark.parametrize(
    ("load", "name", "mean", "std"),
    [(mnist, "mnist", 0.1307, 0.3081), (fashion_mnist, "fashion-mnist", 0.286, 0.353)],
)
def test_idx_sets_from_the_argument_or_the_environment(load, name, mean, std, gzipped, tmp_path, monkeypatch):
    folder = fill(tmp_path / name, gzipped)
    monkeypatch.setenv("PARALIFT_DATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for data in (load(), load(folder), load(f"~/{name}")):
        assert (data.name, data.train.n_samples, data.test.n_samples, data.n_classes) == (name, 20, 10, 10)
        assert data.sample_shape == (784,)
        x, y = whole(data.test)
        np.testing.assert_allclose(x, (0.2 - mean) / std, rtol=1e-12)
        np.testing.assert_array_equal(y, np.arange(10))
    assert load(folder, flat=False).sample_shape == (1, 28, 28)


def test_the_environment_is_read_at_the_call(tmp_path, monkeypatch):
    monkeypatch.delenv("PARALIFT_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="no folder given and PARALIFT_DATA is not set; give folder="):
        mnist()
    fill(tmp_path / "mnist")
    monkeypatch.setenv("PARALIFT_DATA", str(tmp_path))
    assert mnist().train.n_samples == 20


def test_a_missing_idx_file_is_named_with_the_way_out(tmp_path):
    folder = fill(tmp_path / "mnist")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"t10k-labels-idx1-ubyte\.gz .*mnist.*folder=.*PARALIFT_DATA"
    ):
        mnist(folder)


def test_labels_beyond_ten_classes_are_refused(tmp_path):
    folder = fill(tmp_path / "mnist")
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.full(20, 10, np.uint8))
    with pytest.raises(DataError, match="'mnist train'.*sample 0 is 10, expected 0 to 9"):
        whole(mnist(folder).train)


def test_files_are_read_by_their_ending(tmp_path):
    x, y = np.random.default_rng(0).random((6, 3)), np.arange(6) % 2
    np.savez(tmp_path / "a.npz", images=x, labels=y)
    for name in ("a.h5", "a.HDF5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["images"], file["labels"] = x, y
    kinds = {"a.npz": NpzSource, "a.h5": Hdf5Source, "a.HDF5": Hdf5Source}
    for name, kind in kinds.items():
        test = str(tmp_path / "a.npz")
        data = from_files(tmp_path / name, test, x="images", y="labels", mean=0.5, std=2.0)
        assert type(data.train) is kind and type(data.test) is NpzSource
        assert (data.name, data.n_classes) == (name, 2)
        np.testing.assert_allclose(whole(data.train)[0], (x - 0.5) / 2)


@pytest.mark.parametrize("container", [tuple, list])
def test_pairs_of_files_are_idx(container, tmp_path):
    folder = fill(tmp_path / "mine")
    train = container(folder / f"train-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
    data = from_files(train, flat=False, name="mine", n_classes=12)
    assert type(data.train) is IdxSource and data.test is None
    assert (data.name, data.n_classes, data.sample_shape) == ("mine", 12, (1, 28, 28))
    assert from_files(train).name == "train-images-idx3-ubyte.gz"


def test_unknown_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"'\.csv' is not known, expected \.npz, \.h5 or \.hdf5"):
        from_files(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"1 files .* expected two idx files"):
        from_files((tmp_path / "a",))
    with pytest.raises(FileNotFoundError, match=r"a\.npz does not exist"):
        from_files(tmp_path / "a.npz")


@pytest.fixture
def real_data():
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("PARALIFT_DATA") or beside)
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not in {folder}: set PARALIFT_DATA to their folder")
    return folder


@pytest.mark.data
@pytest.mark.parametrize(
    ("load", "name", "counts"),
    [
        (mnist, "mnist", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
        (fashion_mnist, "fashion-mnist", [6000] * 10),
    ],
)
def test_the_real_files(load, name, counts, real_data):
    if not (real_data / name).is_dir():
        pytest.skip(f"no {name} in {real_data}: put its four idx files there")
    data = load(real_data / name)
    assert (data.train.n_samples, data.test.n_samples, data.sample_shape) == (60000, 10000, (784,))
    x, y = whole(data.train, np.float32)
    assert abs(x.mean(dtype=np.float64)) < 2e-3 and abs(x.std(dtype=np.float64) - 1) < 2e-3
    np.testing.assert_array_equal(np.bincount(y), counts)
    part_x, part_y = load_shard(data.train, 20000, 30000, np.float32)
    np.testing.assert_array_equal(part_x, x[20000:30000])
    np.testing.assert_array_equal(part_y, y[20000:30000])
    assert np.all(np.bincount(whole(data.test, np.float32)[1], minlength=10) > 800)
