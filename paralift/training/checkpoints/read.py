"""Reading checkpoints: nothing in them is run, and nothing is believed that the manifest does not name."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from paralift import durable
from paralift.data.plain_hdf5 import DAMAGE
from paralift.mistakes import shown
from paralift.training.checkpoints.errors import CheckpointError
from paralift.training.checkpoints.manifest import ALL, Manifest
from paralift.training.checkpoints.plain import arrays_of, check_part, expect_numbers

WAY_OUT = "take an older checkpoint"


def verify(path: str | Path, share: int = 0, shares: int = 1) -> Manifest:
    """Return the manifest of a checkpoint whose files have the sizes and checksums that it names.

    Parameters
    ----------
    path : path
    share, shares : int
        All sizes are compared, but only the contents of every `shares`-th file from `share` on: ranks divide the work.

    Raises
    ------
    CheckpointError
        Naming the file and what is wrong with it.
    """
    folder = Path(path)
    manifest = Manifest.read(folder)
    for number, (name, entry) in enumerate(sorted(manifest.files.items())):
        file = folder / name
        try:
            state = file.stat()
            if not stat.S_ISREG(state.st_mode):  # reading a pipe would wait for ever
                raise CheckpointError(f"{file}: no file; {WAY_OUT}")
            if state.st_size != entry.bytes:
                raise CheckpointError(f"{file}: {state.st_size} bytes, expected {entry.bytes}: cut off or changed; {WAY_OUT}")
            if number % shares == share and durable.checksum(file) != entry.sha256:
                raise CheckpointError(f"{file}: its content does not have the checksum of the manifest; {WAY_OUT}")
        except OSError as error:
            raise CheckpointError(f"{file}: {error.strerror or error}, but the manifest names it; {WAY_OUT}") from error
    parts = [name for name in sorted(manifest.files)[share::shares] if name != ALL]
    if parts:
        with open_file(folder) as master, _damage_of(folder / ALL):
            arrays = list(arrays_of(master))
            for name in parts:
                with _damage_of(folder / name):
                    check_part(folder, name, manifest.files[name].bytes, arrays)
    return manifest


def attributes_of(path: str | Path) -> Mapping[str, Any]:
    """Return the attributes of a checkpoint; CheckpointError where it has none."""
    return Manifest.read(Path(path)).attributes


def open_file(path: str | Path) -> h5py.File:
    """Open the whole of a checkpoint for reading; its arrays are virtual, all from files that the manifest names.

    What those files hold is looked at by `verify`, which comes first.

    Raises
    ------
    CheckpointError
        Naming the file and what is wrong with it.
    """
    manifest = Manifest.read(Path(path))
    master = Path(path) / ALL
    try:
        file = h5py.File(master, "r", locking=False)
    except DAMAGE as error:
        raise CheckpointError(f"{master}: not a readable HDF5 file ({error}); {WAY_OUT}") from error
    try:
        with _damage_of(master):
            for name, dataset in arrays_of(file):
                expect_numbers(master, manifest, name, dataset)
            if "params" not in file:
                raise CheckpointError(f"{master}: no /params: not a ParaLift checkpoint?")
    except CheckpointError:
        file.close()
        raise
    return file


def array(file: h5py.File, name: str, shape: Iterable[int], start: int | None = None, stop: int | None = None) -> np.ndarray:
    """Return an array, or its rows start to stop, of a given shape.

    Raises
    ------
    CheckpointError
        If it is missing, has another shape, or cannot be read.
    """
    with _damage_of(f"{file.filename}: /{name}"):
        if not isinstance(dataset := file.get(name), h5py.Dataset):
            raise CheckpointError(f"{file.filename}: no array /{name}; {WAY_OUT}")
        if dataset.shape != tuple(shape):
            raise CheckpointError(f"{file.filename}: /{name} has shape {dataset.shape}, expected {tuple(shape)}; {WAY_OUT}")
        return np.asarray(dataset[...] if start is None else dataset[start:stop])


def load_params(path: str | Path) -> tuple[dict[str, dict[str, np.ndarray]], Mapping[str, Any]]:
    """Return the parameters and the attributes of a checkpoint, after comparing its checksums.

    The parameters are those that the run would return: of the best epoch with early stopping, else an average if there is one.

    Raises
    ------
    CheckpointError
        If the checkpoint is missing, damaged, or none.
    """
    manifest = verify(path)
    found: dict[str, dict[str, np.ndarray]] = {}
    with open_file(path) as file, _damage_of(Path(path) / ALL):
        group = next(name for name in ("best", "ema", "params") if name in file)
        for name, dataset in arrays_of(file[group]):
            block, _, key = name.rpartition("/")
            found.setdefault(block, {})[key] = array(file, f"{group}/{name}", dataset.shape)
    return found, manifest.attributes


def expect_same(path: str | Path, attributes: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless a checkpoint comes from the same network, data, method and optimiser."""
    for key, value in expected.items():
        found = attributes.get(key)
        if found != value:
            raise CheckpointError(
                f"{path}: {key} is {shown(found)}, this run has {value!r}; resume with the configuration of the run folder, "
                "or start a new run in another folder"
            )


@contextmanager
def _damage_of(what: Any) -> Iterator[None]:
    """Turn what HDF5 raises on a damaged file into a CheckpointError that names it."""
    try:
        yield
    except CheckpointError:
        raise
    except DAMAGE as error:
        raise CheckpointError(f"{what}: damaged, or it cannot be read ({error}); {WAY_OUT}") from error
