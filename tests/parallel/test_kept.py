"""Kept variables: in memory and in a file, any sequence of reads and writes does what a plain array does."""

from __future__ import annotations

import errno
import gc
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paralift.parallel.collect import row_pieces
from paralift.parallel.grid import Grid
from paralift.parallel.kept import KeptInFile, KeptInMemory, host_rows, keep, kept_bytes

LIKE = np.zeros(1, np.float32)
SHAPES = {1: (3,), 2: (2, 2), 5: (3,)}


def both(n, folder, like=LIKE):
    return [KeptInMemory(SHAPES, n, like), KeptInFile(SHAPES, n, like, folder)]


@st.composite
def sequences(draw):
    """Return the number of samples and (variable, rows, whether to write) in turn; rows repeat and run as they like."""
    n = draw(st.integers(1, 20))
    some = st.lists(st.integers(0, n - 1), max_size=25)
    runs = st.tuples(st.integers(0, n), st.integers(0, n)).map(lambda ends: list(range(min(ends), max(ends))))
    spread = st.lists(st.integers(0, n - 1), unique=True).map(sorted)
    return n, draw(st.lists(st.tuples(st.sampled_from(list(SHAPES)), some | runs | spread, st.booleans()), max_size=12))


@given(sequences(), st.sampled_from([np.float32, np.float64]), st.booleans())
@settings(deadline=None, max_examples=80, derandomize=True)
def test_any_sequence_equals_a_plain_array(tmp_path_factory, problem, dtype, strided):
    n, sequence = problem
    rng, like = np.random.default_rng(0), np.zeros(1, dtype)
    plain = {v: rng.standard_normal((n, *shape)).astype(dtype) for v, shape in SHAPES.items()}
    for kept in both(n, tmp_path_factory.getbasetemp() / "kept", like):
        expected = {v: a.copy() for v, a in plain.items()}
        for v, a in plain.items():
            kept.write(v, np.arange(n), a)
        for v, rows, writes in sequence:
            indices, shape = np.array(rows, np.intp), (len(rows), *SHAPES[v])
            if writes:
                values = rng.standard_normal(shape).astype(dtype)
                kept.write(v, indices, values)
                expected[v][indices] = values
            else:
                wide = np.full((*shape[:-1], 2 * shape[-1]), np.nan, dtype)
                out = wide[..., ::2] if strided else np.full(shape, np.nan, dtype)
                kept.read(v, indices, out)
                np.testing.assert_array_equal(out, expected[v][indices])
        for v in SHAPES:
            np.testing.assert_array_equal(host_rows(kept, v, 0, n, like), expected[v])
        kept.close()


def test_no_samples(tmp_path):
    for kept in both(0, tmp_path):
        kept.write(1, np.zeros(0, np.intp), np.zeros((0, 3), np.float32))
        kept.read(1, np.zeros(0, np.intp), np.zeros((0, 3), np.float32))
        assert host_rows(kept, 2, 0, 0, LIKE).shape == (0, 2, 2)


def test_a_file_is_gone_at_the_end(tmp_path):
    kept = KeptInFile(SHAPES, 1000, LIKE, tmp_path / "new")
    handle = kept.sets[1].file.filename
    assert os.path.dirname(handle) == str(tmp_path / "new")
    kept.write(1, np.arange(1000), np.ones((1000, 3), np.float32))
    kept.close()
    assert not list((tmp_path / "new").iterdir())
    kept.close()


def test_a_file_that_is_forgotten_is_gone(tmp_path):
    kept = KeptInFile(SHAPES, 10, LIKE, tmp_path)
    finaliser = kept._end
    del kept
    gc.collect()
    assert not finaliser.alive and not list(tmp_path.iterdir())


def test_the_budget_decides(tmp_path):
    grid = Grid(None, 1, 1)
    need = kept_bytes(SHAPES, 100, LIKE)
    assert need == 100 * (3 + 4 + 3) * 4
    assert isinstance(keep(SHAPES, 100, LIKE, need, grid, tmp_path), KeptInMemory)
    assert isinstance(keep(SHAPES, 100, LIKE, need - 1, grid, tmp_path), KeptInFile)
    assert isinstance(keep(SHAPES, 100, LIKE, 0, grid, None), KeptInFile)
    assert isinstance(keep({}, 100, LIKE, 0, grid, tmp_path), KeptInMemory)


def test_a_disk_without_room(tmp_path):
    with pytest.raises(OSError, match=rf"need .* GiB in {tmp_path}: there are .* GiB free; pass out=") as found:
        KeptInFile({1: (1 << 20,)}, 1 << 30, LIKE, tmp_path)
    assert found.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left on device; pass out="):
        KeptInFile(SHAPES, 100, LIKE, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"kept variables .* in .*/file/run: .*; pass out="):
        KeptInFile(SHAPES, 10, LIKE, tmp_path / "file" / "run")


@given(st.integers(0, 50), st.integers(0, 300), st.integers(0, 9), st.integers(1, 40))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_pieces_cover_the_rows_in_order(start, n, width, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("paralift.parallel.collect.ROWS", limit)
        found = list(row_pieces(start, start + n, (width,)))
    assert [r for a, b in found for r in range(a, b)] == list(range(start, start + n))
    assert all(0 < b - a <= max(1, limit // max(1, width)) for a, b in found)
