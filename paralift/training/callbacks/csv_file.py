"""Records of a run as a table that spreadsheets and pandas read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paralift import durable
from paralift.training.callbacks.protocol import Callback, Record


@dataclass
class CSV(Callback):
    """Write a line an epoch to a file, below a line of names.

    The file is written anew at the start of a run; one that goes on writes the epochs of its run folder first.

    Parameters
    ----------
    path : path
        Its folder is created if it is not there.
    """

    path: str | Path
    _rows: list[Record] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | Path):
            raise TypeError(f"CSV: path is {self.path!r}, expected the path of a file")

    def start(self, attributes: Mapping[str, Any], history: Sequence[Record]) -> None:
        """Write the epochs so far, if there are any."""
        self._rows = list(history)
        Path(self.path).expanduser().parent.mkdir(parents=True, exist_ok=True)
        self._write_all()

    def epoch(self, record: Record) -> None:
        """Append a line; a figure that no earlier epoch has (test samples that are new) gets a column in all lines."""
        known = _names(self._rows)
        self._rows.append(record)
        if _names(self._rows) == known:
            with Path(self.path).expanduser().open("a", newline="") as file:
                csv.DictWriter(file, known, lineterminator="\n").writerow(record)
        else:
            self._write_all()

    def _write_all(self) -> None:
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, _names(self._rows), lineterminator="\n")
        if self._rows:
            table.writeheader()
        table.writerows(self._rows)
        durable.write_text(Path(self.path).expanduser(), text.getvalue())


def _names(rows: Iterable[Record]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))
