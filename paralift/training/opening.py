"""The start of a run: its folder, and the checkpoint that it goes on from."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from operator import index
from pathlib import Path
from typing import Any, NamedTuple

from paralift.parallel.activity import ACTIVITY
from paralift.parallel.collect import share
from paralift.parallel.grid import Grid
from paralift.parallel.plan import Plan
from paralift.training import checkpoints, saving
from paralift.training.copies import Copies, complete, restore
from paralift.training.metrics import RunFolder
from paralift.training.planning import stored_plan
from paralift.training.position import Position
from paralift.training.worker import Worker

LOG = logging.getLogger("paralift")


class Opened(NamedTuple):
    """A run at its start.

    Attributes
    ----------
    folder : RunFolder or None
        On rank 0 alone.
    run : path or None
        The same folder, on all ranks.
    position : Position
    history : list of dict
    """

    folder: RunFolder | None
    run: Path | None
    position: Position
    history: list[dict[str, Any]]


def open_run(
    worker: Worker, out: Any, resume: Any, attributes: Mapping[str, Any], config: str | None, past: Copies | None = None
) -> Opened:
    """Open the run folder, and bring the parameters to where the run goes on; collective.

    Parameters
    ----------
    past : Copies, optional
        Of an attempt that lost ranks; they count more than checkpoints, which are older.

    Raises
    ------
    AgreedError
        If the folder cannot be written to or is another run's, or a checkpoint cannot be used; on all ranks.
    """
    grid = worker.grid
    copy = None if past is None else past.common(grid.world)
    if copy is not None and not complete(copy, grid.world, frozenset(saving.places(worker, copy.position.batch > 0))):
        copy = None
    path = None if copy is not None else _choose(grid, out, resume)
    position, history = (Position(), []) if copy is None else (copy.position, copy.history)
    with ExitStack() as undo:

        def begin() -> Opened:
            at, records = position, history
            if path is not None:
                found = checkpoints.attributes_of(path)
                checkpoints.expect_same(path, found, attributes)
                at = position_of(path, found, worker.sampler.n_batches)
            if out is None:
                return Opened(None, None, at, records)
            goes_on = path is not None or past is not None
            if not goes_on:
                _expect_new(out)
            folder = RunFolder(out, config if config is not None else _config_text(attributes), append=goes_on)
            undo.callback(folder.close)
            records = folder.drop_after(at.epoch) if goes_on else []
            return Opened(folder, folder.path.resolve(), at, records)

        opened = grid.together(begin if grid.rank == 0 else None)
        run, position, history = share(grid, None if opened is None else opened[1:])
        if copy is not None:
            restore(worker, copy)
            LOG.info("goes on from copies in memory")
        elif path is not None:
            grid.together(lambda: saving.restore(worker, path))
            LOG.info("goes on from %s", path)
        undo.pop_all()
    return Opened(None if opened is None else opened.folder, run, position, history)


def stored(comm: Any, out: Any, resume: Any) -> Plan | None:
    """Return the plan of the checkpoint that the run goes on from, in rank 0's eyes; collective."""
    plan = None
    if resume is not None and (comm is None or comm.Get_rank() == 0):
        with suppress(ValueError):  # said to all ranks when the run is opened
            plan = stored_plan(checkpoint_path(out, resume))
    if comm is None:
        return plan
    with ACTIVITY.waiting("word from rank 0"):
        return comm.bcast(plan)


def position_of(path: Path, attributes: Mapping[str, Any], n_batches: int) -> Position:
    """Return where a checkpoint stands.

    Raises
    ------
    CheckpointError
        If it does not say so.
    """
    try:
        found = Position(
            index(attributes["epoch"]), index(attributes["batch"]), float(attributes["loss_sum"]),
            index(attributes.get("best_epoch", 0)), float(attributes.get("best_value", 0.0)),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise checkpoints.CheckpointError(f"{path}: epoch, batch or loss_sum is missing or no number ({error})") from error
    if found.epoch < 0 or not 0 <= found.batch < n_batches or not math.isfinite(found.loss_sum):
        raise checkpoints.CheckpointError(
            f"{path}: epoch {found.epoch}, batch {found.batch}, loss_sum {found.loss_sum}: expected no negative epoch, a batch "
            f"of 0 to {n_batches - 1} and a finite sum"
        )
    if not 0 <= found.best_epoch <= found.epoch or not math.isfinite(found.best_value):
        raise checkpoints.CheckpointError(
            f"{path}: best_epoch {found.best_epoch}, best_value {found.best_value}: expected an epoch of 0 to {found.epoch} "
            "and a finite figure"
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
    path = share(grid, grid.together((lambda: checkpoint_path(out, resume)) if grid.rank == 0 else None))
    resume = share(grid, resume)
    say = LOG.warning if grid.rank == 0 else LOG.info
    error = None
    try:
        if path is not None and resume == "auto":
            found = share(grid, checkpoints.all_of(out) if grid.rank == 0 else [])
            return checkpoints.newest_good(found, say, lambda each: saving.whole(grid, each))
        if path is not None and (wrong := saving.whole(grid, path)):
            error = checkpoints.CheckpointError(wrong)
    except checkpoints.CheckpointError as failure:  # all ranks say the same of each checkpoint
        error = failure
    grid.agree(error)
    return path


def _expect_new(out: Any) -> None:
    """Raise ValueError rather than mix a new run with the checkpoints of an old one."""
    if checkpoints.all_of(out):
        raise ValueError(f'{out} holds the checkpoints of a run: pass resume="auto" to go on, or another folder')


def _config_text(attributes: Mapping[str, Any]) -> str:
    """Return a configuration for runs started from Python, in the command line's syntax."""
    lines = [f"{key} = '''{attributes[key]}'''" for key in ("data", "network", "method", "optimizer", "loss")]
    lines += ["", "[training]", f"batch_size = {attributes['batch_size']}", f"seed = {attributes['seed']}"]
    return "\n".join([*lines, f'dtype = "{attributes["dtype"]}"']) + "\n"
