"""Programs that are asked for blocks of steps in turn, A B C A B C, so that the machine's drift meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any

from paralift.bench.peer_process import PeerError, PeerProcess

BLOCKS = 3
"""Blocks of a round."""
PAUSE = 0.05
"""Seconds between two programs' turns, so that threads of the last one have gone to sleep."""
STATISTIC = "median over rounds of the fastest block of a round, seconds a step"

Record = dict[str, Any]


def take_turns(entries: Sequence[tuple[Record, Callable[[], PeerProcess]]], rounds: int) -> None:
    """Start all programs, measure them in turn, and complete their records.

    Parameters
    ----------
    entries : sequence of (record, start)
        A record gets its status, "measured" or "failed: " and why, and where it was measured the program's facts, the
        seconds a step of every block in `rounds`, and their statistics.
    rounds : int
        Turns of every program.
    """
    with ExitStack() as stack:
        running = []
        for record, start in entries:
            record.update(status="measured", rounds=[])
            process = stack.enter_context(start())
            if _answered(record, "facts", process.ready):
                running.append((record, process))
        for _ in range(rounds):
            for record, process in running:
                if record["status"] == "measured":
                    time.sleep(PAUSE)
                    _answered(record, "rounds", lambda process=process: process.blocks(BLOCKS))
    for record, _ in entries:
        if record["status"] == "measured":
            judge(record)


def _answered(record: Record, key: str, ask: Any) -> bool:
    """Store an answer; where the program failed, say so in the record instead."""
    try:
        answer = ask()
    except PeerError as error:
        record["status"] = f"failed: {error}"
        return False
    if key == "rounds":
        record["rounds"].append(answer)
    else:
        record[key] = answer
    return True


def judge(record: Record) -> None:
    """Add the statistics: the median over rounds of the fastest block, the fastest of all, and the relative spread."""
    fastest = [min(blocks) for blocks in record["rounds"]]
    record["step_s"] = median(fastest)
    record["min_step_s"] = min(fastest)
    record["spread"] = (max(fastest) - min(fastest)) / record["step_s"]
