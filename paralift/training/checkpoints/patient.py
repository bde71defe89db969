"""A file that HDF5 writes to without ever hearing of a failure.

A write that HDF5 sees fail (a full disk) leaves objects behind whose end crashes the process. So the failure is kept back until
HDF5 has closed the file, and raised then, when nobody but us knows of the file any more.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py

from paralift import durable


class _Patient:
    """What h5py asks of a file object, on a file whose first failure is kept in `error`."""

    def __init__(self, handle: int) -> None:
        self.handle, self.at = handle, 0
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self._size()}[whence]
        self.at = base + offset
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: bytearray) -> int:
        view = memoryview(buffer).cast("B")
        found = b"" if self.error else os.pread(self.handle, len(view), self.at)
        view[: len(found)] = found
        view[len(found) :] = bytes(len(view) - len(found))
        self.at += len(view)
        return len(view)

    def read(self, size: int = -1) -> bytes:
        buffer = bytearray(self._size() - self.at if size < 0 else size)
        self.readinto(buffer)
        return bytes(buffer)

    def write(self, data: bytes) -> int:
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view) and self.error is None:
                done += os.pwrite(self.handle, view[done:], self.at + done)
        except OSError as error:
            self.error = error
        self.at += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        size = self.at if size is None else size
        self._try(lambda: os.ftruncate(self.handle, size))
        return size

    def flush(self) -> None:
        """Do nothing: the file is synchronised when it is closed."""

    def _size(self) -> int:
        return os.fstat(self.handle).st_size

    def _try(self, act: Callable[[], None]) -> None:
        try:
            if self.error is None:
                act()
        except OSError as error:
            self.error = error


def write_hdf5(path: Path, fill: Callable[[h5py.File], None]) -> None:
    """Write an HDF5 file and bring it to the disk; `fill` puts the arrays into it.

    Raises
    ------
    OSError
        If the disk takes no more; HDF5 has closed the file then.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    patient = _Patient(handle)
    try:
        with h5py.File(patient, "w", libver="latest") as file:
            fill(file)
        if patient.error is not None:
            raise OSError(patient.error.errno, patient.error.strerror, str(path))
    finally:
        os.close(handle)
    durable.sync(path)
