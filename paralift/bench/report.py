"""What all benchmarks share: arguments, the JSON record, the table."""

from __future__ import annotations

import argparse
import json
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
    text = json.dumps({"format": FORMAT, "benchmark": name, "quick": args.quick, **record}, indent=1, allow_nan=False)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
        print(f"written: {path}")


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> None:
    """Print a table; the first column is a name, the others are numbers."""
    console = Console(width=width if sys.stdout.isatty() else max(width or 0, 140))
    table = Table(title=title, title_justify="left")
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
