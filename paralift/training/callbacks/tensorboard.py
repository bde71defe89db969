"""Records of a run for TensorBoard, by tensorboardX, which needs no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paralift.training.callbacks.protocol import Callback, Record

PLACES = ("epoch", "step")
"""Entries of a record that say where it stands; what they hold is no curve."""


@dataclass
class TensorBoard(Callback):
    """Write each figure of each epoch as a curve over epochs: ``tensorboard --logdir FOLDER`` shows them.

    Needs the package tensorboardX: ``pip install 'paralift[tensorboard]'``.

    Parameters
    ----------
    folder : path
        Created if it is not there. Runs of one comparison have folders of their own below a common one.
    """

    folder: str | Path
    _writer: Any = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.folder, str | Path):
            raise TypeError(f"TensorBoard: folder is {self.folder!r}, expected the path of a folder")

    def start(self, attributes: Mapping[str, Any], history: Sequence[Record]) -> None:
        """Open an event file, and write there what the run is; curves of a run that goes on are cut where it goes on.

        Raises
        ------
        ImportError
            If tensorboardX is not there.
        """
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ImportError("tensorboardX is not installed: pip install 'paralift[tensorboard]'") from error
        folder = str(Path(self.folder).expanduser())
        self._writer = SummaryWriter(folder, purge_step=history[-1]["epoch"] + 1 if history else None)
        lines = [f"**{name}**: {value}" for name, value in attributes.items() if value is not None]
        self._writer.add_text("run", "  \n".join(lines))

    def epoch(self, record: Record) -> None:
        """Add a point to each curve."""
        for name, value in record.items():
            if name not in PLACES:
                self._writer.add_scalar(name, value, record["epoch"])
        self._writer.flush()

    def end(self, summary: Mapping[str, Any] | None) -> None:
        """Close the file."""
        self._writer.close()
        self._writer = None
