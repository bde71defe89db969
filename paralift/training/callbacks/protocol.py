"""What a callback is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
"""What one epoch was like, as in ``metrics.jsonl``: epoch (from 1), step, seconds, loss, energy, scores."""


class Callback:
    """Base of callbacks, which rank 0 calls: at the start of a run, after each epoch, at the end. Here all do nothing.

    A function of a record is a callback, too: ``callbacks=[print]``. Whatever a callback raises ends the run on all ranks.
    """

    def start(self, attributes: Mapping[str, Any], history: Sequence[Record]) -> None:
        """Open what there is to open.

        Parameters
        ----------
        attributes : mapping
            The run in words: network, method, optimizer, loss, data, dtype, seed, batch_size, ...
        history : sequence of mapping
            Records of the epochs that the run goes on from; empty for a new one. Epochs that are told again follow.
        """

    def epoch(self, record: Record) -> None:
        """Take note of an epoch, whose record has been written; it must not be changed."""

    def end(self, summary: Mapping[str, Any] | None) -> None:
        """Close what was opened: called once for each start that did not raise.

        Parameters
        ----------
        summary : mapping or None
            What ``summary.json`` holds; None where the run ends by an error, which then is raised whatever happens here.
        """
