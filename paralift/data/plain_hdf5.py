"""HDF5 files that are not trusted: every number that is read lies in the file itself, and no array is larger than that allows.

HDF5 follows links into other files, takes raw bytes of any file as an array (external storage) and arrays out of other files
(virtual data sets). Where such a file is missing, it fills in zeros without a word.
"""

from __future__ import annotations

import math
from typing import Any

from paralift.data.streams import DEFLATE_LIMIT

DAMAGE = (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError)
"""What h5py raises on a damaged file, by the class that the HDF5 library gives the error."""
MOST_LINKS = 16
"""Soft links that a name may lead through."""


class ElsewhereError(ValueError):
    """A name or an array that leads out of its file, or in a circle."""


def find(file: Any, name: str) -> Any:
    """Return what has a name in an open file, None where nothing has; it never opens another file.

    Raises
    ------
    ElsewhereError
    """
    from h5py import Group, h5l

    item, parts, links = file, _parts(name), 0
    while parts:
        part = parts.pop(0)
        if not isinstance(item, Group) or b"\0" in part or not item.id.links.exists(part):
            return None
        kind = item.id.links.get_info(part).type
        if kind == h5l.TYPE_HARD:
            item = item[part]
            continue
        links += 1
        if kind != h5l.TYPE_SOFT or links > MOST_LINKS:
            raise ElsewhereError("a link into another file" if kind != h5l.TYPE_SOFT else "links that lead in a circle")
        target = item.id.links.get_val(part)
        item, parts = file if target.startswith(b"/") else item, _parts(target) + parts
    return item


def expect_plain(dataset: Any, file_bytes: int) -> None:
    """Raise ElsewhereError unless the numbers of a data set lie in its file, ValueError if the file is too small for them."""
    if dataset.is_virtual:
        raise ElsewhereError("a virtual data set, whose numbers lie elsewhere")
    if dataset.external:
        raise ElsewhereError("its numbers lie in another file (external storage)")
    for what, shape in (("shape", dataset.shape or ()), ("chunks", dataset.chunks or ())):
        claimed = math.prod(shape) * dataset.dtype.itemsize
        if claimed > DEFLATE_LIMIT * file_bytes:
            raise ValueError(f"its {what} {shape} would be {claimed} bytes, more than a file of {file_bytes} bytes can hold")


def _parts(name: str | bytes) -> list[bytes]:
    raw = name.encode("utf-8", "surrogatepass") if isinstance(name, str) else name
    return [part for part in raw.split(b"/") if part not in (b"", b".")]
