"""What a rank puts into a checkpoint, and takes out of one that any number of ranks wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from paralift.kernels.arrays import Array, from_host, to_host
from paralift.lifted.inference.norms import Norms
from paralift.lifted.network import Params
from paralift.parallel.collect import gather, row_pieces
from paralift.parallel.grid import AgreedError, Grid
from paralift.parallel.kept import Kept, host_rows
from paralift.parallel.lifted_step import LiftedStep
from paralift.parallel.unflushed_step import UnflushedStep
from paralift.training.checkpoints import CheckpointError, Piece, Writing, attributes_of, open_file, prune, verify
from paralift.training.checkpoints.read import array
from paralift.training.worker import Worker

Content = list[tuple[Piece, Callable[[], Iterator[np.ndarray]]]]


def save(worker: Worker, folder: Path, attributes: Mapping[str, Any], keep: int, flight: bool = False) -> None:
    """Write a checkpoint; collective.

    Parameters
    ----------
    worker : Worker
        The pipe is empty.
    folder : path
        Of the checkpoint.
    attributes : mapping
    keep : int
        Checkpoints that stay in the run folder.
    flight : bool
        Whether the epoch goes on behind the checkpoint, so that what the next batches read belongs to it.

    Raises
    ------
    AgreedError
        If a rank cannot write; every rank raises it. The older checkpoints are as they were.
    """
    grid, writing = worker.grid, Writing(folder)
    try:
        grid.together(writing.begin if grid.rank == 0 else None)
        written = grid.together(lambda: writing.write(grid.rank, _content(worker, flight)))
        all_written = gather(grid, written)
        grid.together((lambda: writing.finish(all_written, attributes)) if grid.rank == 0 else None)
    except (OSError, RuntimeError) as error:
        if grid.world is not None and not isinstance(error, AgreedError):
            raise  # an error of MPI: a rank has died
        if grid.rank == 0:
            writing.abandon()
        text = f"checkpoint {folder} could not be written: {error}; older checkpoints are as they were"
        raise AgreedError(text) from error.__cause__
    if grid.rank == 0:
        with suppress(OSError):  # too many checkpoints are no reason to end a run
            prune(folder.parent.parent, keep)


def restore(worker: Worker, path: Path) -> None:
    """Read this rank's part of a checkpoint; all that is missing or of another shape is an error of this rank.

    Raises
    ------
    CheckpointError
    """
    like, step = worker.stage.like, worker.step
    with open_file(path) as file:
        flight = "flight" in file
        for name, view in places(worker, flight).items():
            found = array(file, name, view.shape)
            view[...] = from_host(found.astype(_name(like), copy=False), like)
        if isinstance(step, LiftedStep):
            if step.kept is not None:
                _read_kept(worker, file, step.kept)
            if "norms" in file:  # the epoch goes on, and so do its power iterations
                _read_norms(file, step.estimator.norms, like)
                step.epoch = int(attributes_of(path)["epoch"])  # type: ignore[arg-type]
        elif isinstance(step, UnflushedStep) and flight:
            step.resume()


def places(worker: Worker, flight: bool) -> dict[str, Array]:
    """Return views of all arrays of this rank's stage that shards have in common, by their names in a checkpoint.

    Parameters
    ----------
    worker : Worker
    flight : bool
        Whether the epoch goes on: with what the next batch reads first.
    """
    layout, step = worker.stage.layout, worker.step
    flats = {"params": worker.stage.flat, **{f"optimizer/{k}": a for k, a in worker.optimizer.arrays.items()}}
    if worker.optimizer.average is not None:
        flats["ema"] = worker.optimizer.evaluated()
    if worker.best is not None:
        flats["best"] = worker.best
    groups: dict[str, Params] = {name: layout.views(flat) for name, flat in flats.items()}
    if worker.optimizer.clipping is not None:
        groups["clip"] = worker.optimizer.clipping.views()
    if isinstance(step, UnflushedStep) and flight:
        groups["flight"] = step.in_flight()
    return {
        f"{name}/{block}/{key}": view
        for name, views in groups.items() for block, arrays in views.items() for key, view in arrays.items()
    }  # fmt: skip


def whole(grid: Grid, path: Path) -> str:
    """Return what is wrong with a checkpoint, empty if nothing is, the same on all ranks, which divide the work; collective."""
    wrong = ""
    try:
        verify(path, grid.rank, grid.size)
    except CheckpointError as error:
        wrong = str(error)
    return next((text for text in gather(grid, wrong, to_all=True) if text), "")


def _content(worker: Worker, flight: bool) -> Content:
    """Return what this rank writes: the shards of a stage divide its arrays, and each has its own samples."""
    grid, step = worker.grid, worker.step
    views = places(worker, flight)
    if isinstance(step, LiftedStep) and flight:
        norms = step.estimator.norms.vectors
        views |= {f"norms/{index}-{parent}/v": v for (index, parent), v in norms.items()}
    own = [(name, view) for i, (name, view) in enumerate(views.items()) if i % grid.shards == grid.shard]
    content: Content = [(Piece(name, tuple(view.shape), _name(view)), _one(view)) for name, view in own]
    if isinstance(step, LiftedStep) and step.kept is not None:
        content += _rows(worker, step.kept)
    return content


def _one(a: Array) -> Callable[[], Iterator[np.ndarray]]:
    return lambda: iter((to_host(a),))


def _rows(worker: Worker, kept: Kept) -> Content:
    first, last = worker.sampler.local_range
    like, n = worker.stage.like, worker.sampler.n_samples

    def parts(v: int) -> Callable[[], Iterator[np.ndarray]]:
        pieces = row_pieces(0, last - first, kept.shapes[v])
        return lambda: (host_rows(kept, v, a, b, like) for a, b in pieces)

    return [(Piece(f"states/x{v}", (n, *shape), _name(like), first, last), parts(v)) for v, shape in kept.shapes.items()]


def _read_kept(worker: Worker, file: h5py.File, kept: Kept) -> None:
    first, last = worker.sampler.local_range
    for v, shape in kept.shapes.items():
        for start, stop in row_pieces(first, last, shape):
            rows = array(file, f"states/x{v}", (worker.sampler.n_samples, *shape), start, stop)
            kept.write(v, np.arange(start - first, stop - first), from_host(rows, worker.stage.like))


def _read_norms(file: h5py.File, norms: Norms, like: Array) -> None:
    for block in norms.stage.blocks:
        for parent, shape in enumerate(block.parent_shapes):
            if f"norms/{block.index}-{parent}" in file:
                found = array(file, f"norms/{block.index}-{parent}/v", (1, *shape))
                norms.vectors[block.index, parent] = from_host(found, like)


def _name(a: Array) -> str:
    return str(a.dtype).rsplit(".", 1)[-1]
