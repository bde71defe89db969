"""Arrays in an HDF5 file, read by slices: a shard reads its own rows and no others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from paralift.data.plain_hdf5 import DAMAGE, ElsewhereError, expect_plain, find
from paralift.data.source import DataError, Source, Stored, require_file
from paralift.data.streams import of_the_system
from paralift.mistakes import shortened


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
        If it is no HDF5 file, is damaged, or its data sets are not what they must be: numbers that lie in the file itself,
        not behind links into other files, in virtual data sets or in external storage.
    """

    def __init__(
        self, path: str | Path, x: str = "x", y: str = "y", *, mean: float = 0.0, std: float = 1.0
    ) -> None:
        self._path, self._x, self._y = require_file(path), x, y
        inputs, targets = (_stored(self._path, key) for key in (x, y))
        self.describe(inputs, targets, mean=mean, std=std)

    def read_inputs(self, start: int, stop: int) -> np.ndarray:
        """Return rows start <= i < stop of x as stored."""
        return self._rows(self._x, start, stop)

    def read_targets(self, start: int, stop: int) -> np.ndarray:
        """Return rows start <= i < stop of y as stored."""
        return self._rows(self._y, start, stop)

    def _rows(self, key: str, start: int, stop: int) -> np.ndarray:
        with _open(self._path, key) as found:
            return found[start:stop]


@contextmanager
def _open(path: Path, key: str) -> Iterator[Any]:
    """Yield a data set whose numbers lie in the file; what is wrong with them becomes a DataError."""
    import h5py  # here and not above: an h5py built with MPI wants mpi4py imported first

    try:
        # a file that is only read needs no lock, which many shared file systems refuse
        with h5py.File(path, "r", locking="best-effort") as file:
            found = find(file, key)
            if not isinstance(found, h5py.Dataset):
                raise _no_dataset(path, key, file, found)
            expect_plain(found, path.stat().st_size)
            yield found
    except DataError:
        raise
    except ElsewhereError as error:
        raise DataError(
            f"{_where(path, key)}: {error}, expected numbers in the file itself; copy them into one file"
        ) from error
    except DAMAGE as error:
        if of_the_system(error):
            raise
        raise DataError(
            f"file {path}: cannot be read as HDF5 at data set {key!r} ({error}), expected a whole HDF5 file; "
            "write it again, or fetch it again"
        ) from error


def _stored(path: Path, key: str) -> Stored:
    with _open(path, key) as found:
        return Stored(_where(path, key), found.shape or (), found.dtype)


def _no_dataset(path: Path, key: str, file: Any, found: Any) -> DataError:
    import h5py

    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    what = "not there" if found is None else "a group, not a data set"
    return DataError(
        f"{_where(path, key)}: {what}; the file holds the data sets {shortened(str(names))}: name the right ones with x= and y="
    )


def _where(path: Path, key: str) -> str:
    return f"file {path}, data set {key!r}"
