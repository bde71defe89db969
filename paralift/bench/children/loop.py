"""The conversation of a measured program with the benchmark that started it, in lines of JSON.

After it has warmed up, the program prints ``{"ready": facts}``. Each line that it then reads is a number of blocks to time;
it answers ``{"step_seconds": [...]}``, one number a block. An empty line or the end of the input ends it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

WARM_UP = 20
"""Steps before anything is timed: they compile and allocate."""
N_BATCHES = 32
"""Batches that every program goes through in turn."""
RATE = 1e-6
"""Adam's rate: so small that nothing is learnt and numbers stay as they are in the middle of a training. A few batches learnt
by heart have vanishing gradients, and denormal numbers would be timed instead of a step."""
TRIES = 3
"""Measurements of the length of a step, and blocks of a trial."""
RESUME = 0.1
"""Part of a block that is run untimed after a pause, to fill caches again."""

Way = TypeVar("Way", bound=Hashable)


def arguments() -> argparse.ArgumentParser:
    """Return a parser of what every program takes: the network by its widths or its name, its batch, the length of a block."""
    parser = argparse.ArgumentParser()
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--widths", type=lambda text: tuple(map(int, text.split("-"))), help="of a perceptron, 40-256-10")
    what.add_argument("--network", help="the name of another network")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--parameters", type=int, required=True, help="that the network must have, in every library")
    parser.add_argument("--block", type=float, required=True)
    return parser


def check_parameters(found: int, args: argparse.Namespace) -> None:
    """Raise ValueError unless the network has as many parameters as in the other libraries."""
    if found != args.parameters:
        raise ValueError(f"{args.network or args.widths}: {found} parameters, expected {args.parameters}: not the same network")


def serve(timed: Callable[[int], float], block_seconds: float, facts: dict[str, Any]) -> None:
    """Answer until the input ends.

    Parameters
    ----------
    timed : callable
        Takes a number of steps, runs them, returns their seconds.
    block_seconds : float
        About how long a block takes, in s.
    facts : dict
        What the benchmark may want to record.
    """
    timed(WARM_UP)
    steps = block_steps(timed, block_seconds)
    say({"ready": {**facts, "steps": steps}})
    for line in sys.stdin:
        if not line.strip():
            break
        timed(max(1, int(RESUME * steps)))
        say({"step_seconds": [timed(steps) / steps for _ in range(int(line))]})


def block_steps(timed: Callable[[int], float], block_seconds: float) -> int:
    """Return how many steps fill a block; of a few tries the fastest counts, because a disturbance makes blocks short."""
    steps, seconds = 1, min(timed(1) for _ in range(TRIES))
    while seconds < 0.25 * block_seconds:
        steps *= 2
        seconds = min(timed(steps) for _ in range(TRIES))
    return max(1, round(block_seconds * steps / seconds))


def trial(ways: Mapping[Way, Callable[[int], float]], block_seconds: float) -> dict[Way, float]:
    """Return the seconds a step of each way to take steps: the fastest of a few short blocks, in turn."""
    steps = {}
    for way, timed in ways.items():
        timed(WARM_UP)
        steps[way] = block_steps(timed, 0.5 * block_seconds)
    times = [{way: timed(steps[way]) / steps[way] for way, timed in ways.items()} for _ in range(TRIES)]
    return {way: min(found[way] for found in times) for way in ways}


def say(answer: dict[str, Any]) -> None:
    """Print one line of JSON."""
    print(json.dumps(answer), flush=True)
