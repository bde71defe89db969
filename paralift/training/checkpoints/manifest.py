"""The manifest of a checkpoint: what the run was, and which files belong to it. JSON, so that reading it runs nothing."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paralift import durable
from paralift.mistakes import shown
from paralift.training.checkpoints.errors import CheckpointError

FORMAT = 2
NAME, ALL = "manifest.json", "all.h5"
FILE_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
MOST_BYTES = 1 << 24
"""A manifest is small; a larger file is something else."""


@dataclass(frozen=True)
class Entry:
    """A file of the checkpoint: its size in bytes and the SHA-256 of its content."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` holds.

    Parameters
    ----------
    attributes : mapping of str to str, int, float, bool or None
        Network, method, optimiser, loss, data, seed, ..., and the position: epoch, batch, step.
    files : mapping of file name to Entry
    """

    attributes: Mapping[str, Any]
    files: Mapping[str, Entry]

    def write(self, folder: Path) -> None:
        """Write it into a checkpoint's folder."""
        files = {name: asdict(entry) for name, entry in self.files.items()}
        document = {"format": FORMAT, "attributes": dict(self.attributes), "files": files}
        durable.write_text(folder / NAME, json.dumps(document, indent=1, allow_nan=True) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Return the manifest of a checkpoint's folder.

        Raises
        ------
        CheckpointError
            Naming the file and what is wrong with it.
        """
        path = folder / NAME
        try:
            state = path.stat()
            if not stat.S_ISREG(state.st_mode) or state.st_size > MOST_BYTES:
                raise CheckpointError(f"{path}: no file, or larger than {MOST_BYTES} bytes: no manifest of ParaLift")
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CheckpointError(f"{folder}: no such checkpoint: it has no {NAME}") from None
        except NotADirectoryError:
            raise CheckpointError(f"{folder}: a checkpoint is a folder with {NAME}, this is a file") from None
        except CheckpointError:
            raise
        except (OSError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, no JSON, or too many digits
            raise CheckpointError(f"{path}: cannot be read ({error}); take an older checkpoint") from error
        return _checked(path, document)


def _checked(path: Path, document: Any) -> Manifest:
    def wrong(what: str) -> CheckpointError:
        return CheckpointError(f"{path}: {what}; take an older checkpoint")

    if not isinstance(document, dict):
        raise wrong("no JSON object")
    if document.get("format") != FORMAT:
        raise wrong(f"format {shown(document.get('format'))}, expected {FORMAT}")
    attributes, files = document.get("attributes"), document.get("files")
    if not isinstance(attributes, dict) or not isinstance(files, dict):
        raise wrong("'attributes' or 'files' is no JSON object")
    for key, value in attributes.items():
        if not isinstance(value, str | int | float | None):
            raise wrong(f"attribute {shown(key)} is neither text nor a number")
    entries = {}
    for name, entry in files.items():
        if not FILE_NAME.fullmatch(name):
            raise wrong(f"the file name {shown(name)} points out of the folder, or is none of a checkpoint")
        good = isinstance(entry, dict) and type(entry.get("bytes")) is int and isinstance(entry.get("sha256"), str)
        if not good:
            raise wrong(f"file {shown(name)} has no size or no checksum")
        entries[name] = Entry(entry["bytes"], entry["sha256"])
    if ALL not in entries:
        raise wrong(f"{ALL} is not among the files")
    return Manifest(attributes, entries)
