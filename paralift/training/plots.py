"""Curves of a run, drawn from its metrics.jsonl. Figures are made without pyplot, so nothing global is changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

Record = Mapping[str, Any]

TRAIN, TEST = "#0072b2", "#d55e00"
"""Blue and vermilion of Okabe & Ito's palette: told apart with any colour vision."""
MARKED = 50
"""Epochs up to which every one of them is marked."""
CURVES: Mapping[str, tuple[str, Mapping[str, tuple[str, str]]]] = {
    "loss": (
        "mean loss of a sample",
        {"loss": ("training, while it learned", TRAIN), "test_loss": ("test", TEST)},
    ),
    "accuracy": ("accuracy", {"train_accuracy": ("training", TRAIN), "test_accuracy": ("test", TEST)}),
    "error": ("root mean squared error", {"train_error": ("training", TRAIN), "test_error": ("test", TEST)}),
    "throughput": ("training samples a second", {"samples_per_second": ("", TRAIN)}),
}
"""For each file: the label of its axis, and its keys in a record with their names and colours."""


def plot_run(run: str | Path) -> list[Path]:
    """Draw what a run folder's metrics.jsonl holds into its plots folder; return the files written.

    Parameters
    ----------
    run : path
        The run folder. Written are plots/loss.png, plots/accuracy.png or plots/error.png, plots/throughput.png.

    Raises
    ------
    FileNotFoundError
        If there is no metrics.jsonl.
    ValueError
        If no epoch has been recorded, or a line is no record.
    """
    records = read_metrics(run)
    folder = Path(run) / "plots"
    folder.mkdir(exist_ok=True)
    written = []
    for name, (label, curves) in CURVES.items():
        present = {key: how for key, how in curves.items() if any(key in record for record in records)}
        if present:
            path = folder / f"{name}.png"
            draw(records, label, present).savefig(path, dpi=150)
            written.append(path)
    return written


def read_metrics(run: str | Path) -> list[dict[str, Any]]:
    """Return the records of a run, one an epoch in order; a half-written last line is left out."""
    path = Path(run) / "metrics.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: {run} is no run folder, or its run has not begun")
    lines = path.read_text(encoding="utf-8").splitlines()
    records: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            records[int(record["epoch"])] = record
        except (ValueError, TypeError, KeyError) as error:
            if number == len(lines) and isinstance(error, json.JSONDecodeError):
                break
            raise ValueError(
                f"{path}, line {number}: {line[:80]!r} is no record of an epoch; remove the line"
            ) from None
    if not records:
        raise ValueError(f"{path}: no epoch has been recorded yet")
    return [records[epoch] for epoch in sorted(records)]


def draw(records: Sequence[Record], label: str, curves: Mapping[str, tuple[str, str]]) -> Figure:
    """Return a figure of the curves of `records` over the epochs, the vertical axis from 0 where it counts samples."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for key, (name, colour) in curves.items():
        points = [(r["epoch"], r[key]) for r in records if key in r]
        epochs, values = zip(*points, strict=True)
        marker = "o" if len(points) <= MARKED else None
        axes.plot(epochs, values, color=colour, label=name, marker=marker, markersize=3, linewidth=1.5)
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if "samples_per_second" in curves:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if any(name for name, _ in curves.values()):
        axes.legend(frameon=False)
    return figure
