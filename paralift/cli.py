"""What the commands do: ``paralift train | run | compare | find-rate | evaluate | plot | plan | bench | doctor``.

Exit codes: 0 done, 1 the run itself failed (the loss diverged, something needed is broken), 2 a mistake in what was given, 75
stopped by a signal after a checkpoint, 76 ended by the stall watch, 130 interrupted. Under an MPI launcher every rank
comes through here; rank 0 alone speaks, and ends the job if it must.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from paralift.arguments import parse
from paralift.config import Config, read_data, read_loss, read_network
from paralift.exits import INTERRUPTED, STOPPED, leave_word
from paralift.launch import LaunchError, line, mpi_environment, mpirun_command, run
from paralift.parallel.activity import ACTIVITY
from paralift.parallel.ending import finalize_at_exit
from paralift.parallel.grid import AgreedError, Grid
from paralift.parallel.stall import StallWatch
from paralift.parallel.survival import leave_without_finalize
from paralift.parallel.world import find_world
from paralift.training.logbook import Logbook
from paralift.training.plan_table import number, print_table, span
from paralift.training.signals import Signals

T = TypeVar("T")

MISTAKES = (ValueError, TypeError, OSError, ImportError, LaunchError)
"""What a wrong argument, configuration, file or installation raises."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        rank = _rank()
    except RuntimeError as error:  # a launcher without mpi4py; the doctor must still be able to say so
        if argv[:1] != ["doctor"]:
            return _complain(str(error))
        rank = 0
    try:
        with _silent(rank > 0):
            args, rest = parse(argv)
    except SystemExit as stop:  # --help, or arguments that rank 0 has complained about
        return int(stop.code or 0) if rank == 0 else 0
    try:
        return ACTIONS[args.command](args, rest)
    except (AgreedError, KeyboardInterrupt, *MISTAKES) as error:
        if args.debug:
            raise
        return _failed(error, rank)


def _failed(error: BaseException, rank: int) -> int:
    """Say in one line what went wrong; return the exit code.

    Where all ranks raise together, the others return 0 and wait in MPI_Finalize until rank 0 has spoken.
    """
    if isinstance(error, KeyboardInterrupt):
        return _complain("interrupted", INTERRUPTED) if rank == 0 else INTERRUPTED
    if not isinstance(error, AgreedError):
        return _complain(f"rank {rank}: {error}" if rank else str(error))
    if rank:
        return 0
    cause = error.__cause__
    text = str(error if cause is None else cause)
    return _complain(text, 1 if isinstance(error, FloatingPointError) else 2)


def _warn(text: str) -> None:
    print(f"paralift: warning: {text}", file=sys.stderr, flush=True)


def _complain(text: str, code: int = 2) -> int:
    print(f"paralift: error: {text}", file=sys.stderr, flush=True)
    return code


