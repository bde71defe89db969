"""Sources in memory, npz and HDF5, and what load_shard makes of them."""

from __future__ import annotations

import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paralift.data import (
    ArraySource,
    DataError,
    Dataset,
    Hdf5Source,
    NpzSource,
    Source,
    from_arrays,
    load_inputs,
    load_shard,
    load_targets,
)

N = 23
RNG_SEED = 5


def arrays(x_dtype=np.float32, float_targets=False):
    rng = np.random.default_rng(RNG_SEED)
    x = (rng.random((N, 4, 3)) * 200).astype(x_dtype)
    return x, rng.random((N, 2)) if float_targets else np.arange(N) % 5


def write(kind, path, **content):
    if kind == "npz":
        np.savez(path, **content)
    elif kind == "npz packed":
        np.savez_compressed(path, **content)
    else:
        with h5py.File(path, "w") as file:
            for key, value in content.items():
                file[key] = value


KINDS = ["memory", "npz", "npz packed", "hdf5"]


def source_of(kind, folder, x, y, **options):
    if kind == "memory":
        return ArraySource(x, y, **options)
    path = folder / ("d.h5" if kind == "hdf5" else "d.npz")
    write(kind, path, x=x, y=y)
    return (Hdf5Source if kind == "hdf5" else NpzSource)(path, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("x_dtype", [np.float32, np.float64, np.int16, ">f4"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_range_is_read_as_it_was_written(kind, x_dtype, dtype, tmp_path):
    x, y = arrays(x_dtype)
    source = source_of(kind, tmp_path, x, y)
    assert (source.n_samples, source.sample_shape, source.target_shape) == (N, (4, 3), ())
    assert source.x_dtype == x.dtype
    raw_x, raw_y = source.read(3, 9)
    np.testing.assert_array_equal(raw_x, x[3:9])
    np.testing.assert_array_equal(raw_y, y[3:9])
    for start, stop in [(0, N), (0, 1), (7, 15), (N - 1, N), (4, 4)]:
        got_x, got_y = load_shard(source, start, stop, dtype)
        assert got_x.dtype == dtype and got_x.flags.c_contiguous and got_y.dtype == np.int64
        np.testing.assert_array_equal(got_x, x[start:stop].astype(dtype))
        np.testing.assert_array_equal(got_y, y[start:stop])


@pytest.mark.parametrize("kind", KINDS)
def test_float_targets(kind, tmp_path):
    x, y = arrays(float_targets=True)
    source = source_of(kind, tmp_path, x, y)
    assert source.target_shape == (2,)
    _, got = load_shard(source, 2, 6, np.float32)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, y[2:6].astype(np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_float_targets_of_one_number_become_columns(kind, tmp_path):
    x, y = arrays(float_targets=True)
    source = source_of(kind, tmp_path, x, y[:, 0])
    assert source.target_shape == (1,)
    np.testing.assert_array_equal(load_targets(source, 1, 4, np.float64), y[1:4, :1])


@pytest.mark.parametrize("kind", KINDS)
def test_uint8_is_scaled_and_all_inputs_are_standardised(kind, tmp_path):
    x, y = arrays(np.uint8)
    x[0, 0] = [0, 51, 255]
    source = source_of(kind, tmp_path, x, y)
    np.testing.assert_array_equal(load_inputs(source, 0, N, np.float64), x / 255)
    source = source_of(kind, tmp_path, x, y, mean=0.5, std=0.25)
    np.testing.assert_allclose(load_inputs(source, 0, N, np.float64), (x / 255 - 0.5) / 0.25, atol=1e-15)


def test_standardising_leaves_the_callers_array_alone():
    x, y = arrays(np.float32)
    kept = x.copy()
    got = load_inputs(ArraySource(x, y, mean=1.0, std=2.0), 0, N, np.float32)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_allclose(got, (kept - 1) / 2, rtol=1e-6)


def test_an_array_that_fits_is_not_copied():
    x, y = arrays(np.float32)
    assert np.shares_memory(load_inputs(ArraySource(x, y), 3, 8, np.float32), x)


def test_columns_first_npz_is_read_by_rows(tmp_path):
    x, y = arrays()
    np.savez(tmp_path / "f.npz", x=np.asfortranarray(x), y=y)
    np.testing.assert_array_equal(NpzSource(tmp_path / "f.npz").read_inputs(5, 9), x[5:9])


def test_names_inside_files_are_free(tmp_path):
    x, y = arrays()
    np.savez(tmp_path / "n.npz", images=x, labels=y)
    write("hdf5", tmp_path / "n.h5", **{"train/images": x, "train/labels": y})
    for source in (
        NpzSource(tmp_path / "n.npz", "images", "labels"),
        Hdf5Source(tmp_path / "n.h5", "train/images", "train/labels"),
    ):
        np.testing.assert_array_equal(load_inputs(source, 1, 3, np.float32), x[1:3])


def test_hdf5_reads_only_the_rows_asked_for(tmp_path, monkeypatch):
    x, y = arrays()
    source = source_of("hdf5", tmp_path, x, y)
    asked = []
    original = h5py.Dataset.__getitem__

    def watch(self, key, *rest):
        asked.append((self.name, key))
        return original(self, key, *rest)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", watch)
    source.read(4, 6)
    assert asked == [("/x", slice(4, 6)), ("/y", slice(4, 6))]


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    row=st.integers(0, N - 1),
    feature=st.tuples(st.integers(0, 3), st.integers(0, 2)),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
    start=st.integers(0, N - 1),
)
def test_a_bad_number_is_named_with_its_global_sample_and_feature(row, feature, value, start):
    x, y = arrays()
    x[(row, *feature)] = value
    data = from_arrays(x, y, name="mine")
    if row < start:
        assert np.isfinite(load_inputs(data.train, start, N, np.float64)).all()
        return
    with pytest.raises(DataError) as caught:
        load_shard(data.train, start, N, np.float64)
    for part in ("mine train", "array x in memory", f"sample {row}, feature {feature} is {value}"):
        assert part in str(caught.value)


def test_a_bad_number_is_found_in_a_later_piece():
    x = np.zeros((5000, 100), np.float32)
    x[4321, 77], x[4999, 0] = np.nan, np.inf
    with pytest.raises(DataError, match="sample 4321, feature 77 is nan"):
        load_inputs(ArraySource(x, np.zeros(5000, int)), 0, 5000, np.float32)


def test_a_bad_number_names_the_file(tmp_path):
    x, y = arrays()
    x[6, 1, 2] = np.nan
    data = Dataset("bad", source_of("hdf5", tmp_path, x, y))
    with pytest.raises(
        DataError, match=r"'bad train', file .*d\.h5, data set 'x': sample 6, feature \(1, 2\)"
    ):
        load_shard(data.train, 2, N, np.float32)


def test_a_number_too_large_for_the_type_is_named_as_it_was():
    x = np.ones((3, 2))
    x[1, 0] = 1e300
    with pytest.raises(DataError, match=r"sample 1, feature 0 is 1e\+300, too large for float32"):
        load_inputs(ArraySource(x, [0, 1, 0]), 0, 3, np.float32)


def test_a_bad_float_target_is_named():
    y = np.ones((4, 2))
    y[3, 1] = np.nan
    with pytest.raises(DataError, match="array y in memory: sample 3, target entry 1 is nan"):
        load_targets(ArraySource(np.ones((4, 1)), y), 1, 4, np.float32)


@pytest.mark.parametrize(("label", "expected"), [(-1, "0 to 4"), (5, "0 to 4")])
def test_a_label_out_of_range_is_named(label, expected):
    x, y = arrays()
    y[8] = label
    data = from_arrays(x, y, n_classes=5)
    load_shard(data.train, 0, 8, np.float32)
    with pytest.raises(DataError, match=f"label of sample 8 is {label}, expected {expected}"):
        load_shard(data.train, 3, N, np.float32)


def test_a_negative_label_is_refused_when_classes_are_counted():
    with pytest.raises(DataError, match="label of sample 1 is -3, expected 0 or more"):
        from_arrays(np.ones((2, 1)), [0, -3])


def test_unsigned_labels_beyond_int64_are_refused():
    labels = np.array([0, 2**64 - 1], dtype=np.uint64)
    with pytest.raises(DataError, match=f"sample 1 is {2**64 - 1}"):
        load_targets(ArraySource(np.ones((2, 1)), labels), 0, 2, np.float32)


@pytest.mark.parametrize("bounds", [(-1, 2), (3, 2), (0, N + 1)])
def test_ranges_outside_the_source_are_refused(bounds):
    with pytest.raises(ValueError, match=f"0 <= start <= stop <= {N}"):
        load_shard(ArraySource(*arrays()), *bounds, np.float32)


def test_integer_types_are_refused_for_inputs():
    with pytest.raises(TypeError, match="dtype=int32"):
        load_shard(ArraySource(*arrays()), 0, 1, np.int32)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((3, 2)), np.zeros(4, int), "has 3 samples .* has 4 targets"),
        (np.ones(3), np.zeros(3, int), r"shape \(3,\), expected \(samples, features\)"),
        (np.ones((0, 2)), np.zeros(0, int), "at least one sample"),
        (np.ones((3, 0)), np.zeros(3, int), "at least one sample"),
        (np.ones((3, 2)), np.float64(1.0), "at least one sample"),
        (np.ones((3, 2), complex), np.zeros(3, int), "complex128.*imaginary"),
        (np.array([["a"], ["b"]]), np.zeros(2, int), "expected real numbers"),
        (np.ones((2, 2)), np.array(["cat", "dog"]), "targets have type"),
    ],
)
def test_arrays_that_are_no_samples_are_refused(x, y, message):
    with pytest.raises(DataError, match=message):
        ArraySource(x, y)


