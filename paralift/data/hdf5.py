"""Arrays in an HDF5 file, read by slices: a shard reads its own rows and no others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from paralift.data.source import DataError, Source, Stored, require_file


class Hdf5Source(Source):
    """Inputs and targets in one HDF5 file. It is opened for each read and left closed in between.

    Parameters
    ----------
    path : path
        The file.
    x, y : str
        Paths of the two data sets in it, such as ``"train/images"``; y holds integer labels (n_samples,) or
        float targets (n_samples, ...). Rows should lie together: contiguous layout, or chunks of whole
        samples.
    mean, std : float
        Inputs are loaded as (x - mean) / std.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If it is no HDF5 file, is truncated, or its data sets are not what they must be.
    """

    def __init__(
        self, path: str | Path, x: str = "x", y: str = "y", *, mean: float = 0.0, std: float = 1.0
    ) -> None:
        self._path, self._x, self._y = require_file(path), x, y
        with _open(self._path) as file:
            inputs, targets = (_stored(self._path, file, key) for key in (x, y))
        self.describe(inputs, targets, mean=mean, std=std)

    def read_inputs(self, start: int, stop: int) -> np.ndarray:
        """Return rows start <= i < stop of x as stored."""
        return self._rows(self._x, start, stop)

    def read_targets(self, start: int, stop: int) -> np.ndarray:
        """Return rows start <= i < stop of y as stored."""
        return self._rows(self._y, start, stop)

    def _rows(self, key: str, start: int, stop: int) -> np.ndarray:
        with _open(self._path) as file:
            return file[key][start:stop]


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    import h5py  # here and not above: an h5py built with MPI wants mpi4py imported first

    try:
        # a file that is only read needs no lock, which many shared file systems refuse
        with h5py.File(path, "r", locking="best-effort") as file:
            yield file
    except OSError as error:
        if error.errno is not None:  # the system's own word (permission, broken disk) is the clearer one
            raise
        raise DataError(
            f"file {path}: cannot be read as HDF5 ({error}), expected a whole HDF5 file; "
            "write it again, or fetch it again"
        ) from error


def _stored(path: Path, file: Any, key: str) -> Stored:
    import h5py

    where = f"file {path}, data set {key!r}"
    found = file.get(key)
    if not isinstance(found, h5py.Dataset):
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        what = "not there" if found is None else "a group, not a data set"
        raise DataError(
            f"{where}: {what}; the file holds the data sets {names}: name the right ones with x= and y="
        )
    return Stored(where, found.shape or (), found.dtype)
