"""How every Numba kernel is compiled and kept on disk, so that short runs on many ranks start at once.

Differences from a plain ``numba.njit(cache=True)``:

1. A kernel made by a factory carries the name of what it was made for, and an index file of its own.
2. A data file is named after what it holds. Numba numbers them, so that two ranks that compile two
   specialisations at the same moment may both take the next number, and one of them later loads the machine
   code of the other.
3. A `stamp` of other source files that went into the kernel is part of the key.
4. Where no folder can be written, kernels are compiled in every process instead of failing.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

FASTMATH = {"contract", "reassoc", "nsz", "arcp", "afn"}
"""All that helps to vectorise, but neither ``nnan`` nor ``ninf``: a NaN must come out where a NaN went in."""


def jit(function: Callable[..., Any], name: str = "", stamp: str = "") -> Any:
    """Compile `function` at its first call for each set of argument types, or load it from the disk.

    Parameters
    ----------
    function
        A function that Numba compiles. Functions that it closes over must be plain ones registered by
        ``numba.extending.register_jitable`` and found in their module by name: then the key on disk is the same
        in every process, which it is not for captured dispatchers.
    name
        What tells this kernel from others of the same factory; empty for a kernel that stands alone.
    stamp
        Changes whenever source outside the file of `function` changes (see `Scalar.stamp`).
    """
    if name:
        function.__qualname__ = f"{function.__qualname__.split('.', 1)[0]}.{name}"
    dispatcher: Any = numba.njit(fastmath=FASTMATH, error_model="numpy")(function)
    try:
        dispatcher._cache = _Cache(function, stamp)
    except RuntimeError:
        pass
    return dispatcher


class _Cache(FunctionCache):
    """Numba's cache of one function, with the stamp in the key and data files named by content."""

    def __init__(self, function: Callable[..., Any], stamp: str):
        super().__init__(function)
        self._stamp = stamp
        files = self._cache_file
        self._cache_file = _Files(files._cache_path, self._impl.filename_base, files._source_stamp)

    def _index_key(self, sig: Any, codegen: Any) -> tuple:
        return (*super()._index_key(sig, codegen), self._stamp)


class _Files(IndexDataCacheFile):
    def save(self, key: Any, data: Any) -> None:
        digest = hashlib.sha256(repr((key, self._source_stamp)).encode()).hexdigest()
        name = self._data_name(int(digest[:15], 16))
        self._save_data(name, data)  # before the index: who finds the entry finds the file
        entries = {k: v for k, v in self._load_index().items() if k[-1] == key[-1]} | {key: name}
        self._save_index(entries)
        self._remove_all_but(set(entries.values()))

    def _remove_all_but(self, names: set[str]) -> None:
        """Remove code of older sources. A file that another process still indexes is compiled once more, no harm."""
        pattern = glob.escape(self._index_name.removesuffix(".nbi")) + ".*.nbc"
        for file in Path(self._cache_path).glob(pattern):
            if file.name not in names:
                file.unlink(missing_ok=True)