@pytest.mark.parametrize("numbers", [(np.nan, 1.0), (0.0, 0.0), (0.0, -1.0), (0.0, np.inf)])
def test_numbers_that_cannot_standardise_are_refused(numbers):
    with pytest.raises(DataError, match="std > 0"):
        ArraySource(*arrays(), mean=numbers[0], std=numbers[1])


def test_a_source_that_breaks_its_promise_is_found_out():
    class Short(ArraySource):
        def read_inputs(self, start, stop):
            return super().read_inputs(start, stop)[1:]

    with pytest.raises(DataError, match=r"Short read an array of shape \(4, 4, 3\), expected \(5, 4, 3\)"):
        load_inputs(Short(*arrays()), 0, 5, np.float32)


def test_the_base_source_reads_nothing():
    for read in (Source().read_inputs, Source().read_targets):
        with pytest.raises(NotImplementedError):
            read(0, 1)


@pytest.mark.parametrize("source", [NpzSource, Hdf5Source])
def test_a_missing_file_says_where_it_was_looked_for(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere.*does not exist.*relative paths start at"):
        source("nowhere.bin")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        source(tmp_path)


@pytest.mark.parametrize(("kind", "name"), [("npz", "d.npz"), ("hdf5", "d.h5")])
def test_missing_arrays_are_listed(kind, name, tmp_path):
    write(kind, tmp_path / name, x=np.ones((3, 2)), labels=np.zeros(3, int))
    with pytest.raises(DataError, match=r"'y': not there; the file holds .*'labels'.*y="):
        (NpzSource if kind == "npz" else Hdf5Source)(tmp_path / name)


def test_an_hdf5_group_is_no_data_set(tmp_path):
    write("hdf5", tmp_path / "g.h5", **{"x/inner": np.ones((3, 2)), "y": np.zeros(3, int)})
    with pytest.raises(DataError, match="a group, not a data set.*x/inner"):
        Hdf5Source(tmp_path / "g.h5")


@pytest.mark.parametrize("keep", [0, 3, 0.5, -1])
@pytest.mark.parametrize("kind", ["npz", "npz packed", "hdf5"])
def test_truncated_files_are_refused(kind, keep, tmp_path):
    source_of(kind, tmp_path, *arrays())
    path = tmp_path / ("d.h5" if kind == "hdf5" else "d.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match=path.name):
        (Hdf5Source if kind == "hdf5" else NpzSource)(path)


@pytest.mark.parametrize("kind", ["npz", "npz packed"])
def test_a_damaged_npz_is_found_whichever_rows_are_read(kind, tmp_path):
    x, y = np.random.default_rng(0).random((500, 50)), np.zeros(500, int)
    source = source_of(kind, tmp_path, x, y)
    path = tmp_path / "d.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    for start in (0, 480):
        with pytest.raises(DataError, match=r"d\.npz, array 'x': (damaged|truncated)"):
            source.read_inputs(start, start + 5)


def test_a_damaged_hdf5_chunk_is_found(tmp_path):
    path = tmp_path / "c.h5"
    with h5py.File(path, "w") as file:
        x = np.random.default_rng(0).random((64, 64))
        file.create_dataset("x", data=x, chunks=(64, 64), fletcher32=True)
        file["y"] = np.zeros(64, int)
        place = file["x"].id.get_chunk_info(0).byte_offset
    source = Hdf5Source(path)
    data = bytearray(path.read_bytes())
    data[place + 100] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"c\.h5: cannot be read as HDF5"):
        source.read_inputs(0, 3)


def test_object_arrays_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "o.npz", x=np.array([[{}], [[]]], dtype=object), y=[0, 1], allow_pickle=True)
    with pytest.raises(DataError, match="type object"):
        NpzSource(tmp_path / "o.npz")


