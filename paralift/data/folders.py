"""Where data sets lie that are not shipped: a folder that is given, or one below the folder of an environment variable."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER_VARIABLE = "PARALIFT_DATA"
"""Environment variable that names the folder of data sets; it is read when a data set is asked for."""


def folder_of(name: str, folder: str | Path | None, holds: str) -> Path:
    """Return the folder of the data set `name`, which `holds` these files.

    Raises
    ------
    FileNotFoundError
        If no folder is given and the variable is not set.
    """
    if folder is not None:
        return Path(folder).expanduser()
    root = os.environ.get(FOLDER_VARIABLE)
    if not root:
        raise FileNotFoundError(
            f"data set {name!r}: no folder given and {FOLDER_VARIABLE} is not set; give folder=..., or set "
            f"{FOLDER_VARIABLE} to the folder in which {name!r} holds {holds} (none is downloaded)"
        )
    return Path(root).expanduser() / name
