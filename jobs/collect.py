"""The outcome of a scaling study: ``python jobs/collect.py runs/scaling`` prints a table and writes scaling.csv.

A step's seconds are those of a full batch, by the median of all epochs behind the first (which meets cold caches).
Efficiency is relative to the smallest size that ended: samples a second and rank, divided by its.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from paralift.training.plan_table import print_table
from paralift.training.result import Reason

Row = dict[str, Any]
DONE = (str(Reason.EPOCHS_DONE), str(Reason.NOTHING_LEFT))
COLUMNS = (
    "mode", "ranks", "nodes", "batch_size", "shards", "stages", "micro_batches", "schedule", "epochs", "step_s", "predicted_s",
    "samples_per_s", "speed_up", "efficiency", "predicted_efficiency", "status",
)  # fmt: skip
WIDTH = 110
"""Characters that the table takes, even where a log file claims to have fewer."""
SHOWN = ("mode", "ranks", "batch", "plan", "ms a step", "predicted", "efficiency", "predicted")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table of a study and write its CSV; return 0 if all of its runs are there, else 1."""
    parser = argparse.ArgumentParser(description="Collect the runs of a scaling study into scaling.csv and a table.")
    parser.add_argument("study", help="the folder that jobs/scaling.py wrote")
    study = Path(parser.parse_args(argv).study)
    try:
        rows = collect(study)
        path = write(study, rows)
    except (ValueError, OSError) as error:
        print(f"collect: error: {error}", file=sys.stderr)
        return 2
    print_table(Console(width=max(WIDTH, Console().width)), str(path), SHOWN, [shown(row) for row in rows])
    return 0 if all(row["status"] == "ok" for row in rows) else 1


def collect(study: Path) -> list[Row]:
    """Return a row for each point of a study; what is not known is left out.

    Raises
    ------
    ValueError
        If the folder holds no study, or a file of a run cannot be read.
    """
    listed = study / "study.json"
    if not listed.is_file():
        raise ValueError(f"{listed} is missing: name the --out of jobs/scaling.py")
    rows = [{**point, **outcome(study / point["run"], point)} for point in json.loads(listed.read_text())]
    for mode in dict.fromkeys(row["mode"] for row in rows):
        compare([row for row in rows if row["mode"] == mode and row["status"] == "ok"])
    return rows


def outcome(run: Path, point: Mapping[str, Any]) -> Row:
    """Return what a run folder says of a point; its status is "ok", or what there is instead."""
    summary_path = run / "summary.json"
    if not summary_path.is_file():
        return {"status": "missing"}
    try:
        summary = json.loads(summary_path.read_text())
        epochs = [json.loads(line)["samples_per_second"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        plan = summary["plan"]
        found = {key: summary[key] for key in ("shards", "stages")} | {key: plan[key] for key in ("micro_batches", "schedule")}
        predicted, ranks = summary["predicted_seconds_per_step"], summary["ranks"]
        reason = summary["reason"]
    except (json.JSONDecodeError, KeyError) as error:
        text = f"summary.json or metrics.jsonl cannot be read ({error}): train again in another folder"
        raise ValueError(f"{run}: {text}") from error
    if not epochs:
        return {"status": "missing"}
    rate = statistics.median(epochs[1:] or epochs)
    found |= {"epochs": len(epochs), "samples_per_s": rate, "step_s": point["batch_size"] / rate, "predicted_s": predicted}
    if ranks != point["ranks"]:  # a launcher of another MPI starts runs that do not know each other
        return {**found, "status": f"{ranks} ranks"}
    return {**found, "status": "ok" if reason in DONE else "stopped"}


def compare(rows: Sequence[Row]) -> None:
    """Add speed-up and efficiency to the rows of one mode, relative to its smallest size."""
    if not rows:
        return
    base = min(rows, key=lambda row: row["ranks"])
    for row in rows:
        more = row["ranks"] / base["ranks"]
        row["speed_up"] = row["samples_per_s"] / base["samples_per_s"]
        row["efficiency"] = row["speed_up"] / more
        rate, base_rate = (r["batch_size"] / r["predicted_s"] for r in (row, base))
        row["predicted_efficiency"] = rate / base_rate / more


def write(study: Path, rows: Sequence[Row]) -> Path:
    """Write scaling.csv, one row a point; return its path. What is not known is empty."""
    path = study / "scaling.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def shown(row: Mapping[str, Any]) -> list[str]:
    """Return the cells of a row of the table."""
    start = [row["mode"], str(row["ranks"]), str(row["batch_size"])]
    if row["status"] != "ok":
        return [*start, row["status"], *[""] * 4]
    plan = f"{row['shards']} x {row['stages']}, {row['schedule']}"
    times = [f"{1e3 * row[key]:.3g}" for key in ("step_s", "predicted_s")]
    return [*start, plan, *times, *(f"{row[key]:.2f}" for key in ("efficiency", "predicted_efficiency"))]


if __name__ == "__main__":
    sys.exit(main())
