"""Checkpoints: one HDF5 file a checkpoint, whole parameters under their names, readable on any number of ranks.

Rank 0 writes; stages send it their arrays one after the other, so that it never holds more than one stage beside its
own. A file appears under its name only when it is complete on disk (temporary file, fsync, rename, fsync of the folder).

    /params/<block>/<name>            parameters
    /optimizer/<state>/<block>/<name> optimiser states
    /states/<key>                     lifted variables of persistent methods, samples in the data set's order
    attributes: format, network, method, optimizer, loss, data, epoch, step, dtype, seed, batch_size
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

FORMAT = 1
KEEP = 2
"""Checkpoints kept in a folder: the newest, and one more in case a disk loses the newest."""


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or of another run."""


def write(path: Path, attributes: Mapping[str, Any], fill: Callable[[h5py.File], None]) -> None:
    """Write a checkpoint atomically; `fill` puts the arrays into the open file."""
    temporary = path.with_name(f".{path.name}.tmp")
    with h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        for key, value in attributes.items():
            file.attrs[key] = value
        fill(file)
    _sync(temporary)
    os.replace(temporary, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def name(epoch: int) -> str:
    """Return the file name of the checkpoint after `epoch` epochs."""
    return f"epoch-{epoch:05d}.h5"


def all_of(run: str | Path) -> list[Path]:
    """Return the checkpoints of a run folder, oldest first."""
    return sorted((Path(run) / "checkpoints").glob("epoch-*.h5"))


def latest(run: str | Path) -> Path:
    """Return the newest checkpoint of a run folder.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    found = all_of(run)
    if not found:
        raise CheckpointError(f"{run}: no checkpoint found, expected {run}/checkpoints/epoch-*.h5")
    return found[-1]


def prune(run: str | Path) -> None:
    """Remove all but the newest checkpoints."""
    for path in all_of(run)[:-KEEP]:
        path.unlink()


def open_file(path: str | Path) -> h5py.File:
    """Open a checkpoint for reading.

    Raises
    ------
    CheckpointError
        Naming the file and what is wrong with it.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise CheckpointError(f"{path}: not a readable HDF5 file ({error}); take an older checkpoint") from error
    found = file.attrs.get("format")
    if found != FORMAT or "params" not in file:
        file.close()
        raise CheckpointError(f"{path}: format {found}, expected {FORMAT} with /params: not a ParaLift checkpoint?")
    return file


def load_params(path: str | Path) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
    """Return the parameters and the attributes of a checkpoint.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, or no checkpoint.
    """
    with open_file(path) as file:
        params = {b: {k: a[...] for k, a in group.items()} for b, group in file["params"].items()}
        return params, dict(file.attrs)


def expect_same(path: str | Path, attributes: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless a checkpoint comes from the same network, data, method and optimiser."""
    for key, value in expected.items():
        found = attributes.get(key)
        if found != value:
            raise CheckpointError(
                f"{path}: {key} is {found!r}, this run has {value!r}; resume with the configuration of the run folder, "
                "or start a new run in another folder"
            )
