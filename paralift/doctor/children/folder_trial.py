"""Try a file system: ``python folder_trial.py FOLDER`` prints what works there, as one line of JSON.

Whatever hangs on a dead file server hangs here. Locks are tried from a second process (``folder_trial.py second FOLDER``):
network file systems know the owner of a lock by its process. An answer is "works", "ignored", or what the system said.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

WORKS, IGNORED = "works", "ignored"
REPLACED = 200
"""How often a file is replaced under a reader."""
NAMES = ("flock", "hdf5")


def main(folder: str) -> None:
    """Print the answers; nothing is left in the folder."""
    place = Path(folder).resolve()
    while not place.is_dir():
        place = place.parent
    status = os.statvfs(place)
    found: dict[str, Any] = {
        "folder": str(place), "mount": mount(place),
        "size": status.f_blocks * status.f_frsize, "free": status.f_bavail * status.f_frsize,
        "files": status.f_favail if status.f_files else None,
    }  # fmt: skip
    try:
        with tempfile.TemporaryDirectory(prefix=".paralift-doctor-", dir=place) as name:
            own = Path(name)
            found |= locks(own) | {"rename": _said(lambda: rename(own)), "fsync": _said(lambda: fsync(own))}
    except OSError as error:
        found["error"] = str(error)
    print(json.dumps(found))


def mount(place: Path, file: Path = Path("/proc/self/mountinfo")) -> list[str]:
    """Return the type of a folder's file system, where it is mounted, and its options; nothing where it is not known."""
    best: list[str] = []
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return best
    for line in lines:
        left, _, right = line.partition(" - ")
        point, options = left.split()[4].replace("\\040", " "), left.split()[5]
        kind, _, more = (right.split() + ["", ""])[:3]
        inside = place == Path(point) or Path(point) in place.parents
        if inside and (not best or len(point) >= len(best[1])):  # of equals, the later one lies on top
            best = [kind, point, f"{options},{more}"]
    return best


def locks(folder: Path) -> dict[str, str]:
    """Return whether a second process is refused what this one has locked."""
    found = {}
    with (folder / "flock").open("w") as file:
        found["flock"] = _said(lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB))
        path = folder / "hdf5"
        try:
            h5py.File(path, "w", locking=False).close()  # whole, so that only a lock keeps the second process out
            with h5py.File(path, "r+", locking=True):
                found["hdf5"], second = WORKS, _second(folder)
        except OSError as error:
            found["hdf5"], second = str(error), _second(folder)
    return {name: IGNORED if found[name] == WORKS and not second[name] else found[name] for name in NAMES}


def _second(folder: Path) -> dict[str, bool]:
    command = [sys.executable, __file__, "second", str(folder)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def second(folder: str) -> None:
    """Print which locks of the first process were felt."""
    place, felt = Path(folder), dict.fromkeys(NAMES, False)
    with (place / "flock").open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            felt["flock"] = True
    try:
        h5py.File(place / "hdf5", "r+", locking=True).close()
    except OSError:
        felt["hdf5"] = True
    print(json.dumps(felt))


def rename(folder: Path) -> None:
    """Replace a file again and again; raise OSError if a reader ever finds none, or a part of one."""
    path, wrong, done = folder / "replaced", [], threading.Event()
    wholes = {bytes([k]) * 4096 for k in (0, 1)}
    path.write_bytes(min(wholes))

    def read() -> None:
        while not done.is_set():
            try:
                if path.read_bytes() not in wholes:
                    wrong.append("a reader found a part of a file")
            except OSError as error:
                wrong.append(f"a reader found no file: {error}")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for k in range(REPLACED):
            temporary = folder / "temporary"
            temporary.write_bytes(bytes([k % 2]) * 4096)
            os.replace(temporary, path)
    finally:
        done.set()
        reader.join()
    if wrong:
        raise OSError(wrong[0])


def fsync(folder: Path) -> float:
    """Return the seconds until a small file and its name are on the disk."""
    start = time.perf_counter()
    with (folder / "synced").open("wb") as file:
        file.write(bytes(4096))
        file.flush()
        os.fsync(file.fileno())
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return time.perf_counter() - start


def _said(function: Callable[[], float | None]) -> Any:
    """Return "works", what the function returned, or the error of the system."""
    try:
        found = function()
    except OSError as error:
        return str(error)
    return WORKS if found is None else found


if __name__ == "__main__":
    if sys.argv[1] == "second":
        second(sys.argv[2])
    else:
        main(sys.argv[1])
