"""What may be written on the command line, with an example at the end of each help."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import paralift

STYLE: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}


BENCHMARKS = {
    "kernels": "fused kernels against a copy",
    "peers": "training steps against PyTorch and JAX",
    "race": "seconds until a test accuracy, beside PyTorch and JAX",
    "exchange": "messages between ranks against raw MPI, and their overlap",
    "scaling": "strong and weak scaling over ranks, beside the prediction",
    "plan": "predicted steps and memory beside measured ones",
    "optim": "algorithms for f + r on ranks of different speed, on a problem with a known answer",
    "project": "weak scaling projected to 1,024 ranks, model beside simulation",
    "checkpoint": "checkpoints against plain writing, their share of a run",
    "learning": "accuracy and exactness of gradients",
}
"""What `paralift bench` measures; each is a module of its own in `paralift.bench`."""


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the arguments, with the name of the command in ``command``, and those that a benchmark reads itself.

    Raises
    ------
    SystemExit
        After printing a help, or an error with code 2.
    """
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest and args.command != "bench":
        parser.error(f"unknown arguments: {' '.join(rest)}; see paralift {args.command} --help")
    return args, rest


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="paralift", description="Train neural networks by lifted Bregman methods.",
        epilog=_epilog("train examples/digits.toml"), **STYLE,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"paralift {paralift.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, example: str, **options: Any) -> argparse.ArgumentParser:
        description = text[0].upper() + text[1:] + "."
        new = commands.add_parser(
            name, help=text, description=description, epilog=_epilog(example), **STYLE, **options
        )
        new.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return new

    options = _train_options()
    add(
        "train", "train a network", "train examples/digits.toml --epochs 5 --out runs/mine", parents=[options]
    )
    text = "train on several ranks of this machine"
    new = add("run", text, "run -n 2 examples/digits.toml", parents=[options])
    new.add_argument("-n", type=int, metavar="N", help="number of ranks; without it ranks and threads are chosen")
    new.set_defaults(alone=False)
    new = add("compare", "train a network by several methods, and draw their accuracy",
              "compare examples/digits.toml --methods 'nudged,backprop,lpom(tau=None)@full'")  # fmt: skip
    new.add_argument("config", nargs="?", metavar="CONFIG.toml", help="without it: the digits")
    new.add_argument(
        "--methods", required=True, metavar="A,B,...", help="names or calls; @full or @512 behind one: its batch size"
    )
    new.add_argument("--out", metavar="FOLDER", help="of the runs; without it: runs/compare-NAME-DATE-TIME")
    new.add_argument("--epochs", type=int, metavar="N", help="instead of the configuration's")
    new.add_argument("--seed", type=int, metavar="N", help="instead of the configuration's")
    new.add_argument("--threads", type=int, metavar="N", help="BLAS threads of a rank")
    new.add_argument("--quiet", action="store_true", help="no progress bar, no table")
    new = add("find-rate", "try rates of the update rule, from small to large", "find-rate examples/digits.toml")
    new.add_argument("config", nargs="?", metavar="CONFIG.toml", help="without it: the digits")
    new.add_argument("--low", type=float, default=1e-6, metavar="R", help="the first rate, %(default)g")
    new.add_argument("--high", type=float, default=1.0, metavar="R", help="the last rate, %(default)g")
    new.add_argument("--steps", type=int, default=200, metavar="N", help="batches from the first to the last, %(default)s")
    new.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    new = add("evaluate", "score the newest checkpoint of a run", "evaluate runs/mine --json")
    new.add_argument("run", metavar="RUN", help="run folder")
    new.add_argument(
        "--data", metavar="EXPR", help="another data set, as in a configuration: 'digits(seed=1)'"
    )
    new.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    new = add("plot", "draw the curves of a run", "plot runs/mine")
    new.add_argument("run", metavar="RUN", help="run folder")
    new = add("plan", "print who would own what; nothing is trained", "plan examples/digits.toml --ranks 4")
    new.add_argument("config", nargs="?", metavar="CONFIG.toml", help="without it: the digits")
    new.add_argument("--ranks", type=int, required=True, metavar="N", help="number of ranks")
    new.add_argument("--memory", metavar="SIZE", help="what a rank may take, such as 16GiB")
    new.add_argument("--latency", type=float, metavar="S", help="seconds of a message, instead of 5e-6")
    new.add_argument("--bandwidth", type=float, metavar="B", help="bytes a second of a message, instead of 5e9")
    new.add_argument("--counted", action="store_true", help="count operations instead of measuring blocks here")
    new.add_argument("--measured-step", action="store_true", help="take real steps on one rank, too")
    new = add("bench", "measure speed and learning", "bench kernels --help")
    kinds = new.add_subparsers(dest="what", required=True, metavar="|".join(BENCHMARKS))
    for name, text in BENCHMARKS.items():
        kinds.add_parser(name, add_help=False, help=text)
    new = add("doctor", "examine this machine and installation", "doctor --out runs")
    new.add_argument("--out", metavar="FOLDER", default=".", help="try its file system, instead of the current folder's")
    new.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    return parser


def _train_options() -> argparse.ArgumentParser:
    """Return the arguments that ``train`` and ``run`` share."""
    parser = argparse.ArgumentParser(add_help=False, **STYLE)
    parser.add_argument("config", nargs="?", metavar="CONFIG.toml", help="without it: the digits")
    parser.add_argument("--out", metavar="RUN", help="run folder; without it: runs/NAME-DATE-TIME")
    parser.add_argument(
        "--resume", metavar="auto|FILE", help="go on from the newest checkpoint in --out, or a file"
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="instead of the configuration's")
    parser.add_argument("--seed", type=int, metavar="N", help="instead of the configuration's")
    parser.add_argument("--threads", type=int, metavar="N", help="BLAS threads of a rank")
    parser.add_argument("--ft", action="store_true", help="when ranks die, the others go on (Open MPI with ULFM)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no table")
    return parser


def _epilog(example: str) -> str:
    return f"example:\n  paralift {example}"
