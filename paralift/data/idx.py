"""Files in the idx format of MNIST, plain or gzipped.

Format: two zero bytes, a byte for the element type, a byte for the number of dimensions, each dimension as a
big-endian 32-bit integer, then the elements, big-endian, the last dimension fastest.

References
----------
Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section "File formats".
"""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from paralift.data.source import DataError, Source, Stored, require_file
from paralift.data.streams import DEFLATE_LIMIT, damage_as_data_error, take_range

ELEMENT_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@dataclass(frozen=True)
class IdxFile:
    """One idx file whose header has been read."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    gzipped: bool

    @property
    def n_header_bytes(self) -> int:
        """Length of the header in bytes, which depends on the number of dimensions."""
        return 4 + 4 * len(self.shape)

    @property
    def n_data_bytes(self) -> int:
        """Length of the elements in bytes, as the header promises."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def stored(self) -> Stored:
        """Where and what the array is."""
        return Stored(f"file {self.path}", self.shape, self.dtype)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return rows start <= i < stop; no others are kept, and of a plain file no others are read."""
        shape = (stop - start, *self.shape[1:])
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        if start == stop:
            return np.empty(shape, dtype=self.dtype)
        if self.gzipped:
            with damage_as_data_error(f"file {self.path}"), _open(self.path, gzipped=True) as stream:
                stream.seek(self.n_header_bytes)
                data = take_range(stream, start * row, stop * row, self.n_data_bytes, f"file {self.path}")
        else:
            self.check_size()
            offset = self.n_header_bytes + start * row
            data = np.fromfile(self.path, np.uint8, (stop - start) * row, offset=offset)
        return data.view(self.dtype).reshape(shape)

    def check_size(self) -> None:
        """Raise DataError if the length of the file contradicts its header."""
        found, expected = self.path.stat().st_size, self.n_header_bytes + self.n_data_bytes
        if self.gzipped and expected > DEFLATE_LIMIT * found:
            raise DataError(
                f"file {self.path}: truncated or damaged: its header promises {expected} bytes for the shape "
                f"{self.shape}, expected no more than {found} gzipped bytes can hold; fetch the file again"
            )
        if not self.gzipped and found != expected:
            what = "truncated" if found < expected else "trailing bytes"
            raise DataError(
                f"file {self.path}: {what}: {found} bytes found, expected {expected} for the shape "
                f"{self.shape} of its header; fetch the file again"
            )


def open_idx(path: str | Path) -> IdxFile:
    """Read the header of an idx file; whether it is gzipped is seen from its first bytes, not from its name.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If it is no idx file, or its length contradicts its header.
    """
    path = require_file(path)
    with path.open("rb") as stream:
        gzipped = stream.read(2) == b"\x1f\x8b"
    with damage_as_data_error(f"file {path}"), _open(path, gzipped) as stream:
        dtype, n_dims = _magic(stream.read(4), path)
        dims = stream.read(4 * n_dims)
    if len(dims) < 4 * n_dims:
        raise DataError(
            f"file {path}: truncated: {4 + len(dims)} bytes found, expected a header of {4 + 4 * n_dims} "
            f"bytes for {n_dims} dimensions; fetch the file again"
        )
    shape = tuple(int(n) for n in np.frombuffer(dims, ">u4"))
    file = IdxFile(path, shape, dtype, gzipped)
    file.check_size()
    return file


def _magic(head: bytes, path: Path) -> tuple[np.dtype, int]:
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in ELEMENT_TYPES or head[3] == 0:
        raise DataError(
            f"file {path}: begins with {head!r}, expected the magic number of an idx file (00 00 08 03 for "
            "MNIST images, 00 00 08 01 for labels); it may be another file or a web page saved in its place; "
            "fetch it again"
        )
    return np.dtype(ELEMENT_TYPES[head[2]]), head[3]


class IdxSource(Source):
    """Images and labels in a pair of idx files, plain or gzipped.

    Parameters
    ----------
    images : path
        Shape (n_samples, ...), two dimensions at least.
    labels : path
        Integers, shape (n_samples,).
    flat : bool
        True: a sample is a vector. False: it is (1, height, width), or what the file says if it has more
        dimensions.
    mean, std : float
        Inputs are loaded as (x - mean) / std, where x of uint8 images lies in [0, 1].

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    DataError
        If a file is no idx file, is of the wrong kind or size, or the two do not belong together. A damaged
        gzip file shows when it is read.
    """

    def __init__(
        self,
        images: str | Path,
        labels: str | Path,
        *,
        flat: bool = True,
        mean: float = 0.0,
        std: float = 1.0,
    ) -> None:
        self._images, self._labels = open_idx(images), open_idx(labels)
        if len(self._images.shape) < 2:
            raise self._wrong_kind(self._images, "images: two dimensions at least")
        if len(self._labels.shape) != 1 or self._labels.dtype.kind == "f":
            raise self._wrong_kind(self._labels, "labels: integers in one dimension")
        shape = self._images.shape[1:]
        sample = (math.prod(shape),) if flat else (1, *shape) if len(shape) == 2 else shape
        self.describe(self._images.stored, self._labels.stored, sample, mean, std)

    def read_inputs(self, start: int, stop: int) -> np.ndarray:
        """Return images start <= i < stop as stored; of a gzipped file only these are kept in memory."""
        return self._images.read(start, stop).reshape(stop - start, *self.sample_shape)

    def read_targets(self, start: int, stop: int) -> np.ndarray:
        """Return labels start <= i < stop as stored."""
        return self._labels.read(start, stop)

    @staticmethod
    def _wrong_kind(file: IdxFile, expected: str) -> DataError:
        return DataError(
            f"file {file.path}: holds {file.dtype.name} of shape {file.shape}, expected {expected}; "
            "were the files of images and labels exchanged?"
        )


def _open(path: Path, gzipped: bool) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if gzipped else path.open("rb")
