"""Files in idx format: right ones are read by ranges, wrong ones are named with what is wrong."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paralift.data import DataError, IdxSource, load_shard
from paralift.data.idx import ELEMENT_TYPES, open_idx
from paralift.data.streams import CHUNK

CODES = {np.dtype(name): code for code, name in ELEMENT_TYPES.items()}


def idx_bytes(array):
    stored = array.astype(array.dtype.newbyteorder(">"))
    head = bytes([0, 0, CODES[stored.dtype], array.ndim])
    return head + struct.pack(f">{array.ndim}I", *array.shape) + stored.tobytes()


def write(path, content, gzipped):
    path.write_bytes(gzip.compress(content, mtime=0) if gzipped else content)
    return path


def images(n=12, h=5, w=4):
    return np.random.default_rng(1).integers(0, 256, (n, h, w)).astype(np.uint8)


def pair(folder, x, y, gzipped):
    return write(folder / "x.idx", idx_bytes(x), gzipped), write(folder / "y.idx", idx_bytes(y), gzipped)


LABELS = (np.arange(12) % 3).astype(np.uint8)
BOTH = pytest.mark.parametrize("gzipped", [False, True])


@BOTH
def test_ranges_of_images_and_labels(gzipped, tmp_path):
    x = images()
    source = IdxSource(*pair(tmp_path, x, LABELS, gzipped))
    assert (source.n_samples, source.sample_shape, source.target_shape) == (12, (20,), ())
    for start, stop in [(0, 12), (0, 1), (3, 8), (11, 12), (5, 5)]:
        got_x, got_y = load_shard(source, start, stop, np.float64)
        np.testing.assert_array_equal(got_x, x[start:stop].reshape(-1, 20) / 255)
        np.testing.assert_array_equal(got_y, LABELS[start:stop])
        assert got_y.dtype == np.int64


@BOTH
def test_pictures_with_a_channel_and_standardised(gzipped, tmp_path):
    x = images()
    source = IdxSource(*pair(tmp_path, x, LABELS, gzipped), flat=False, mean=0.25, std=0.5)
    got, _ = load_shard(source, 2, 4, np.float32)
    assert got.shape == (2, 1, 5, 4) and got.dtype == np.float32
    np.testing.assert_allclose(got[:, 0], (x[2:4] / 255 - 0.25) / 0.5, atol=1e-6)


def test_more_dimensions_are_kept_or_flattened(tmp_path):
    files = pair(tmp_path, images().reshape(12, 2, 5, 2), LABELS, False)
    assert IdxSource(*files, flat=False).sample_shape == (2, 5, 2)
    assert IdxSource(*files).sample_shape == (20,)


@BOTH
@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "f4", "f8"])
def test_all_element_types_and_no_scaling_of_them(dtype, gzipped, tmp_path):
    x = np.random.default_rng(2).integers(-100, 100, (12, 3)).astype(dtype)
    source = IdxSource(*pair(tmp_path, x, LABELS.astype("i4"), gzipped))
    got, labels = load_shard(source, 4, 9, np.float64)
    np.testing.assert_array_equal(got, x[4:9])
    np.testing.assert_array_equal(labels, LABELS[4:9])


def test_whether_a_file_is_gzipped_is_seen_from_its_content(tmp_path):
    plain = write(tmp_path / "plain.gz", idx_bytes(LABELS), False)
    packed = write(tmp_path / "packed", idx_bytes(LABELS), True)
    np.testing.assert_array_equal(open_idx(plain).read(2, 7), open_idx(packed).read(2, 7))


@BOTH
def test_rows_beyond_the_first_chunk(gzipped, tmp_path):
    x = np.random.default_rng(3).integers(0, 4, (3 * CHUNK // 1000, 1000)).astype(np.uint8)
    file = open_idx(write(tmp_path / "big", idx_bytes(x), gzipped))
    for start, stop in [(0, 3), (1040, 1060), (500, 2600), (len(x) - 1, len(x))]:
        np.testing.assert_array_equal(file.read(start, stop), x[start:stop])


@settings(deadline=None, max_examples=40, derandomize=True)
@given(keep=st.integers(0, 12 + 4 + 239), gzipped=st.booleans())
def test_every_shortened_file_is_refused_for_every_range(keep, gzipped, tmp_path_factory):
    path = tmp_path_factory.mktemp("short") / "x"
    content = idx_bytes(images())
    write(path, content[:keep], gzipped)  # a whole gzip stream of too few bytes
    with pytest.raises(DataError, match="truncated|magic"):
        open_idx(path).read(0, 1)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(cut=st.integers(1, 250))
def test_every_shortened_gzip_stream_is_refused(cut, tmp_path_factory):
    path = tmp_path_factory.mktemp("cut") / "x.gz"
    whole = gzip.compress(idx_bytes(images()), mtime=0)
    path.write_bytes(whole[: max(2, len(whole) - cut)])
    with pytest.raises(DataError, match=r"x\.gz: truncated.*fetch"):
        open_idx(path).read(0, 1)


def test_a_damaged_gzip_stream_is_refused_for_every_range(tmp_path):
    x = np.random.default_rng(4).integers(0, 256, (400, 100)).astype(np.uint8)
    path = write(tmp_path / "x.gz", idx_bytes(x), True)
    data = bytearray(path.read_bytes())
    data[-3000] ^= 0xFF
    path.write_bytes(data)
    file = open_idx(path)
    for start in (0, 200, 390):
        with pytest.raises(DataError, match=r"x\.gz: (damaged|truncated).*fetch"):
            file.read(start, start + 10)


@BOTH
def test_trailing_bytes_are_refused(gzipped, tmp_path):
    path = write(tmp_path / "x", idx_bytes(images()) + b"\0", gzipped)
    with pytest.raises(DataError, match="trailing bytes"):
        open_idx(path).read(0, 1)


@BOTH
@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\0\0",
        b"<!DOCTYPE html>",
        b"\0\0\x07\x01" + bytes(8),
        b"\0\0\x08\x00",
        b"\1\0\x08\x01" + bytes(8),
    ],
)
def test_other_magic_numbers_are_refused(head, gzipped, tmp_path):
    with pytest.raises(DataError, match="expected the magic number of an idx file"):
        open_idx(write(tmp_path / "x", head, gzipped))


@BOTH
def test_a_header_that_ends_early_is_refused(gzipped, tmp_path):
    with pytest.raises(DataError, match="10 bytes found, expected a header of 16 bytes"):
        open_idx(write(tmp_path / "x", idx_bytes(images())[:10], gzipped))


def test_a_header_that_promises_the_impossible_is_refused_before_memory_is_taken(tmp_path):
    head = b"\0\0\x08\x03" + struct.pack(">3I", 2**32 - 1, 28, 28)
    with pytest.raises(DataError, match="expected no more than .* gzipped bytes can hold"):
        open_idx(write(tmp_path / "x.gz", head + bytes(100), True))


@BOTH
def test_numbers_of_images_and_labels_must_match(gzipped, tmp_path):
    files = pair(tmp_path, images(11), LABELS, gzipped)
    with pytest.raises(DataError, match="has 11 samples .* has 12 targets"):
        IdxSource(*files)


def test_exchanged_files_are_refused(tmp_path):
    x, y = pair(tmp_path, images(), LABELS, False)
    with pytest.raises(DataError, match="expected images.*exchanged"):
        IdxSource(y, x)
    with pytest.raises(DataError, match="expected labels.*exchanged"):
        IdxSource(x, x)


def test_float_labels_are_refused(tmp_path):
    files = pair(tmp_path, images(), LABELS.astype("f4"), False)
    with pytest.raises(DataError, match="float32 .* expected labels: integers"):
        IdxSource(*files)


def test_a_set_of_no_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="at least one sample"):
        IdxSource(*pair(tmp_path, images(0), LABELS[:0], False))


def test_a_file_changed_after_opening_is_found_out(tmp_path):
    path = write(tmp_path / "x", idx_bytes(images()), False)
    file = open_idx(path)
    write(path, idx_bytes(images(6)), False)
    with pytest.raises(DataError, match="truncated"):
        file.read(0, 1)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"):
        open_idx(tmp_path / "gone")
