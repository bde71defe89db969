"""The lifted variables of all samples of a rank, kept from visit to visit: in memory, or in a file when they are larger.

Both read and write rows by the numbers of their samples and give the same bits. The file is HDF5 with one array for each
variable, whose rows lie one behind the other: a batch's samples are spread over all of them, and chunks would be read for one
row each. It has no name from the moment it is open, so that it ends with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from paralift.kernels.arrays import Array, empty, from_host, to_host
from paralift.parallel.batch import gather
from paralift.parallel.grid import Grid

Shapes = Mapping[int, tuple[int, ...]]
WAY_OUT = "pass out= with a folder that has room, or a larger states_memory"


class Kept(Protocol):
    """Rows of some variables for all local samples.

    Attributes
    ----------
    shapes : mapping of int to tuple
        Shape of a row of each variable.
    """

    shapes: Shapes

    def read(self, v: int, indices: np.ndarray, out: Array) -> None:
        """Copy the rows `indices` (from 0, in any order, repeated or not) of variable `v` into `out`."""

    def write(self, v: int, indices: np.ndarray, values: Array) -> None:
        """Set the rows `indices` of variable `v`; the last one counts where a row is named twice."""

    def close(self) -> None:
        """Give the memory or the file back; local."""


class KeptInMemory:
    """Rows in arrays of the run's library and device."""

    def __init__(self, shapes: Shapes, n_local: int, like: Array) -> None:
        self.shapes = shapes
        self.arrays = {v: empty((n_local, *shape), like) for v, shape in shapes.items()}

    def read(self, v: int, indices: np.ndarray, out: Array) -> None:
        """See `Kept`."""
        gather(self.arrays[v], indices, out)

    def write(self, v: int, indices: np.ndarray, values: Array) -> None:
        """See `Kept`."""
        self.arrays[v][indices] = values

    def close(self) -> None:
        """See `Kept`."""
        self.arrays.clear()


class KeptInFile:
    """Rows in an HDF5 file of this rank.

    Parameters
    ----------
    shapes : mapping
    n_local : int
        Samples of this rank.
    like : array
        Of the run's library and dtype.
    folder : path
        Made if it is not there.

    Raises
    ------
    OSError
        If the folder cannot be written to or has less room than the rows take; the room is taken at once where the
        system can, so that the disk is not found full in the middle of a run.
    """

    def __init__(self, shapes: Shapes, n_local: int, like: Array, folder: str | Path) -> None:
        self.shapes, self.like = shapes, like
        self.dtype = np.dtype(str(like.dtype).rsplit(".", 1)[-1])
        self.buffers: dict[tuple[int, ...], np.ndarray] = {}
        need = kept_bytes(shapes, n_local, like)
        try:
            path = _new_file(Path(folder), need)
            with contextlib.ExitStack() as undo:
                undo.callback(path.unlink, missing_ok=True)
                file = h5py.File(path, "w", locking=False)
                self._end = weakref.finalize(self, _end, file, path)
                self.sets = {v: _rows(file, f"x{v}", (n_local, *shape), self.dtype) for v, shape in shapes.items()}
                file.flush()
                _take_room(path)
                undo.pop_all()
            with contextlib.suppress(OSError):  # a system that keeps the names of open files: removed at the end
                path.unlink()
        except OSError as error:
            reason = error.strerror or str(error)
            text = f"kept variables of this rank need {need / 2**30:.3g} GiB in {folder}: {reason}; {WAY_OUT}"
            raise OSError(error.errno, text) from error

    def read(self, v: int, indices: np.ndarray, out: Array) -> None:
        """See `Kept`."""
        if not len(indices):
            return
        if isinstance(out, np.ndarray) and out.flags.c_contiguous and _ascending(indices):
            self.sets[v].read_direct(out, source_sel=_selection(indices))
            return
        rows, back = np.unique(indices, return_inverse=True)
        host = self._buffer(v, len(rows))
        self.sets[v].read_direct(host, source_sel=_selection(rows))
        if isinstance(out, np.ndarray) and out.flags.c_contiguous:
            host.take(back, axis=0, out=out, mode="clip")
        else:
            out[...] = from_host(host[back], self.like)

    def write(self, v: int, indices: np.ndarray, values: Array) -> None:
        """See `Kept`; OSError where the disk is full."""
        if not len(indices):
            return
        host, rows = np.ascontiguousarray(to_host(values)), np.asarray(indices)
        if not _ascending(rows):
            rows, last = np.unique(rows[::-1], return_index=True)
            host = np.take(host, len(indices) - 1 - last, axis=0, out=self._buffer(v, len(rows)), mode="clip")
        try:
            self.sets[v].write_direct(host, dest_sel=_selection(rows))
        except OSError as error:
            text = f"kept variables: {len(rows)} rows of x{v} cannot be written: {error}; {WAY_OUT}"
            raise OSError(error.errno, text) from error

    def close(self) -> None:
        """See `Kept`; the file ends by itself, too, when nothing refers to it any more."""
        self._end()

    def _buffer(self, v: int, n: int) -> np.ndarray:
        """Return host rows for variable `v`, the same memory at every call that it is large enough for."""
        shape = self.shapes[v]
        if shape not in self.buffers or len(self.buffers[shape]) < n:
            self.buffers[shape] = np.empty((n, *shape), self.dtype)
        return self.buffers[shape][:n]


