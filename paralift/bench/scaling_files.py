"""What `paralift bench scaling` writes beside its JSON: a table of all points, and plots beside ideal and prediction."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

Record = Mapping[str, Any]

COLUMNS = (
    "shape", "mode", "how", "ranks", "oversubscribed", "batch", "layers", "shards", "stages", "micro_batches", "schedule",
    "step_s", "min_step_s", "spread", "base_step_s", "flop", "flops", "speed_up", "efficiency", "predicted_s",
    "predicted_speed_up", "status",
)  # fmt: skip
COLOURS = ("#0072b2", "#d55e00", "#009e73")
"""Blue, vermilion and green of Okabe & Ito's palette: told apart with any colour vision."""


def write_csv(folder: str | Path, points: Sequence[Record]) -> Path:
    """Write scaling.csv, one row a point; return its path. What was not measured is empty."""
    path = Path(folder) / "scaling.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore")
        writer.writeheader()
        for p in points:
            writer.writerow({**p.get("facts", {}), **p, "layers": len(p["widths"]) - 1})
    return path


def write_plots(folder: str | Path, points: Sequence[Record], cores: int) -> list[Path]:
    """Draw the speed-ups of every shape and mode into scaling-SHAPE-MODE.png; return the paths."""
    written = []
    for shape, mode in dict.fromkeys((p["shape"], p["mode"]) for p in points):
        shown = [p for p in points if (p["shape"], p["mode"]) == (shape, mode) and "speed_up" in p]
        if shown:
            written.append(Path(folder) / f"scaling-{shape}-{mode}.png")
            draw(f"{mode} scaling, {shape}", shown, cores).savefig(written[-1], dpi=150)
    return written


def draw(title: str, points: Sequence[Record], cores: int) -> Figure:
    """Return a figure of speed-ups over ranks: measured (hollow beyond the cores), predicted (dashed), and ideal."""
    figure = Figure(figsize=(8.0, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    ranks = sorted({p["ranks"] for p in points})
    axes.plot(ranks, ranks, color="0.6", linewidth=1, label="ideal")
    for how, colour in zip(dict.fromkeys(p["how"] for p in points), COLOURS, strict=False):
        _series(axes, [p for p in points if p["how"] == how], how, colour)
    if ranks[-1] > cores:
        axes.axvspan(cores * 1.05, ranks[-1] * 1.15, color="0.93", zorder=0, label=f"more ranks than {cores} cores")
    axes.set(xscale="log", yscale="log")
    for axis, below in ((axes.xaxis, ()), (axes.yaxis, (0.125, 0.25, 0.5))):
        axis.set_major_locator(FixedLocator([*below, *ranks]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_title(title, loc="left")
    axes.set_xlabel("ranks")
    axes.set_ylabel("operations a second, over one rank")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _series(axes: Axes, points: Sequence[Record], how: str, colour: str) -> None:
    ranks = [p["ranks"] for p in points]
    axes.plot(ranks, [p["speed_up"] for p in points], color=colour, linewidth=1.5, label=how)
    for p in points:
        fill = "white" if p["oversubscribed"] else colour
        axes.plot(p["ranks"], p["speed_up"], "o", color=colour, markerfacecolor=fill, markersize=5)
    predicted = [p["predicted_speed_up"] for p in points]
    axes.plot(ranks, predicted, color=colour, linewidth=1, linestyle="--", label=f"{how}, predicted")
