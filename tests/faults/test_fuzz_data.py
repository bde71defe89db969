"""Random data files: each is read as an independent reader reads it, or refused by a DataError that names the file."""

import gzip
import io
import math
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from fuzzing import fuzz
from mutation import EDGES, mutated

from paralift.data import DataError, Dataset, Hdf5Source, IdxSource, NpzSource, load_shard

N = 12
ROWS = 64
"""Rows that are compared at most."""
NAMES = [
    "x", "y", "", ".", "..", "/", "//", "x/y", "/x", "x/", "../x", "x.npy", "a.b", "'", '"', "パ", "\n", "\0", "x\0y",
    "\ud800", "z" * 3000,
]  # fmt: skip
DTYPES = [
    "u1", "i1", "<i2", ">i4", "<i8", "<u8", "?", "<f2", "<f4", ">f8", "<f16", "<c8", "S3", "U2", "V4", "O", "M8[s]", "m8[ns]",
    "i4,f8",
]  # fmt: skip
HUGE = [10**15, 2**31, 2**32 + 1, 2**62, 2**63 - 1, 10**9]


def inputs(draw):
    return np.random.default_rng(draw.randrange(99)).integers(0, 256, (N, 5, 4)).astype(draw.choice(["u1", "i2", "f4", "f8"]))


def targets(draw):
    return (np.arange(N) % 3).astype(draw.choice(["u1", "i4"])) if draw.random() < 0.8 else np.linspace(0, 1, N, dtype="f8")