def put_member(path, content):
    np.savez(path, y=np.zeros(3, int))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", content)


def test_a_member_with_a_wrong_header_is_refused(tmp_path):
    put_member(tmp_path / "h.npz", b"not an npy header at all")
    with pytest.raises(DataError, match=r"'x': its npy header cannot be read"):
        NpzSource(tmp_path / "h.npz")


def test_a_member_of_a_later_npy_version_is_refused(tmp_path):
    put_member(tmp_path / "v.npz", b"\x93NUMPY\x03\x00" + bytes(200))
    with pytest.raises(DataError, match=r"expected npy version 1 or 2"):
        NpzSource(tmp_path / "v.npz")


def test_a_member_shorter_than_its_shape_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    put_member(tmp_path / "s.npz", (tmp_path / "x.npy").read_bytes()[:-8])
    with pytest.raises(DataError, match="40 bytes of data found, expected 48"):
        NpzSource(tmp_path / "s.npz")


def npy_head(text):
    head = text.encode()
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head


@pytest.mark.parametrize(
    "text",
    ["(", "{'descr': '<f8', 'shape': (", "[" * 3000, "-" * 8000 + "1", "{'shape': 1}", "3", "\0", "{1: 2, 'a': 3}"],
)
def test_a_header_that_is_no_literal_is_refused(text, tmp_path):
    put_member(tmp_path / "h.npz", npy_head(text) + bytes(48))
    with pytest.raises(DataError, match=r"h\.npz, array 'x': its npy header cannot be read"):
        NpzSource(tmp_path / "h.npz")


