"""Files that are there whole or not at all, also after a crash: temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

BLOCK = 1 << 22
"""Bytes read at once for a checksum."""


def write_text(path: Path, text: str) -> None:
    """Write a file so that readers find the old one or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have the system bring a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()