def train(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Train what a configuration describes; print a table at the end. Signals are wishes from here on (`Signals`)."""
    with Signals():
        leave_word()
        return _train(args)


def _train(args: argparse.Namespace) -> int:
    from paralift.training.fit import fit
    from paralift.training.plots import plot_run
    from paralift.training.result import Reason

    config = _together(lambda: _config(args))
    world, patience = find_world(), config.training.patience
    with _watched(world, patience, "the start, reading the configuration and data"):
        network, data, options = _together(config.build)
        out = _together(lambda: _run_folder(args, config.name))  # rank 0's counts
    more = {"out": out, "resume": args.resume, "survive": args.ft, "progress": not args.quiet}
    result = _refused_together(lambda: fit(network, data, **options, **more))
    stopped = result.reason in (Reason.STOPPED, Reason.STOPPED_UNSAVED)
    code = STOPPED if stopped else 0

    def tell() -> None:
        if result.history:  # a run may be stopped before its first epoch is done
            plot_run(out)
        if not args.quiet:
            _print_summary(Console(), f"{out}: {result.reason}", result.summary)
        if stopped:
            print(f"paralift: {result.reason} Go on with: --out {out} --resume auto", file=sys.stderr, flush=True)

    if result.summary["ranks_lost"]:  # the world knows the dead as well
        if _rank() == 0:
            tell()
        leave_without_finalize(code)
    with _watched(world, patience, "the end, drawing curves"):
        _together(tell if _rank() == 0 else lambda: None)  # nobody leaves before rank 0 has drawn and spoken
    if world is not None:
        finalize_at_exit(patience)
    return code


def _config(args: argparse.Namespace) -> Config:
    """Return the configuration that was named, that of the run folder to be resumed, or the default one."""
    if args.resume is not None and args.out is None:
        raise ValueError("--resume goes on in a run folder: name it with --out RUN")
    stored = Path(args.out or "", "config.toml")
    if args.config is not None:
        config = Config.from_file(args.config)
    elif args.resume is not None and stored.is_file():
        config = Config.from_file(stored)
    else:
        config = Config.default()
    return config.changed(epochs=args.epochs, seed=args.seed).shared(threads=args.threads)


def _refused_together(run: Callable[[], T]) -> T:
    """Run on all ranks; an argument that is refused there is refused by all of them together."""
    try:
        return run()
    except (ValueError, TypeError, ImportError) as error:
        if find_world() is None:
            raise
        raise AgreedError(str(error)) from error


def _run_folder(args: argparse.Namespace, name: str) -> Path:
    """Return the run folder that was named, or one that does not exist yet."""
    if args.out is not None:
        if args.resume is None and any(Path(args.out, "checkpoints").glob("step-*")):
            way_out = "go on with it by --resume auto, or name another --out"
            raise ValueError(f"{args.out} holds a run already: {way_out}")
        return Path(args.out)
    return _new_folder(name)


def _new_folder(name: str) -> Path:
    """Return a run folder that does not exist yet."""
    first = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, n = first, 1
    while path.exists():
        n += 1
        path = first.with_name(f"{first.name}-{n}")
    return path


def _print_summary(console: Console, title: str, summary: Mapping[str, Any]) -> None:
    rows = [
        (key.replace("_", " "), f"{summary[key]:.4f}")
        for key in ("test_accuracy", "test_error", "test_loss", "train_accuracy", "train_error", "train_loss")
        if key in summary
    ]
    bounds, micro_batches = summary["plan"]["bounds"], summary["plan"]["micro_batches"]
    blocks = " | ".join(span(a + 1, b) for a, b in zip(bounds, bounds[1:], strict=False))
    plan = f"{number(summary['shards'], 'shard')} x {number(summary['stages'], 'stage')}, blocks {blocks}"
    rows += [
        ("seconds", f"{summary['seconds']:.2f}"),
        ("samples a second", f"{summary['samples_per_second']:,.0f}"),
        ("ranks", str(summary["ranks"])),
        ("plan", f"{plan}, {number(micro_batches, 'micro-batch', 'micro-batches')}"),
        ("memory a rank", f"{max(summary['peak_memory_bytes']) / 2**20:.0f} MiB at most"),
    ]
    print_table(console, title, ("", ""), rows)


def compare(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Train one task by several methods; print a table, write the numbers and draw their accuracy."""
    from paralift.training import compare as comparing
    from paralift.training.compare_plots import plot_compare

    config = _together(lambda: Config.default() if args.config is None else Config.from_file(args.config))
    config = _together(lambda: config.changed(epochs=args.epochs, seed=args.seed).shared(threads=args.threads))
    contestants = _together(lambda: comparing.read_contestants(args.methods, config))
    network, data, _ = _together(config.build)
    out = Path(args.out) if args.out is not None else _new_folder(f"compare-{config.name}")
    _together(lambda: _expect_unused(out))

    def say(text: str) -> None:
        if _rank() == 0 and not args.quiet:
            print(f"paralift: {text}", file=sys.stderr, flush=True)

    records = _refused_together(lambda: comparing.compare(contestants, network, data, out, not args.quiet, say))

    def tell() -> None:
        written = comparing.write(records, out)
        written += plot_compare(records, comparing.score_of(records), out)
        if not args.quiet:
            title = f"{out}: {comparing.score_of(records).replace('_', ' ')}"
            print_table(Console(), title, comparing.COLUMNS, comparing.rows(records))
            print("\n".join(f"written: {path}" for path in written))

    _together(tell if _rank() == 0 else lambda: None)
    return 0 if any(record["curve"] for record in records) else 1


def _expect_unused(out: Path) -> None:
    if any(out.glob("*/checkpoints/step-*")):
        raise ValueError(f"{out} holds runs already: name another --out")


def find_rate(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Try rates of a configuration's update rule; print the losses and a suggestion."""
    from paralift.training.rates import find_rate as find

    config = _together(lambda: Config.default() if args.config is None else Config.from_file(args.config))
    network, data, options = _together(config.build)
    found = _refused_together(
        lambda: find(network, data, low=args.low, high=args.high, steps=args.steps, progress=False, **options)
    )
    if _rank() > 0:
        return 0
    if args.json:
        print(json.dumps(vars(found)))
        return 0
    shown = sorted({round(k * (len(found.rates) - 1) / 15) for k in range(16)})
    rows = [(f"{found.rates[k]:.3g}", f"{found.losses[k]:.4f}", f"{found.smoothed[k]:.4f}") for k in shown]
    print_table(Console(), f"{config.name}: losses as the rate grows", ("rate", "loss", "smoothed"), rows)
    print(f"The loss falls fastest at a rate of {found.suggestion:.2g}.")
    return 0


def evaluate(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Evaluate the newest checkpoint of a run on test samples."""
    if _rank() > 0:
        return 0
    from paralift.training import checkpoints, result

    path = checkpoints.newest_good(checkpoints.all_of(args.run), _warn) or checkpoints.latest(args.run)
    params, attributes = checkpoints.load_params(path)
    network = read_network(str(path), "network", str(attributes["network"]))
    loss = read_loss(str(path), "loss", str(attributes["loss"]))
    found = result.evaluate(network, params, loss, _run_data(args))
    record: dict[str, Any] = {"checkpoint": str(path), "epoch": int(attributes["epoch"])}
    record |= {f"test_{key}": value for key, value in found.items()}
    if args.json:
        print(json.dumps(record))
    else:
        shown = [
            (k.replace("_", " "), f"{v:.4f}" if isinstance(v, float) else str(v)) for k, v in record.items()
        ]
        print_table(Console(), args.run, ("", ""), shown)
    return 0


def _run_data(args: argparse.Namespace) -> Any:
    """Return the data set named on the command line, or that of the run's configuration."""
    if args.data is not None:
        return read_data("--data", "data", args.data).build()
    stored = Path(args.run) / "config.toml"
    try:
        return Config.from_file(stored).data.build()
    except ValueError as error:
        raise ValueError(f"{error}; name the data set: --data 'digits'") from error


def plot(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Draw a run's curves."""
    from paralift.training.plots import plot_run

    if _rank() == 0:
        for path in plot_run(args.run):
            print(path)
    return 0


def plan(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Print who would own what, what a step should cost, and why; nothing is trained."""
    from paralift import advice
    from paralift.parallel.budget import read_bytes
    from paralift.parallel.cost import MESSAGE, Line

    if _rank() > 0:
        return 0
    if args.ranks < 1:
        raise ValueError(f"--ranks is {args.ranks}, expected at least 1")
    for name in ("latency", "bandwidth"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise ValueError(f"--{name} is {value}, expected a positive number")
    config = Config.default() if args.config is None else Config.from_file(args.config)
    link = None
    memory = None if args.memory is None else read_bytes(args.memory)
    if args.latency is not None or args.bandwidth is not None:
        link = Line(args.latency or MESSAGE.start, 1 / args.bandwidth if args.bandwidth else MESSAGE.each)
    counted = args.counted or config.parallel.plan == "counted"
    advice.print_advice(Console(), config, args.ranks, memory, counted, link, args.measured_step)
    return 0


def launch(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Start ``train`` on several ranks of this machine, unless it is plain beforehand that it must fail."""
    config = _config(args)
    _run_folder(args, config.name)
    if args.n is None:
        args.n, args.threads = _team(args, config)
    start = [sys.executable] if args.alone else mpirun_command(args.n, args.ft)
    command, environment = [*start, "-m", "paralift", "train", *_train_arguments(args)], mpi_environment(os.environ)
    if not (args.quiet or args.alone):
        print(f"paralift: {line(command, environment, os.environ)}", file=sys.stderr, flush=True)
    return run(command, environment, args.n)


def _team(args: argparse.Namespace, config: Config) -> tuple[int, int]:
    """Return the ranks and BLAS threads that should be fastest on this machine; one rank needs no launcher."""
    from paralift import advice

    found = advice.teams(config, advice.cores())
    if not args.quiet:
        advice.print_teams(Console(), found)
    args.alone = found[0].ranks == 1
    return found[0].ranks, found[0].threads


def _train_arguments(args: argparse.Namespace) -> list[str]:
    """Return the arguments of ``train`` that were given to ``run``."""
    given = [] if args.config is None else [args.config]
    for name in ("out", "resume", "epochs", "seed", "threads"):
        value = getattr(args, name)
        given += [] if value is None else [f"--{name}={value}"]
    return given + [f"--{name}" for name in ("ft", "quiet", "debug") if getattr(args, name)]


def bench(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Hand over to a benchmark with its own arguments."""
    import importlib

    return int(importlib.import_module(f"paralift.bench.{args.what}").main(list(rest)) or 0)


def doctor(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Examine the machine and the installation."""
    from paralift import doctor as examination

    with contextlib.suppress(RuntimeError):
        if _rank() > 0:
            return 0
    return examination.main(folder=args.out, as_json=args.json)


ACTIONS: Mapping[str, Callable[[argparse.Namespace, Sequence[str]], int]] = {
    "train": train,
    "run": launch,
    "compare": compare,
    "find-rate": find_rate,
    "evaluate": evaluate,
    "plot": plot,
    "plan": plan,
    "bench": bench,
    "doctor": doctor,
}


def _together(function: Callable[[], T]) -> T:
    """Call a function on every rank; if it fails on one, all of them raise. Collective."""
    world = find_world()
    with Grid(world, 1 if world is None else world.Get_size(), 1) as grid:
        value, error = None, None
        try:
            value = function()
        except MISTAKES as found:
            error = found
        grid.agree(error)
        return value  # type: ignore[return-value]


@contextlib.contextmanager
def _watched(world: Any, patience: float, phase: str) -> Iterator[None]:
    """Enter a phase outside of `fit` in which a rank that waits too long is named, and ends the job."""
    with Logbook(_rank()), StallWatch(world, patience):
        ACTIVITY.enter(phase)
        yield


def _rank() -> int:
    world = find_world()
    return 0 if world is None else world.Get_rank()


@contextlib.contextmanager
def _silent(yes: bool) -> Any:
    """Drop what is printed while the block runs."""
    with open(os.devnull, "w") as nowhere, contextlib.ExitStack() as stack:
        if yes:
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield
