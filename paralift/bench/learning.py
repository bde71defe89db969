"""``paralift bench learning``: what the method learns, and how exact its gradients are; none of it depends on speed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from paralift.bench import (
    accuracy,
    autoencoders,
    cosines,
    denoiser,
    isgm,
    lateness,
    literature,
    machine,
    quantised,
    report,
    studies,
)
from paralift.bench.clean import start_clean

STUDIES: Mapping[str, tuple[str, Callable[[bool], dict[str, Any]]]] = {
    **{name: (text, partial(accuracy.run, name)) for name, (text, _) in studies.STUDIES.items()},
    "gradients": ("cosines to autograd in random networks", cosines.gradients),
    "gradients-large": ("the same with a large batch", lambda q: cosines.gradients(q, cosines.LARGE_BATCH)),
    "forecasts": ("unflushed against flushed steps, for each update rule on one rank", lateness.forecasts),
    "stages": ("the flushed and the unflushed schedule on 1, 2, 4 and 8 ranks", lateness.stages),
    "autoencoders": ("sparse and denoising autoencoders on few images (in the folder PARALIFT_DATA)", autoencoders.run),
    "denoiser": ("unrolled denoisers on whole pictures (in the folder PARALIFT_DATA)", denoiser.run),
    "quantised": ("activations of 1 to 8 bits without surrogate gradients, beside a straight-through estimator", quantised.run),
    "literature": ("the literature's methods on MNIST, 784-300-10 (in the folder PARALIFT_DATA)", literature.shallow),
    "literature-deep": ("the same on 784-256x4-10", literature.deep),
    "literature-bcd": ("block coordinate descent's published 784-1500x3-10, repeated and passed", literature.bcd),
    "literature-bcd-deep": ("the same for its ten hidden layers of 600", literature.bcd_deep),
    "isgm": ("what helps lifted Bregman training with implicit stochastic gradients, beside the sweep", isgm.run),
    "depth": ("cosines to backpropagation in deep residual networks", cosines.depth),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one study; return the exit code: 2 if data or a package that it needs is missing."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = report.parse(_parser(), argv)
    if isinstance(args, int):
        return args
    code = start_clean("paralift.bench.learning", argv)
    return _run(args, argv) if code is None else code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="paralift bench learning", description="What the method learns.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="study", required=True, metavar="STUDY")
    for name, (text, _) in STUDIES.items():
        report.add_output(commands.add_parser(name, help=text, description=text, allow_abbrev=False))
    return parser


def _run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    record: dict[str, Any] = {"machine": machine.describe(["paralift", "bench", "learning", *argv])}
    try:
        record |= STUDIES[args.study][1](args.quick)
    except (OSError, ImportError) as error:
        print(f"paralift bench learning: {error}", file=sys.stderr)
        return 2
    report.write(args, f"learning-{args.study}", record)
    if args.study == "quantised" and args.out is not None:
        quantised.draw(record, Path(args.out) / "learning-quantised.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
