"""The progress bar and the lines of a run, on rank 0 only."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class Bar:
    """A bar over all batches of a run, with the last epoch's figures; nothing where it is not shown."""

    def __init__(self, shown: bool, total: int, done: int) -> None:
        self.progress: Progress | None = None
        if shown:
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
            self.progress = Progress(*columns, console=Console(stderr=True))
            self.task = self.progress.add_task("training", total=total, completed=done)

    def __enter__(self) -> Bar:
        if self.progress is not None:
            self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.progress is not None:
            self.progress.stop()

    def at(self, batches: int) -> None:
        """Show that so many batches of the run are done."""
        if self.progress is not None:
            self.progress.update(self.task, completed=batches)

    def epoch(self, record: Mapping[str, Any], batches: int, epochs: int) -> None:
        """Show the figures of an epoch, and how many batches of the run are done."""
        if self.progress is None:
            return
        names = [k for k in ("loss", "test_accuracy", "test_error") if k in record]
        shown = [f"{k.replace('_', ' ')} {record[k]:.4f}" for k in names]
        text = f"epoch {record['epoch']}/{epochs}  {'  '.join(shown)}"
        self.progress.update(self.task, completed=batches, description=text)
