"""Early stopping: which epoch was the best so far, and when a run has waited long enough for a better one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paralift.data import Dataset
from paralift.expressions import known

METRICS: Mapping[str, bool] = {
    "loss": False, "energy": False, "train_accuracy": True, "train_error": False, "test_accuracy": True,
    "test_error": False, "test_loss": False,
}  # fmt: skip
"""Figures of an epoch, and whether more is better."""


@dataclass(frozen=True)
class Best:
    """The best epoch so far, from 1, and its figure."""

    epoch: int
    value: float


@dataclass(frozen=True)
class EarlyStopping:
    """End a run when a figure of its epochs has stopped improving; the best epoch's parameters are the result.

    Parameters
    ----------
    patience : int
        Epochs without an improvement after which the run ends, at least 1.
    metric : str
        A key of the epochs' records: "test_loss", "test_accuracy" or "test_error" of the test samples, "loss", "energy",
        "train_accuracy" or "train_error" of the training samples. Accuracies are to grow, all others to fall.
    delta : float
        What counts as an improvement is larger than this.
    """

    patience: int = 5
    metric: str = "test_loss"
    delta: float = 0.0

    def __post_init__(self) -> None:
        if type(self.patience) is not int or self.patience < 1:
            raise ValueError(f"EarlyStopping: patience is {self.patience!r}, expected a whole number of epochs, at least 1")
        if self.metric not in METRICS:
            raise ValueError(f"EarlyStopping: metric is {self.metric!r}; {known(str(self.metric), METRICS)}")
        if isinstance(self.delta, bool) or not isinstance(self.delta, int | float) or not 0.0 <= self.delta < math.inf:
            raise ValueError(f"EarlyStopping: delta is {self.delta!r}, expected a finite number of at least 0")

    def check(self, data: Dataset) -> None:
        """Raise ValueError unless epochs on these data have the figure."""
        labels = data.target_shape == ()
        if self.metric.startswith("test_") and data.test is None:
            raise ValueError(f'{self!r}: {data.name} has no test samples: pass test=, or metric="loss"')
        wrong = "error" if labels else "accuracy"
        if self.metric.endswith(wrong):
            kind = "class labels" if labels else "floats"
            raise ValueError(f"{self!r}: the targets of {data.name} are {kind}, whose epochs have no {self.metric}")

    def after(self, record: Mapping[str, Any], best: Best | None) -> Best | None:
        """Return the best epoch when one more is over, of which `record` tells."""
        value = float(record[self.metric])
        if not math.isfinite(value):
            return best
        if best is not None:
            gain = value - best.value if METRICS[self.metric] else best.value - value
            if not gain > self.delta:
                return best
        return Best(int(record["epoch"]), value)

    def is_over(self, epochs: int, best: Best | None) -> bool:
        """Return whether a run of so many epochs has waited long enough."""
        return best is not None and epochs - best.epoch >= self.patience
