"""The start of a run: its folder, and the checkpoint that it goes on from."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextlib import ExitStack
from operator import index
from pathlib import Path
from typing import Any

from paralift.parallel.collect import share
from paralift.parallel.grid import Grid
from paralift.training import checkpoints, saving
from paralift.training.metrics import RunFolder
from paralift.training.run import Position
from paralift.training.worker import Worker

LOG = logging.getLogger("paralift")


def open_run(
    worker: Worker, out: Any, resume: Any, attributes: Mapping[str, Any], config: str | None
) -> tuple[RunFolder | None, Path | None, Position, list[dict[str, Any]]]:
    """Return the run folder (an object on rank 0, its path on all), the position and the history; collective.

    Raises
    ------
    AgreedError
        If the folder cannot be written to or is another run's, or a checkpoint cannot be used; on all ranks.
    """
    with ExitStack() as undo:
        opened = _open_run(worker, out, resume, attributes, config, undo)
        undo.pop_all()
    return opened


def _open_run(
    worker: Worker, out: Any, resume: Any, attributes: Mapping[str, Any], config: str | None, undo: ExitStack
) -> tuple[RunFolder | None, Path | None, Position, list[dict[str, Any]]]:
    """Open a run as `open_run` does; `undo` frees the folder where that fails."""
    grid, error, folder = worker.grid, None, None
    path = _choose(grid, out, resume)
    position, history, run = Position(), [], None
    if grid.rank == 0:
        try:
            if path is not None:
                found = checkpoints.attributes_of(path)
                checkpoints.expect_same(path, found, attributes)
                position = position_of(path, found, worker.sampler.n_batches)
            if out is not None:
                _expect_new(out, path)
                text = config if config is not None else _config_text(attributes)
                folder = RunFolder(out, text, append=path is not None)
                undo.callback(folder.close)
                history = folder.drop_after(position.epoch) if path is not None else []
                run = folder.path.resolve()
        except (OSError, ValueError) as failure:
            error = failure
    grid.agree(error)
    position, history, run = share(grid, (position, history, run))
    if path is not None:
        try:
            saving.restore(worker, path)
        except (OSError, ValueError) as failure:
            error = failure
        grid.agree(error)
        LOG.info("goes on from %s: epoch %d, batch %d", path, position.epoch + 1, position.batch + 1)
    return folder, run, position, history


def position_of(path: Path, attributes: Mapping[str, Any], n_batches: int) -> Position:
    """Return where a checkpoint stands.

    Raises
    ------
    CheckpointError
        If it does not say so.
    """
    try:
        found = Position(index(attributes["epoch"]), index(attributes["batch"]), float(attributes["loss_sum"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise checkpoints.CheckpointError(f"{path}: epoch, batch or loss_sum is missing or no number ({error})") from error
    if found.epoch < 0 or not 0 <= found.batch < n_batches or not math.isfinite(found.loss_sum):
        raise checkpoints.CheckpointError(
            f"{path}: epoch {found.epoch}, batch {found.batch}, loss_sum {found.loss_sum}: expected no negative epoch, a batch "
            f"of 0 to {n_batches - 1} and a finite sum"
        )
    return found


def checkpoint_path(out: Any, resume: Any) -> Path | None:
    """Return the checkpoint that `resume` names, the newest in the run folder `out` for "auto", None for a new run."""
    if resume is None:
        return None
    if resume != "auto":
        return Path(resume)
    if out is None:
        raise ValueError('resume="auto" needs a run folder: pass out="runs/name"')
    found = checkpoints.all_of(out)
    return found[-1] if found else None


def _choose(grid: Grid, out: Any, resume: Any) -> Path | None:
    """Return the checkpoint to go on from, whole in the eyes of all ranks; rank 0's arguments count; collective."""
    error, path, found = None, None, []
    if grid.rank == 0:
        try:
            path = checkpoint_path(out, resume)
            found = checkpoints.all_of(out) if resume == "auto" else [path] if path is not None else []
        except (OSError, ValueError) as failure:
            error = failure
    grid.agree(error)
    found = share(grid, found)
    try:
        say = LOG.warning if grid.rank == 0 else LOG.info
        path = checkpoints.newest_good(found, say, lambda each: saving.whole(grid, each))
    except checkpoints.CheckpointError as failure:  # all ranks say the same of each checkpoint
        error = failure
    grid.agree(error)
    return path


def _expect_new(out: Any, path: Path | None) -> None:
    """Raise ValueError rather than mix a new run with the checkpoints of an old one."""
    if path is None and checkpoints.all_of(out):
        raise ValueError(f'{out} holds the checkpoints of a run: pass resume="auto" to go on, or another folder')


def _config_text(attributes: Mapping[str, Any]) -> str:
    """Return a configuration for runs started from Python, in the command line's syntax."""
    lines = [f"{key} = '''{attributes[key]}'''" for key in ("data", "network", "method", "optimizer", "loss")]
    lines += ["", "[training]", f"batch_size = {attributes['batch_size']}", f"seed = {attributes['seed']}"]
    return "\n".join([*lines, f'dtype = "{attributes["dtype"]}"']) + "\n"
