"""Curves of several runs in one figure: a score over seconds of training, and over passes over the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe & Ito's palette, but for its yellow: told apart with any colour vision; then the styles change."""
STYLES = ("-", "--", ":", "-.")
OVER: Mapping[str, str] = {"seconds": "seconds of training", "passes": "passes over the training data"}
NAMES = {"seconds": "time", "passes": "passes"}


def plot_compare(records: Sequence[Mapping[str, Any]], score: str, folder: Path) -> list[Path]:
    """Draw a score of all runs over time and over passes; return the files written.

    Parameters
    ----------
    records : sequence of mapping
        With "method" and "curve", a list of points with "seconds", "passes" and the score.
    score : str
        Such as ``"test_accuracy"``.
    folder : path
    """
    written = []
    for key, label in OVER.items():
        path = folder / f"{score.split('_')[-1]}-over-{NAMES[key]}.png"
        draw(records, key, label, score).savefig(path, dpi=150)
        written.append(path)
    return written


def draw(records: Sequence[Mapping[str, Any]], over: str, label: str, score: str) -> Figure:
    """Return the figure of one score over "seconds" or "passes"; seconds on a logarithmic axis where they differ much."""
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shown = [record for record in records if record["curve"]]
    for k, record in enumerate(shown):
        points = [(point[over], point[score]) for point in record["curve"] if score in point]
        if points:
            x, y = zip(*points, strict=True)
            style = STYLES[k // len(COLOURS) % len(STYLES)]
            axes.plot(x, y, color=COLOURS[k % len(COLOURS)], linestyle=style, label=record["method"], marker="o", markersize=3)
    ends = [record["curve"][-1]["seconds"] for record in shown]
    if over == "seconds" and ends and max(ends) > 10 * min(ends):
        axes.set_xscale("log")
    elif over == "passes":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(label)
    axes.set_ylabel(score.replace("_", " "))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if shown:
        axes.legend(frameon=False, fontsize="small")
    return figure
