"""The start of a run: its folder, and the checkpoint that it goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paralift.parallel.collect import share
from paralift.training import checkpoint
from paralift.training.metrics import RunFolder
from paralift.training.worker import Worker


def open_run(
    worker: Worker, out: Any, resume: Any, attributes: Mapping[str, Any], config: str | None
) -> tuple[RunFolder | None, int, list[dict[str, Any]]]:
    """Return the run folder (on rank 0), the first epoch and the history; restore a checkpoint if asked; collective."""
    grid, error, folder = worker.grid, None, None
    path, first, history = None, 0, []
    if grid.rank == 0:
        try:
            path = checkpoint_path(out, resume)
            if out is not None:
                _expect_new(out, path)
                text = config if config is not None else _config_text(attributes)
                folder = RunFolder(out, text, append=path is not None)
            if path is not None:
                _, found = checkpoint.load_params(path)
                checkpoint.expect_same(path, found, attributes)
                first = int(found["epoch"])
                history = folder.drop_after(first) if folder is not None else []
        except Exception as failure:
            error = failure
    grid.agree(error)
    path, first, history = share(grid, (path, first, history))
    if path is not None:
        try:
            worker.restore(path)
        except Exception as failure:
            error = failure
        grid.agree(error)
    return folder, first, history


def _expect_new(out: Any, path: Path | None) -> None:
    """Raise ValueError rather than mix a new run with the checkpoints of an old one."""
    if path is None and checkpoint.all_of(out):
        raise ValueError(f'{out} holds the checkpoints of a run: pass resume="auto" to go on, or another folder')


def checkpoint_path(out: Any, resume: Any) -> Path | None:
    """Return the checkpoint that `resume` means in the run folder `out`, None for a new run."""
    if resume is None:
        return None
    if resume != "auto":
        return Path(resume)
    if out is None:
        raise ValueError('resume="auto" needs a run folder: pass out="runs/name"')
    found = checkpoint.all_of(out)
    return found[-1] if found else None


def _config_text(attributes: Mapping[str, Any]) -> str:
    """Return a configuration for runs started from Python, in the command line's syntax."""
    lines = [f"{key} = '''{attributes[key]}'''" for key in ("data", "network", "method", "optimizer", "loss")]
    lines += ["", "[training]", f"batch_size = {attributes['batch_size']}", f"seed = {attributes['seed']}"]
    return "\n".join([*lines, f'dtype = "{attributes["dtype"]}"']) + "\n"
