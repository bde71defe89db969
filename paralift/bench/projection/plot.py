"""The picture of a projection: efficiency over ranks, model and simulations, a panel for each kind of growth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

LINES = {
    "model": ("model", "#0072b2", "-", ""),
    "simulation": ("simulation", "#d55e00", "", "o"),
    "simulation_with_jitter": ("simulation with jitter", "#009e73", "--", "s"),
}
"""Name, colour (Okabe & Ito), line and marker of each."""
FLUSHED = 0.35
"""Opacity of the flushed schedule."""
TITLES = {"layers": "layers: the network grows", "data": "data: the batch grows", "both": "both"}


def draw(points: Sequence[dict[str, Any]], path: Path, title: str, goal: float = 0.9) -> None:
    """Draw the efficiencies of `points` and a line at the goal; write a picture."""
    kinds = list(dict.fromkeys(p["kind"] for p in points))
    figure = Figure(figsize=(4.2 * len(kinds), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for k, kind in enumerate(kinds, start=1):
        axes = figure.add_subplot(1, len(kinds), k)
        for schedule, alpha in (("unflushed", 1.0), ("flush", FLUSHED)):
            chosen = [p for p in points if p["kind"] == kind and p["schedule"] == schedule]
            for key, (label, colour, line, marker) in LINES.items():
                if chosen:
                    _curve(axes, chosen, key, f"{label}, {schedule}", alpha, color=colour, linestyle=line, marker=marker)
        axes.axhline(goal, color="grey", linewidth=0.8, linestyle=":")
        axes.set_xscale("log", base=2)
        axes.set_ylim(0, 1.05)
        axes.set_xlabel("ranks")
        axes.set_title(TITLES[kind], fontsize=10)
        if k == 1:
            axes.set_ylabel("projected efficiency, weak scaling")
            axes.legend(fontsize=7, loc="lower left")
    figure.suptitle(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _curve(axes: Any, points: Sequence[dict[str, Any]], key: str, label: str, alpha: float, **style: Any) -> None:
    ranks, values = [p["ranks"] for p in points], [p[key]["efficiency"] for p in points]
    axes.plot(ranks, values, label=label, alpha=alpha, markersize=3.5, linewidth=1.3, **style)
