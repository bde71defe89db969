"""What a solver found, its picture, and the line that tells of it while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from paralift.kernels.arrays import Array

OVER: Mapping[str, str] = {"seconds": "seconds", "update": "updates", "bytes": "bytes sent by the first rank"}
COLOUR = "#0072b2"
PAUSE = 0.5
"""Seconds between two lines that are told."""


@dataclass(frozen=True)
class Solution:
    """What `solve` found, the same on all ranks.

    Attributes
    ----------
    x : Array
    objective : float
        f(x) + r(x).
    reason : str
        Why it ended: "tolerance", "until", "updates" or "seconds".
    updates : int
        Of the algorithm; of the first rank, where ranks count for themselves.
    seconds : float
        Of the algorithm, evaluations for the history not counted.
    history : list of dict
        Lines of update, seconds, residual, bytes and objective, on the first rank.
    facts : dict
        What the algorithm tells besides: steps, delays, gradients and bytes of letters by rank.
    rank : int
        This rank, 0 for the first.
    """

    x: Array
    objective: float
    reason: str
    updates: int
    seconds: float
    history: list[dict[str, Any]]
    facts: dict[str, Any]
    rank: int = 0

    def plot(self, path: str | Path, optimum: float | None = None) -> Path | None:
        """Draw the objective over seconds, updates and bytes into a file; return it, or None on other ranks than the first.

        Parameters
        ----------
        path : path
            Its ending decides the format.
        optimum : float, optional
            What is subtracted; the smallest objective of the run by default.

        Raises
        ------
        ValueError
            If there is no history: `solve` keeps one with ``every=``.
        """
        if self.rank:
            return None
        lines = [line for line in self.history if "objective" in line]
        if not lines:
            raise ValueError("there is no history to draw; expected one: pass every= to solve, such as every=10")
        least = min(self.objective, *(line["objective"] for line in lines)) if optimum is None else optimum
        return _draw(lines, least, Path(path))


def _draw(lines: Sequence[Mapping[str, Any]], optimum: float, path: Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # dear to import, and not needed to solve
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (key, label) in zip(figure.subplots(1, len(OVER), sharey=True), OVER.items(), strict=True):
        points = [(line[key], line["objective"] - optimum) for line in lines if line["objective"] > optimum]
        axes.plot(*zip(*points, strict=True), color=COLOUR) if points else None
        axes.set_yscale("log")
        axes.set_xlabel(label)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("F - F*")
    figure.savefig(path, dpi=150)
    return path


class Live:
    """Tells of a run's lines, not more often than every half second; a callback of `solve`.

    Parameters
    ----------
    stream : text file, optional
        The error output by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream, self._last = stream, -PAUSE

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Tell of a line."""
        now = time.monotonic()
        if now - self._last < PAUSE:
            return
        self._last = now
        said = [f"update {line['update']}", f"{line['seconds']:.2f} s"]
        said += [f"F = {line['objective']:.8g}"] if "objective" in line else []
        said += [f"residual {line['residual']:.2e}"]
        said += [f"delay {line['delay']}"] if "delay" in line else []
        print(", ".join([*said, f"{line['bytes'] / 1e6:.3g} MB sent"]), file=self._stream or sys.stderr, flush=True)
