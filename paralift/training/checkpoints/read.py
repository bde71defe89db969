"""Reading checkpoints: nothing in them is run, and nothing is believed that the manifest does not name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from paralift import durable
from paralift.training.checkpoints.errors import CheckpointError
from paralift.training.checkpoints.manifest import ALL, Manifest

WAY_OUT = "take an older checkpoint"


def verify(path: str | Path, share: int = 0, shares: int = 1) -> Manifest:
    """Return the manifest of a checkpoint whose files have the sizes and checksums that it names.

    Parameters
    ----------
    path : path
    share, shares : int
        All sizes are compared, but only the checksums of every `shares`-th file from `share` on: ranks divide the work.

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
            found = file.stat().st_size
            if found != entry.bytes:
                raise CheckpointError(f"{file}: {found} bytes, expected {entry.bytes}: cut off or changed; {WAY_OUT}")
            if number % shares == share and durable.checksum(file) != entry.sha256:
                raise CheckpointError(f"{file}: its content does not have the checksum of the manifest; {WAY_OUT}")
        except OSError as error:
            raise CheckpointError(f"{file}: {error.strerror or error}, but the manifest names it; {WAY_OUT}") from error
    return manifest


def attributes_of(path: str | Path) -> Mapping[str, Any]:
    """Return the attributes of a checkpoint; CheckpointError where it has none."""
    return Manifest.read(Path(path)).attributes


def open_file(path: str | Path) -> h5py.File:
    """Open the whole of a checkpoint for reading; its arrays are virtual, all from files that the manifest names.

    Raises
    ------
    CheckpointError
        Naming the file and what is wrong with it.
    """
    manifest = Manifest.read(Path(path))
    master = Path(path) / ALL
    try:
        file = h5py.File(master, "r", locking=False)
    except OSError as error:
        raise CheckpointError(f"{master}: not a readable HDF5 file ({error}); {WAY_OUT}") from error
    try:
        for name, dataset in arrays_of(file):
            if dataset.dtype.kind not in "fiu" or dataset.external:
                raise CheckpointError(f"{master}: {name} is no array of numbers of this checkpoint")
            sources = {source.file_name for source in dataset.virtual_sources()} if dataset.is_virtual else set()
            if not sources <= set(manifest.files):
                raise CheckpointError(f"{master}: {name} comes from {sorted(sources)}, which the manifest does not name")
        if "params" not in file:
            raise CheckpointError(f"{master}: no /params: not a ParaLift checkpoint?")
    except CheckpointError:
        file.close()
        raise
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        file.close()
        raise CheckpointError(f"{master}: damaged ({error}); {WAY_OUT}") from error
    return file


def arrays_of(group: h5py.Group, prefix: str = "") -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield (name, dataset) for all arrays below a group; links to other files are an error."""
    for key in group:
        link = group.get(key, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise CheckpointError(f"{group.file.filename}: {prefix}{key} is a link to elsewhere")
        item = group[key]
        if isinstance(item, h5py.Dataset):
            yield prefix + key, item
        elif isinstance(item, h5py.Group):
            yield from arrays_of(item, f"{prefix}{key}/")


def array(file: h5py.File, name: str, shape: Iterable[int], start: int | None = None, stop: int | None = None) -> np.ndarray:
    """Return an array, or its rows start to stop, of a given shape.

    Raises
    ------
    CheckpointError
        If it is missing, has another shape, or cannot be read.
    """
    try:
        if name not in file:
            raise CheckpointError(f"{file.filename}: no array /{name}; {WAY_OUT}")
        dataset = file[name]
        if tuple(dataset.shape) != tuple(shape):
            raise CheckpointError(f"{file.filename}: /{name} has shape {dataset.shape}, expected {tuple(shape)}; {WAY_OUT}")
        return np.asarray(dataset[...] if start is None else dataset[start:stop])
    except CheckpointError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{file.filename}: /{name} cannot be read ({error}); {WAY_OUT}") from error


def load_params(path: str | Path) -> tuple[dict[str, dict[str, np.ndarray]], Mapping[str, Any]]:
    """Return the parameters and the attributes of a checkpoint, after comparing its checksums.

    Raises
    ------
    CheckpointError
        If the checkpoint is missing, damaged, or none.
    """
    manifest = verify(path)
    found: dict[str, dict[str, np.ndarray]] = {}
    with open_file(path) as file:
        for name, dataset in arrays_of(file["params"]):
            block, _, key = name.rpartition("/")
            found.setdefault(block, {})[key] = array(file, f"params/{name}", dataset.shape)
    return found, manifest.attributes


def expect_same(path: str | Path, attributes: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless a checkpoint comes from the same network, data, method and optimiser."""
    for key, value in expected.items():
        found = attributes.get(key)
        if found != value:
            raise CheckpointError(
                f"{path}: {key} is {found!r}, this run has {value!r}; resume with the configuration of the run folder, "
                "or start a new run in another folder"
            )
