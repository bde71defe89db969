"""One run at a time in a run folder: a lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
HELD = (errno.EACCES, errno.EAGAIN)


class FolderLock:
    """A lock on a folder, held until `free`.

    File systems without locks (some network ones) give none: nothing is locked there.

    Parameters
    ----------
    folder : path

    Raises
    ------
    ValueError
        If another process holds it.
    OSError
        If the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / NAME
        self._handle: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if fcntl is not None:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._handle, 0)
            os.write(self._handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
        except OSError as error:
            if error.errno not in HELD:
                return
            holder = os.pread(self._handle, 200, 0).decode(errors="replace") or "another process"
            self.free()
            raise ValueError(
                f"{folder} is in use by another run ({holder}): wait for its end, or name another folder"
            ) from None

    def free(self) -> None:
        """Give the lock back."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
