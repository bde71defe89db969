"""Arrays in an npz file, read as streams: only the rows asked for are kept in memory."""

from __future__ import annotations

import math
import tokenize
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from paralift.data.source import DataError, Source, Stored, require_file
from paralift.data.streams import DEFLATE_LIMIT, damage_as_data_error, take_range
from paralift.mistakes import shortened

LIMITS = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: DEFLATE_LIMIT}
"""By what factor each method that NumPy writes can shrink data."""
BAD_HEADER = (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError, OverflowError)
"""What NumPy's reader of headers, which are Python literals, raises on those that are none."""
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class NpzArray:
    """One array of an npz file whose header has been read."""

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool

    @property
    def stored(self) -> Stored:
        """Where and what the array is."""
        return Stored(f"file {self.path}, array {self.key!r}", self.shape, self.dtype)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return rows start <= i < stop. The whole array is read through, which verifies its checksum."""
        if start == stop:
            return np.empty((0, *self.shape[1:]), dtype=self.dtype)
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        total = self.shape[0] * row
        first, last = (0, total) if self.fortran else (start * row, stop * row)
        where = self.stored.where
        with damage_as_data_error(where), zipfile.ZipFile(self.path) as archive:
            with archive.open(f"{self.key}.npy") as stream:
                _read_header(stream, where)
                data = take_range(stream, first, last, total, where).view(self.dtype)
        if self.fortran:  # rows do not lie together: there is no way but to read all
            return data.reshape(self.shape, order="F")[start:stop]
        return data.reshape(stop - start, *self.shape[1:])


def open_npz_array(path: Path, key: str) -> NpzArray:
    """Read the header of the array `key`.

    Raises
    ------
    DataError
        If the file is no npz file, has no such array, or the array is of objects or damaged.
    """
    where = f"file {path}, array {key!r}"
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"file {path}: is no npz file or is truncated (no zip directory found), expected one written by "
            "numpy.savez; write it again, or fetch it again"
        )
    with damage_as_data_error(where), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        if key not in names:
            held = shortened(str(names))
            raise DataError(f"{where}: not there; the file holds {held}: name the right ones with x= and y=")
        info = archive.getinfo(f"{key}.npy")
        _check_size(info, path.stat().st_size, where)
        with archive.open(info) as stream:
            shape, fortran, dtype = _read_header(stream, where)
            found = info.file_size - stream.tell()
    expected = math.prod(shape) * dtype.itemsize
    if dtype.kind != "O" and found != expected:
        raise DataError(
            f"{where}: {found} bytes of data found, expected {expected} for {dtype} of shape {shape}; "
            "write the file again"
        )
    return NpzArray(path, key, shape, dtype, fortran)


def _check_size(info: zipfile.ZipInfo, file_bytes: int, where: str) -> None:
    """Raise DataError if the zip directory promises what the file cannot hold."""
    if info.compress_type not in LIMITS:
        raise DataError(
            f"{where}: compressed by zip method {info.compress_type}, expected none or deflate; "
            "write the file with numpy.savez or numpy.savez_compressed"
        )
    most = LIMITS[info.compress_type] * min(info.compress_size, file_bytes)
    if info.file_size > most:
        raise DataError(
            f"{where}: damaged: {info.file_size} bytes are promised, expected no more than the {most} that "
            f"{info.compress_size} bytes in a file of {file_bytes} can hold; write it again, or fetch it again"
        )


class NpzSource(Source):
    """Inputs and targets in one npz file, compressed or not.

    Parameters
    ----------
    path : path
        The file.
    x, y : str
        Names of the two arrays in it; y holds integer labels (n_samples,) or float targets (n_samples, ...).
    mean, std : float
        Inputs are loaded as (x - mean) / std.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If it is no npz file or its arrays are not what they must be. Damaged data show when they are read.
    """

    def __init__(
        self, path: str | Path, x: str = "x", y: str = "y", *, mean: float = 0.0, std: float = 1.0
    ) -> None:
        file = require_file(path)
        self._x, self._y = open_npz_array(file, x), open_npz_array(file, y)
        self.describe(self._x.stored, self._y.stored, mean=mean, std=std)

    def read_inputs(self, start: int, stop: int) -> np.ndarray:
        """Return rows start <= i < stop of x as stored."""
        return self._x.read(start, stop)

    def read_targets(self, start: int, stop: int) -> np.ndarray:
        """Return rows start <= i < stop of y as stored."""
        return self._y.read(start, stop)


def _read_header(stream: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"npy version {version}")
        shape, fortran, dtype = _HEADERS[version](stream)
        if min(shape, default=0) < 0:
            raise ValueError(f"shape {shape}")
        return tuple(int(n) for n in shape), fortran, dtype
    except BAD_HEADER as error:
        raise DataError(
            f"{where}: its npy header cannot be read ({error}), expected npy version 1 or 2; "
            "write the file with numpy.savez"
        ) from error
