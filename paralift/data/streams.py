"""Reading a range of bytes out of a stream that may be compressed, and finding out whether it is whole."""

from __future__ import annotations

import errno
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np

from paralift.data.source import DataError

DEFLATE_LIMIT = 1032
"""Deflate cannot shrink data by a larger factor, so a header that promises more is wrong."""
CHUNK = 1 << 20
"""Bytes passed over at once."""
DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, ValueError)
"""What gzip and zipfile raise on damaged files: BadGzipFile and places that no file has are OSError; passwords and unknown
versions RuntimeError; names that are no text ValueError."""


def take_range(stream: IO[bytes], start: int, stop: int, total: int, where: str) -> np.ndarray:
    """Return bytes start <= i < stop of the `total` bytes that `stream` still holds, and read it to its end.

    Only the bytes asked for are kept. Reading on to the end costs time but no memory; it is what verifies the
    checksum and the length, so that every shard of a damaged file sees the same error, whichever range it
    asks for.

    Returns
    -------
    bytes : ndarray of uint8, shape (stop - start,)

    Raises
    ------
    DataError
        If the stream is shorter or longer than `total`.
    """
    kept = np.empty(stop - start, dtype=np.uint8)
    scratch = np.empty(min(CHUNK, total), dtype=np.uint8)
    n = _pass_over(stream, start, scratch)
    n += _fill(stream, kept)
    n += _pass_over(stream, total - stop, scratch)
    rest = stream.read(1)
    if n < total:
        raise DataError(
            f"{where}: truncated: {n} bytes of data found, its header promises {total}; fetch the file again"
        )
    if rest:
        raise DataError(
            f"{where}: trailing bytes after the {total} bytes of data that its header promises; "
            "the header or the file is damaged: fetch the file again"
        )
    return kept


def of_the_system(error: BaseException) -> bool:
    """Return whether an error is the system's own word (permission, broken disk), no sign of damage."""
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)  # EINVAL: a place that no file has


@contextmanager
def damage_as_data_error(where: str) -> Iterator[None]:
    """Turn what the decompressors raise on a damaged file into a DataError that names the file."""
    try:
        yield
    except EOFError as error:
        raise DataError(
            f"{where}: truncated: the compressed data end early ({error}), expected a whole file; "
            "fetch the file again"
        ) from error
    except DataError:
        raise
    except DAMAGE as error:
        if of_the_system(error):
            raise
        raise DataError(
            f"{where}: damaged: the compressed data cannot be read ({error}), expected a whole file; "
            "fetch the file again"
        ) from error


def _fill(stream: IO[bytes], out: np.ndarray) -> int:
    view, n = memoryview(out), 0  # type: ignore[arg-type]
    while n < len(view):
        got = stream.readinto(view[n : n + CHUNK])  # type: ignore[attr-defined]
        if not got:
            break
        n += got
    return n


def _pass_over(stream: IO[bytes], count: int, scratch: np.ndarray) -> int:
    n = 0
    while n < count:
        got = _fill(stream, scratch[: count - n])
        if not got:
            break
        n += got
    return n