def test_a_negative_shape_is_refused(tmp_path):
    put_member(tmp_path / "n.npz", npy_head("{'descr': '<f8', 'fortran_order': False, 'shape': (-3, -2)}\n") + bytes(48))
    with pytest.raises(DataError, match=r"shape \(-3, -2\)"):
        NpzSource(tmp_path / "n.npz")


def patch_directory(path, offset, value):
    """Change a field of the last entry of a zip directory."""
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02") + offset
    content[at : at + len(value)] = value
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (6, b"\xff\xff", "damaged: .*zip file version"),
        (8, b"\x01\x00", "damaged: .*encrypted"),
        (10, b"\x63\x00", "compressed by zip method 99, expected none or deflate"),
        (24, b"\xff\xff\xff\x7f", "damaged: 2147483647 bytes are promised, expected no more than"),
        (42, b"\xf0\xff\xff\x7f", "damaged"),
    ],
)
def test_a_zip_directory_that_lies_is_refused(offset, value, message, tmp_path):
    x, y = arrays()
    np.savez_compressed(tmp_path / "z.npz", y=y, x=x)
    patch_directory(tmp_path / "z.npz", offset, value)
    with pytest.raises(DataError, match=f"z\\.npz, array '[xy]': {message}"):
        NpzSource(tmp_path / "z.npz")


def elsewhere(kind, file, folder):
    if kind == "external link":
        file["x"] = h5py.ExternalLink(str(folder / "other.h5"), "/x")
    elif kind == "soft link through an external one":
        file["a"] = h5py.ExternalLink(str(folder / "other.h5"), "/")
        file["x"] = h5py.SoftLink("/a/x")
    elif kind == "circle":
        file["x"] = h5py.SoftLink("/x")
    elif kind == "virtual":
        layout = h5py.VirtualLayout((3, 2), "f8")
        layout[...] = h5py.VirtualSource(str(folder / "other.h5"), "x", (3, 2))
        file.create_virtual_dataset("x", layout)
    else:
        file.create_dataset("x", (3, 2), "f8", external=[(str(folder / "other.h5"), 0, h5py.h5f.UNLIMITED)])