def keep(shapes: Shapes, n_local: int, like: Array, budget: int, grid: Grid, folder: str | Path | None) -> Kept:
    """Return a place for the rows of some variables: memory within `budget` bytes, a file beyond; collective.

    Parameters
    ----------
    shapes : mapping of int to tuple
    n_local : int
    like : array
    budget : int
    grid : Grid
    folder : path, optional
        Of the run; by default the system's folder for temporary files.

    Raises
    ------
    AgreedError
        If a rank finds no room; every rank raises it.
    """
    error: Exception | None = None
    kept: Kept | None = None
    try:
        if kept_bytes(shapes, n_local, like) <= budget:
            kept = KeptInMemory(shapes, n_local, like)
        else:
            kept = KeptInFile(shapes, n_local, like, tempfile.gettempdir() if folder is None else folder)
    except (OSError, MemoryError) as found:
        error = found
    grid.agree(error)
    assert kept is not None
    return kept


def kept_bytes(shapes: Shapes, n_local: int, like: Array) -> int:
    """Return the bytes that the rows of `n_local` samples take."""
    return n_local * sum(map(prod, shapes.values())) * int(like.dtype.itemsize)


def host_rows(kept: Kept, v: int, start: int, stop: int, like: Array) -> np.ndarray:
    """Return the rows `start` to `stop` of variable `v` as a host array of their own."""
    out = empty((stop - start, *kept.shapes[v]), like)
    kept.read(v, np.arange(start, stop), out)
    return to_host(out)


def _new_file(folder: Path, need: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < need:
        raise OSError(errno.ENOSPC, f"there are {free / 2**30:.3g} GiB free")
    handle, name = tempfile.mkstemp(".h5", ".states-", folder)
    os.close(handle)
    return Path(name)


def _rows(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype) -> h5py.Dataset:
    """Return a new array whose room in the file is set aside at once, and not filled."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.CONTIGUOUS)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space, kind = h5py.h5s.create_simple(shape), h5py.h5t.py_create(dtype)
    return h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, plan))


def _take_room(path: Path) -> None:
    """Have the system set aside the disk's blocks for a file; only some can."""
    if hasattr(os, "posix_fallocate") and path.stat().st_size:
        handle = os.open(path, os.O_RDWR)
        try:
            os.posix_fallocate(handle, 0, path.stat().st_size)
        finally:
            os.close(handle)


def _end(file: h5py.File, path: Path) -> None:
    file.close()
    path.unlink(missing_ok=True)


def _ascending(indices: np.ndarray) -> bool:
    return bool((np.diff(indices) > 0).all())


def _selection(rows: np.ndarray) -> Any:
    """Return what HDF5 selects fastest: a slice where the rows, which ascend, are consecutive."""
    first, last = int(rows[0]), int(rows[-1])
    return np.s_[first : last + 1] if last - first + 1 == len(rows) else np.s_[rows]
