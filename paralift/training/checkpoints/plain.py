"""What the files of a checkpoint may hold: arrays of numbers, each in one place, in the file that the manifest names for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import h5py

from paralift.data.plain_hdf5 import expect_plain, find
from paralift.training.checkpoints.errors import CheckpointError
from paralift.training.checkpoints.manifest import ALL, Manifest

DEEPEST = 16
"""Groups within each other, at most."""


def arrays_of(group: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield (name, dataset) for all arrays below a group.

    Raises
    ------
    CheckpointError
        At links, at what has two names (groups within themselves have no end), and at deeper groups than any checkpoint has.
    """
    if not isinstance(group, h5py.Group):
        raise CheckpointError(f"{group.file.filename}: {group.name} is no group")
    file, seen = group.file.filename, {_address(group)}
    waiting = [("", group)]
    while waiting:
        prefix, parent = waiting.pop()
        for key in parent:
            name = prefix + key
            if not isinstance(parent.get(key, getlink=True), h5py.HardLink):
                raise CheckpointError(f"{file}: {name} is a link to elsewhere")
            item = parent[key]
            if (address := _address(item)) in seen or name.count("/") > DEEPEST:
                raise CheckpointError(f"{file}: {name} has two names, or lies too deep")
            seen.add(address)
            if isinstance(item, h5py.Dataset):
                yield name, item
            elif isinstance(item, h5py.Group):
                waiting.append((f"{name}/", item))


def expect_numbers(master: Path, manifest: Manifest, name: str, dataset: h5py.Dataset) -> None:
    """Raise CheckpointError unless an array of ``all.h5`` is one of numbers out of files that the manifest names."""
    if dataset.dtype.kind not in "fiu" or dataset.external:
        raise CheckpointError(f"{master}: {name} is no array of numbers of this checkpoint")
    held = sum(entry.bytes for entry in manifest.files.values())
    if dataset.nbytes > held:
        raise CheckpointError(f"{master}: {name} of shape {dataset.shape} is larger than all {held} bytes of the checkpoint")
    sources = dataset.virtual_sources() if dataset.is_virtual else []
    names = {source.file_name for source in sources}
    if not names <= set(manifest.files) - {ALL}:  # of itself, HDF5 would read without end
        raise CheckpointError(f"{master}: {name} comes from {sorted(names)}, expected files of ranks, which the manifest names")
    if sources and sum(source.vspace.get_select_npoints() for source in sources) < dataset.size:
        raise CheckpointError(f"{master}: parts of {name} are missing")


def check_part(folder: Path, part: str, file_bytes: int, arrays: Iterable[tuple[str, h5py.Dataset]]) -> None:
    """Raise CheckpointError unless the file of a rank holds, as plain numbers, whatever `arrays` of ``all.h5`` take from it."""
    with h5py.File(folder / part, "r", locking=False) as file:
        for name, dataset in arrays:
            for source in dataset.virtual_sources() if dataset.is_virtual else []:
                if source.file_name != part:
                    continue
                found, taken = find(file, source.dset_name), source.vspace.get_select_npoints()
                if not isinstance(found, h5py.Dataset) or found.size != taken or found.dtype.kind not in "fiu":
                    where = f"{folder / part}: no array {source.dset_name} of {taken} numbers"
                    raise CheckpointError(f"{where}, though {name} of {ALL} is made of it")
                expect_plain(found, file_bytes)


def _address(item: h5py.HLObject) -> int:
    return h5py.h5o.get_info(item.id).addr