ELSEWHERE = {
    "external link": "a link into another file",
    "soft link through an external one": "a link into another file",
    "circle": "links that lead in a circle",
    "virtual": "a virtual data set",
    "external storage": "in another file",
}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_hdf5_that_leads_out_of_its_file_is_refused(kind, tmp_path):
    write("hdf5", tmp_path / "other.h5", x=np.ones((3, 2)))
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["y"] = np.zeros(3, int)
        elsewhere(kind, file, tmp_path)
    with pytest.raises(DataError, match=rf"d\.h5, data set 'x': .*{ELSEWHERE[kind]}"):
        Hdf5Source(tmp_path / "d.h5")


def test_a_soft_link_within_an_hdf5_file_is_followed(tmp_path):
    write("hdf5", tmp_path / "d.h5", **{"a/real": np.ones((3, 2)), "y": np.zeros(3, int)})
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        file["x"] = h5py.SoftLink("a/./real")
    np.testing.assert_array_equal(Hdf5Source(tmp_path / "d.h5").read_inputs(0, 3), np.ones((3, 2)))


@pytest.mark.parametrize("layout", [{}, {"chunks": (1, 1024)}])
def test_hdf5_that_claims_more_than_the_file_can_hold_is_refused(layout, tmp_path):
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file.create_dataset("x", (3, 10**15), "f4", **layout)
        file["y"] = np.zeros(3, int)
    with pytest.raises(DataError, match=r"data set 'x' \(its shape \(3, 1000000000000000\) would be"):
        Hdf5Source(tmp_path / "d.h5")


@pytest.mark.parametrize("key", ["x\0y", "\ud800", "x/y", "", "/"])
def test_a_name_that_no_hdf5_data_set_has(key, tmp_path):
    write("hdf5", tmp_path / "d.h5", x=np.ones((3, 2)), y=np.zeros(3, int))
    with pytest.raises(DataError, match=r"not there|a group"):
        Hdf5Source(tmp_path / "d.h5", key)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_damaged_hdf5_metadata_is_found(libver, tmp_path):
    """Whatever byte of a small file is inverted, it is read or named."""
    with h5py.File(tmp_path / "good.h5", "w", libver=libver) as file:
        file["x"], file["y"] = np.ones((3, 2), "f4"), np.zeros(3, "i4")
    good, refused = (tmp_path / "good.h5").read_bytes(), 0
    path = tmp_path / "bad.h5"
    for at in range(0, len(good), 7):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        try:
            Hdf5Source(path).read(0, 1)
        except DataError as error:
            assert "bad.h5" in str(error)
            refused += 1
    assert refused > 0


def test_train_and_test_must_agree():
    with pytest.raises(DataError, match=r"sample_shape is \(2,\) .* \(3,\)"):
        from_arrays(np.ones((2, 2)), [0, 1], test=(np.ones((2, 3)), [0, 1]))
    with pytest.raises(DataError, match=r"target_shape is \(\) .* \(1,\)"):
        from_arrays(np.ones((2, 2)), [0, 1], test=(np.ones((2, 2)), [0.0, 1.0]))


def test_classes_are_counted_over_train_and_test():
    data = from_arrays(np.ones((3, 2)), [0, 2, 1], test=(np.ones((2, 2)), [4, 0]), name="small")
    assert data.n_classes == data.train.n_classes == data.test.n_classes == 5
    assert (data.train.name, data.test.name, data.sample_shape, data.target_shape) == (
        "small train",
        "small test",
        (2,),
        (),
    )


def test_a_data_set_of_float_targets_has_no_classes():
    x, y = arrays(float_targets=True)
    data = from_arrays(x, y)
    assert data.n_classes is None and data.target_shape == (2,) and data.test is None
    with pytest.raises(DataError, match="n_classes=3 was given but .* float64 targets"):
        from_arrays(x, y, n_classes=3)


def test_no_classes_at_all_are_refused():
    with pytest.raises(DataError, match="n_classes=0"):
        from_arrays(np.ones((2, 2)), [0, 1], n_classes=0)


def test_a_data_set_does_not_change_the_source_it_was_made_from():
    source = ArraySource(*arrays())
    Dataset("named", source)
    assert source.name == "unnamed" and source.n_classes is None