def judged(path, make, reference):
    """Return "right" or "refused" for a data file; raise where it is neither.

    Parameters
    ----------
    path : path
        What an error must name.
    make : function () -> Source
    reference : function () -> (x, y)
        What an independent reader finds, asked only where the package found something; None compares nothing.
    """
    try:
        source = make()
        data = Dataset("mine", source)
        stop = min(data.train.n_samples, ROWS)
        raw = source.read(0, stop), source.read(stop // 2, stop)
        x, y = load_shard(data.train, 0, stop, np.float32)
    except DataError as error:
        text = str(error)
        assert str(path) in text, text
        assert len(text) < 20_000, "an error is to be read"
        return "refused"
    assert x.dtype == np.float32 and len(x) == len(y) == stop and np.isfinite(x).all()
    if data.n_classes is not None:
        assert y.min() >= 0 and y.max() < data.n_classes
    if reference is None:
        return "not compared"
    right = reference()
    for part, expected in zip(raw[0] + raw[1], [a[:stop] for a in right] + [a[stop // 2 : stop] for a in right], strict=True):
        np.testing.assert_array_equal(part.reshape(len(part), -1), expected.reshape(len(expected), -1))
    return "right"


def written(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


# ---- idx ----------------------------------------------------------------------------------------------------------------

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx_bytes(a):
    head = bytes([0, 0, CODES[a.dtype.str[1:]], a.ndim]) + struct.pack(f">{a.ndim}I", *a.shape)
    return head + a.astype(a.dtype.newbyteorder(">")).tobytes()


def idx_reference(path):
    content = path.read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    kind = {code: name for name, code in CODES.items()}[content[2]]
    shape = struct.unpack_from(f">{content[3]}I", content, 4)
    return np.frombuffer(content, ">" + kind, offset=4 + 4 * content[3]).reshape(shape)


def judged_idx(draw, folder, x, y):
    x, y = written(folder / "x.idx", x), written(folder / "y.idx", y)
    return judged(folder, lambda: IdxSource(x, y, flat=draw.random() < 0.5), lambda: (idx_reference(x), idx_reference(y)))


def idx(draw, folder):
    """Damaged and made up, plain and gzipped, before and after compression."""
    parts = [idx_bytes(inputs(draw)), idx_bytes(targets(draw))]
    which = draw.randrange(2)
    parts[which] = mutated(draw, parts[which], tuple(parts)) if draw.random() < 0.5 else odd_idx(draw)
    if draw.random() < 0.5:
        parts = [gzip.compress(part, draw.choice((0, 9)), mtime=0) for part in parts]
        if draw.random() < 0.5:
            parts[which] = mutated(draw, parts[which], tuple(parts))
        elif draw.random() < 0.2:
            parts[which] += draw.choice([b"\0" * 20, parts[which], b"rest"])
    return judged_idx(draw, folder, *parts)


def odd_idx(draw):
    """Return an idx file with any head, and a body as the head says, or nearly, or not at all."""
    n_dims = draw.choice((0, 1, 1, 2, 2, 3, 3, 4, 20, 255))
    dims = [draw.choice((0, 1, 2, 3, N, N)) if draw.random() < 0.9 else draw.choice(EDGES) % 2**32 for _ in range(n_dims)]
    dims[:1] = [N] if n_dims and draw.random() < 0.7 else dims[:1]
    code = draw.choice((8, 9, 11, 12, 13, 14, 8, 13, 0, 10, 15, 255))
    size = math.prod(dims) * {8: 1, 9: 1, 11: 2, 14: 8}.get(code, 4) + draw.choice((0, 0, 0, 0, -1, 1, 7))
    body = draw.choice([bytes, draw.randbytes])(min(max(size, 0), 1 << 16))
    return bytes([0, 0, code, n_dims]) + struct.pack(f">{n_dims}I", *dims) + body


# ---- npz ----------------------------------------------------------------------------------------------------------------


def npy_bytes(a, version=(1, 0)):
    out = io.BytesIO()
    np.lib.format.write_array(out, a, version)
    return out.getvalue()


def npy(head, body, version=1):
    """Return an array file whose header is any text."""
    head = head if isinstance(head, bytes) else head.encode("latin1", "replace")
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(head) % 2**16) + head + body


def zipped(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def npz_reference(path):
    with np.load(path, allow_pickle=False) as found:
        return found["x"], found["y"]


def judged_npz(path):
    return judged(path, lambda: NpzSource(path), lambda: npz_reference(path))


METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def npz_bytes(draw, folder):
    """Bytes of the archive, or of an array in an archive whose own checksums are right."""
    x, y = npy_bytes(np.asarray(inputs(draw), order=draw.choice("CF")), draw.choice([(1, 0), (2, 0)])), npy_bytes(targets(draw))
    if draw.random() < 0.5:
        members = [("x.npy", mutated(draw, x, (y,))), ("y.npy", y)]
        return judged_npz(written(folder / "d.npz", zipped(members, draw.choice(METHODS))))
    whole = zipped([("x.npy", x), ("y.npy", y)], draw.choice(METHODS))
    at = max(0, len(whole) - 130) if draw.random() < 0.4 else 0  # the directory lies at the end
    return judged_npz(written(folder / "d.npz", whole[:at] + mutated(draw, whole[at:], (whole,))))


def odd_shape(draw, depth=0):
    numbers = [str(n) for n in (0, 1, 2, N, N, -1, *HUGE)] + ["True", "1.5", "'a'", "None", "9" * 400, "9" * 5000, "1L", "0x10"]
    items = [draw.choice(numbers[:4] if draw.random() < 0.6 else numbers) for _ in range(draw.choice((0, 1, 2, 2, 3, 40)))]
    return draw.choice([
        f"({', '.join([str(N), *items])},)", f"({','.join(items)},)", f"[{','.join(items)}]", *items[:1], "()", "{}",
    ])  # fmt: skip


def odd_head(draw):
    shape = draw.choice([(N, 3), (N,), (N, 1, 2)])
    good = {"descr": draw.choice(DTYPES), "fortran_order": draw.choice((True, False)), "shape": shape}
    parts = {key: repr(value) for key, value in good.items()}
    key = draw.choice(["descr", "shape", "shape", "fortran_order", "more", "less", "text", "deep", "none"])
    if key == "shape":
        parts[key] = odd_shape(draw)
    elif key == "descr":
        parts[key] = draw.choice([
            "'f4'", "'<f4,<f4'", "[('a', '<f4')]", "[('a', '<f4', (10**9,))]", "[('a', '<f4', (1000000000, 1000000000))]",
            "'(1000000,1000000)f4'", "('<f4', (3,))", "'V0'", "'S0'", "'S200000000'", "'S9999999999999'", "'V' * 3", "None",
            "'object'", "'|O'", "[('a', '|O')]", "'\\x00'", "''", "3", "b'f4'", "'os.system'", "__import__('os')",
            "{'names': ['a'], 'formats': ['f4']}", "'f4' 'x'", "'" + "f4," * 500 + "f4'",
        ])  # fmt: skip
    elif key in ("more", "less", "fortran_order"):
        order = {"fortran_order": draw.choice(["1", "'no'", "None"])}
        parts |= {"more": {"other": "1"}, "less": {}, "fortran_order": order}[key]
        parts = dict(list(parts.items())[key == "less" :])
    text = "{" + ", ".join(f"'{k}': {v}" for k, v in parts.items()) + "}"
    if key == "text":
        text = mutated(draw, text.encode()).decode("latin1")
    if key == "deep":
        text = draw.choice([
            "(" * 60 + text, "[" * 3000 + "]" * 3000, "-" * 8000 + "1", "{1: " * 150 + "1" + "}" * 150, "1+" * 3000 + "1j",
            " " * 60000,
        ])  # fmt: skip
    return text + draw.choice(["\n", "", " " * 20 + "\n", "\0"])


def odd_npz(draw, folder):
    """Arrays of any type and header, members of any name, a directory that lies."""
    dtype = np.dtype(draw.choice([d for d in DTYPES if d != "O"]))
    body = draw.randbytes(3 * N * dtype.itemsize) if draw.random() < 0.5 else bytes(3 * N * dtype.itemsize)
    x = npy(odd_head(draw), body[: draw.choice((len(body), len(body), 7, 0))], draw.choice((1, 1, 2, 3, 9)))
    if draw.random() < 0.25:
        x = npy_bytes(np.frombuffer(body, dtype).reshape(N, 3)) if dtype.fields is None else x
    if draw.random() < 0.05:
        x = io.BytesIO()
        np.save(x, np.array([[Trap()]] * N, dtype=object), allow_pickle=True)
        x = x.getvalue()
    name = draw.choice([n for n in NAMES if n.isprintable()]) if draw.random() < 0.1 else "x"
    members = [(f"{name}.npy", x), ("y.npy", npy_bytes(targets(draw)))]
    draw.shuffle(members)
    whole = bytearray(zipped(members, draw.choice(METHODS)))
    if draw.random() < 0.3:
        for _ in range(draw.choice((1, 1, 2))):
            lie(draw, whole)
    if draw.random() < 0.03:
        head = f"{{'descr': '|u1', 'fortran_order': {draw.random() < 0.5}, 'shape': ({N}, 200000)}}"
        members = [("x.npy", npy(head, bytes(N * 200000))), ("y.npy", npy_bytes(np.arange(N)))]
        whole = bytearray(zipped(members, zipfile.ZIP_DEFLATED))
    return judged_npz(written(folder / "d.npz", bytes(whole)))


class Trap:
    """What must not be unpickled."""

    def __reduce__(self):
        return print, ("unpickled",)


def lie(draw, whole):
    """Change a field of an entry of a zip directory, or of a file header."""
    directory = b"PK\x01\x02", [4, 6, 8, 10, 16, 20, 20, 24, 24, 24, 28, 30, 32, 34, 42]
    sign, fields = draw.choice([directory, (b"PK\x03\x04", [4, 6, 8, 14, 18, 22, 26, 28])])
    at = [i for i in range(len(whole)) if whole.startswith(sign, i)]
    if at:
        start = draw.choice(at) + draw.choice(fields)
        whole[start : start + 4] = struct.pack("<I", draw.choice(EDGES) % 2**32)


# ---- HDF5 ---------------------------------------------------------------------------------------------------------------

LAYOUTS = [
    {}, {"chunks": (4, 5, 4)}, {"chunks": (N, 5, 4), "compression": "gzip"},
    {"chunks": (3, 5, 2), "compression": "lzf", "shuffle": True}, {"chunks": (N, 5, 4), "fletcher32": True},
    {"chunks": (5, 2, 2), "compression": "gzip", "fletcher32": True, "maxshape": (None, 5, 4)},
]  # fmt: skip


def hdf5_bytes_of(x, y, layout, libver="earliest", prefix=""):
    out = io.BytesIO()
    with h5py.File(out, "w", libver=libver) as file:
        file.create_dataset(f"{prefix}x", data=x, **layout)
        file[f"{prefix}y"] = y
        file.attrs["note"] = "mine"
    return out.getvalue()


def hdf5_reference(path, x="x", y="y"):
    with h5py.File(path, "r") as file:
        return file[x][:ROWS], file[y][:ROWS]


def hdf5_bytes(draw, folder):
    prefix = draw.choice(["", "", "train/"])
    layout = draw.choice(LAYOUTS)
    good = hdf5_bytes_of(inputs(draw), targets(draw), layout, draw.choice(["earliest", "latest"]), prefix)
    path = written(folder / "d.h5", mutated(draw, good, (good[::-1],)))
    keys = f"{prefix}x", f"{prefix}y"
    lzf = layout.get("compression") == "lzf"  # it has no checksum, and damaged it gives what lay in memory
    return judged(path, lambda: Hdf5Source(path, *keys), None if lzf else lambda: hdf5_reference(path, *keys))


def odd_hdf5(draw, folder):
    """Data sets of any type, shape and layout, links of any kind, and any name asked for."""
    folder.mkdir()
    path, x = folder / "d.h5", "x"
    with h5py.File(folder / "secret.h5", "w") as file:
        file["x"], file["y"] = np.full((N, 3), 77.0), np.zeros(N, "i4")
    with h5py.File(path, "w", libver=draw.choice(["earliest", "latest"])) as file:
        file["y"] = targets(draw)
        draw.choice(list(ODD_HDF5.values()))(draw, file)
        if draw.random() < 0.1:
            x = draw.choice(NAMES)
    outcome = judged(path, lambda: Hdf5Source(path, x), lambda: hdf5_reference(path, x))
    if outcome == "right":
        assert not (hdf5_reference(path, x)[0] == 77).all(), "read from elsewhere"
    return outcome


def any_type(draw, file):
    kinds = [
        h5py.string_dtype(), h5py.string_dtype(length=4), h5py.vlen_dtype("i4"), h5py.enum_dtype({"a": 1, "b": 2}),
        h5py.ref_dtype, h5py.opaque_dtype("M8[s]"), np.dtype("(2,3)f4"),
        *(d for d in DTYPES if d not in ("O", "U2", "M8[s]", "m8[ns]")),
    ]  # fmt: skip
    file.create_dataset("x", (N, 3), draw.choice(kinds))
    if draw.random() < 0.3:
        del file["y"]
        file.create_dataset("y", (N,), draw.choice(kinds))


def any_shape(draw, file):
    shape = tuple(draw.choice((N, 0, 1, 3, *HUGE)) for _ in range(draw.choice((0, 1, 2, 3, 32))))
    for _ in range(40):  # HDF5 takes less than 2^63 numbers
        if math.prod(shape) < 2**62:
            break
        shape = (N, *shape[2:])
    chunks = tuple(min(n, 4) or 1 for n in shape)
    kinds = draw.choice([{}, {"chunks": chunks}, {"maxshape": shape, "compression": "gzip"}]) if shape else {}
    if kinds.get("compression"):
        kinds["chunks"] = tuple(min(n, 2) or 1 for n in shape)
    try:
        file.create_dataset("x", shape, draw.choice(["u1", "f4", "i8"]), fillvalue=draw.choice((None, 3)), **kinds)
        if draw.random() < 0.4 and shape:
            del file["y"]
            file.create_dataset("y", shape[:1], "i4", chunks=(min(shape[0], 1024) or 1,))
    except (ValueError, OSError):  # HDF5 itself does not write it
        if "x" not in file:
            file.create_dataset("x", (N, 3), "u1")


def empty(draw, file):
    file["x"] = h5py.Empty(draw.choice(["f4", "i4", "S3"]))


def external_link(draw, file):
    target = draw.choice(["secret.h5", "d.h5", "nowhere.h5", "/dev/zero", "."])
    if draw.random() < 0.5:
        file["x"] = h5py.ExternalLink(target, draw.choice(["/x", "/", "x/x"]))
    else:
        file["a"] = h5py.ExternalLink(target, "/")
        file["x"] = h5py.SoftLink("a/x")


def soft_link(draw, file):
    file["real"] = np.ones((N, 3))
    file["x"] = h5py.SoftLink(draw.choice(["real", "/real", "./real", "x", "nowhere", "/", "real/x", "again"]))
    file["again"] = h5py.SoftLink("x")


def virtual(draw, file):
    if draw.random() < 0.5:
        file["real"] = np.ones((N, 3))
        name, place = ".", "real"
    else:
        name, place = draw.choice(["secret.h5", "nowhere.h5", "d.h5"]), "x"
    layout = h5py.VirtualLayout((N, 3), "f8")
    layout[...] = h5py.VirtualSource(name, place, (N, 3))
    file.create_virtual_dataset("x", layout, fillvalue=0)


def external_storage(draw, file):
    place = Path(file.filename).with_name(draw.choice(["secret.h5", "nowhere.raw"]))
    file.create_dataset("x", (N, 3), "f8", external=[(str(place), 0, h5py.h5f.UNLIMITED)])


def group(draw, file):
    file.create_group("x")
    file["x/x"] = file["x"]  # a group within itself
    file["x/inner"] = np.ones((N, 3))


def named_type(draw, file):
    file["x"] = np.dtype("f8")


def many(draw, file):
    for i in range(100):
        file.create_group(f"{'n' * 50}{i}")
        file[f"d{i}{'x' * 90}"] = 0.0
    if draw.random() < 0.5:
        file["x"] = np.ones((N, 3))


def scaled(draw, file):
    options = draw.choice([{"scaleoffset": 3}, {"compression": "gzip", "chunks": (N, 3)}, {"track_times": True}])
    file.create_dataset("x", data=np.arange(3 * N).reshape(N, 3), **options)


ODD_HDF5 = {f.__name__: f for f in (
    any_type, any_type, any_shape, any_shape, empty, external_link, soft_link, virtual, external_storage, group, named_type,
    many, scaled,
)}  # fmt: skip


CASES = {f.__name__: f for f in (idx, npz_bytes, odd_npz, hdf5_bytes, odd_hdf5)}
PER_ROUND = 12
"""Cases of each kind."""


@pytest.mark.parametrize("case", CASES)
def test_fuzz(rounds, case):
    outcomes = fuzz("test_fuzz_data", case, PER_ROUND * rounds)
    assert outcomes["refused"] > 0, outcomes
