"""Writing a checkpoint, by all ranks together."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from paralift import durable
from paralift.training.checkpoints.manifest import ALL, Entry, Manifest
from paralift.training.checkpoints.patient import write_hdf5

Rows = Iterator[np.ndarray]


@dataclass(frozen=True)
class Piece:
    """A whole array, or consecutive rows of one that several ranks have parts of.

    Parameters
    ----------
    name : str
        Such as ``"params/Linear1/W"``.
    shape : tuple of int
        Of the whole array.
    start, stop : int
        Rows; all of the array where ``stop`` is None.
    dtype : str
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    start: int = 0
    stop: int | None = None

    @property
    def own_shape(self) -> tuple[int, ...]:
        """The shape of what the rank has."""
        return self.shape if self.stop is None else (self.stop - self.start, *self.shape[1:])


@dataclass(frozen=True)
class Written:
    """What one rank has written."""

    file: str
    entry: Entry
    pieces: Sequence[Piece]


def name(step: int) -> str:
    """Return the folder name of the checkpoint after `step` batches."""
    return f"step-{step:09d}"


class Writing:
    """The steps of writing one checkpoint; each may raise OSError, and `abandon` then removes what there is of it.

    Parameters
    ----------
    folder : path
        Of the checkpoint, when it is complete.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.part = folder.with_name(f".{folder.name}.part")

    def begin(self) -> None:
        """Make an empty folder under a temporary name; rank 0."""
        for left in self.folder.parent.glob(".*"):  # of a run that died while it wrote
            shutil.rmtree(left, ignore_errors=True)
        self.part.mkdir(parents=True)

    def write(self, rank: int, content: Sequence[tuple[Piece, Callable[[], Rows]]]) -> Written:
        """Write this rank's file.

        Parameters
        ----------
        rank : int
        content : sequence of (Piece, function)
            The function yields the rows of the piece, in order, a part at a time.
        """
        path = self.part / f"rank-{rank}.h5"

        def fill(file: h5py.File) -> None:
            for piece, parts in content:
                _fill(file.create_dataset(piece.name, piece.own_shape, piece.dtype), parts())

        write_hdf5(path, fill)
        return Written(path.name, Entry(path.stat().st_size, durable.checksum(path)), [piece for piece, _ in content])

    def finish(self, written: Sequence[Written], attributes: Mapping[str, Any]) -> None:
        """Write the virtual file and the manifest, and give the folder its name; rank 0, when all ranks have written.

        Raises
        ------
        OSError
            Also if a rank's file cannot be seen here.
        """
        for rank, each in enumerate(written):
            path = self.part / each.file
            if not path.is_file() or path.stat().st_size != each.entry.bytes:
                raise OSError(
                    f"{path}, which rank {rank} wrote, is not to be seen by rank 0: the run folder must lie on a file "
                    "system that all ranks share"
                )
        master = self.part / ALL

        def fill(file: h5py.File) -> None:
            for piece, sources in _whole(written).items():
                layout = h5py.VirtualLayout(piece.shape, piece.dtype)
                for source, part in sources:
                    origin = h5py.VirtualSource(source, part.name, part.own_shape, part.dtype)
                    if part.stop is None:
                        layout[...] = origin
                    elif part.stop > part.start:
                        layout[part.start : part.stop] = origin
                file.create_virtual_dataset(piece.name, layout)

        write_hdf5(master, fill)
        files = {each.file: each.entry for each in written}
        files[ALL] = Entry(master.stat().st_size, durable.checksum(master))
        Manifest(attributes, files).write(self.part)
        old = self.folder.with_name(f".{self.folder.name}.old")
        if self.folder.exists():  # the same step again: a damaged checkpoint that was passed over
            os.replace(self.folder, old)
        os.replace(self.part, self.folder)
        durable.sync(self.folder.parent)
        shutil.rmtree(old, ignore_errors=True)

    def abandon(self) -> None:
        """Remove what there is of an unfinished checkpoint; rank 0."""
        shutil.rmtree(self.part, ignore_errors=True)


def _fill(dataset: h5py.Dataset, parts: Rows) -> None:
    start = 0
    for part in parts:
        if not dataset.shape:
            dataset[...] = part
            continue
        dataset[start : start + len(part)] = part
        start += len(part)


def _whole(written: Sequence[Written]) -> dict[Piece, list[tuple[str, Piece]]]:
    """Return for every array where its parts lie."""
    found: dict[Piece, list[tuple[str, Piece]]] = {}
    for each in written:
        for piece in each.pieces:
            whole = Piece(piece.name, piece.shape, piece.dtype)
            found.setdefault(whole, []).append((each.file, piece))
    return found
