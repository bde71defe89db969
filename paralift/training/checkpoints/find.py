"""The checkpoints of a run folder: the newest, the newest good one, and those that may go."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from paralift.training.checkpoints.errors import CheckpointError
from paralift.training.checkpoints.read import verify

PATTERN = "step-*"


def all_of(run: str | Path) -> list[Path]:
    """Return the checkpoints of a run folder, oldest first, damaged ones included."""
    return sorted(path for path in (Path(run) / "checkpoints").glob(PATTERN) if path.suffix != ".part")


def latest(run: str | Path) -> Path:
    """Return the newest checkpoint of a run folder.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    found = all_of(run)
    if not found:
        raise CheckpointError(f"{run}: no checkpoint found, expected {run}/checkpoints/{PATTERN}")
    return found[-1]


def intact(path: Path) -> str:
    """Return what is wrong with a checkpoint, an empty text if nothing is: all files are there with their checksums."""
    try:
        verify(path)
    except CheckpointError as error:
        return str(error)
    return ""


def newest_good(found: Sequence[Path], say: Callable[[str], None], wrong: Callable[[Path], str] = intact) -> Path | None:
    """Return the newest checkpoint that is whole, None where there are none at all.

    Parameters
    ----------
    found : sequence of path
        Oldest first.
    say : callable (text)
        Told of those that are passed over.
    wrong : callable (path) -> str
        Such as `intact`.

    Raises
    ------
    CheckpointError
        If there are checkpoints, but none is whole: starting anew would hide that.
    """
    texts = []
    for path in reversed(found):
        text = wrong(path)
        if not text:
            return path
        say(f"checkpoint passed over: {text}")
        texts.append(text)
    if texts:
        more = "" if len(texts) == 1 else f" (and {len(texts) - 1} older ones neither)"
        raise CheckpointError(f"no whole checkpoint: {texts[0]}{more}; start a new run in another folder")
    return None


def prune(run: str | Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, and what was left of unfinished ones."""
    for path in all_of(run)[:-keep]:
        aside = path.with_name(f".{path.name}.gone")  # its name disappears at once, its files one by one
        path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
