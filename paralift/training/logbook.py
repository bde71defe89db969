"""A logbook for each rank, ``logs/rank-3.log`` in the run folder; warnings also go to the screen."""

from __future__ import annotations

import logging
import os
import platform
import sys
from contextlib import suppress
from logging.handlers import MemoryHandler
from pathlib import Path
from types import TracebackType

from paralift.parallel.grid import Grid

LOG = logging.getLogger("paralift")
EARLY = 1000
"""Lines of a start that are kept until there is a file."""


class _File(logging.FileHandler):
    """A file whose disk may be full: what cannot be written is lost, and the run is not bothered."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Do nothing."""

    def close(self) -> None:
        """Close the file, whatever becomes of its last lines."""
        with suppress(OSError):
            super().close()


class Logbook:
    """Shows warnings of what is logged as "paralift" while a run lasts, and keeps all of it once it is opened.

    Parameters
    ----------
    rank : int
    """

    def __init__(self, rank: int) -> None:
        self.name, self.where = f"rank-{rank}.log", f"rank {rank}"
        self.handlers: list[logging.Handler] = []
        self.early = MemoryHandler(EARLY, logging.CRITICAL + 1, flushOnClose=False)
        self.level = LOG.level

    def __enter__(self) -> Logbook:
        LOG.setLevel(logging.INFO)
        self.screen = logging.StreamHandler(sys.stderr)
        self.screen.setLevel(logging.WARNING)
        self._add(self.screen, f"paralift: {self.where}: %(message)s")
        self._add(self.early, "%(message)s")
        return self

    def place(self, grid: Grid) -> None:
        """Say from now on which place in a grid this rank has."""
        self.where = f"rank {grid.rank} (shard {grid.shard}, stage {grid.stage})"
        self.screen.setFormatter(logging.Formatter(f"paralift: {self.where}: %(message)s"))

    def open(self, run: Path | None) -> None:
        """Keep what is logged from now on in the run folder; a folder that cannot be written to is a warning."""
        if run is None:
            return
        try:
            (run / "logs").mkdir(parents=True, exist_ok=True)
            file = _File(run / "logs" / self.name, encoding="utf-8")
        except OSError as error:
            LOG.warning("keeps no logbook: %s", error)
            return
        LOG.removeHandler(self.early)
        self._add(file, "%(asctime)s %(levelname)s %(message)s")
        LOG.info("%s: process %d on %s, Python %s", self.where, os.getpid(), platform.node(), platform.python_version())
        self.early.setTarget(file)
        self.early.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            LOG.info("the run ends by an error", exc_info=error)
        for handler in self.handlers:
            LOG.removeHandler(handler)
            handler.close()
        self.handlers.clear()
        LOG.setLevel(self.level)

    def _add(self, handler: logging.Handler, form: str) -> None:
        handler.setFormatter(logging.Formatter(form))
        LOG.addHandler(handler)
        self.handlers.append(handler)
