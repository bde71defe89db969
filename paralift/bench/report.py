"""What all benchmarks share: arguments, the JSON record, the table."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FORMAT = 1


def arguments(program: str, text: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments that every benchmark takes."""
    parser = argparse.ArgumentParser(prog=program, description=text, allow_abbrev=False)
    add_output(parser)
    return parser


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add --json, --out and --quick."""
    parser.add_argument("--json", metavar="FILE", help="write all raw times here")
    parser.add_argument("--out", metavar="FOLDER", help="write them into this folder, under the benchmark's name")
    parser.add_argument("--quick", action="store_true", help="small and short, to see that it works: no figures")


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace | int:
    """Return the arguments, or the exit code if they are wrong or help was asked for."""
    try:
        return parser.parse_args(list(argv))
    except SystemExit as stop:
        return int(stop.code or 0)


def write(args: argparse.Namespace, name: str, record: dict[str, Any]) -> None:
    """Write a record to the files that the arguments name; print where."""
    paths = [] if args.json is None else [Path(args.json)]
    if args.out is not None:
        paths.append(Path(args.out) / f"{name}.json")
    whole = {"format": FORMAT, "benchmark": name, "quick": args.quick, **record}
    text = json.dumps(_finite(whole), indent=1, allow_nan=False)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
        print(f"written: {path}")


def _finite(value: Any) -> Any:
    """Return `value` with null for the numbers that JSON does not know: NaN and infinities."""
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> None:
    """Print a table; the first column is a name, the others are numbers."""
    console = Console(width=width if sys.stdout.isatty() else max(width or 0, 140))
    table = Table(title=title, title_justify="left")
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
