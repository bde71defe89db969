"""What a run was told that it would cost, and what it did cost: seconds a step and memory of each rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console

from paralift.parallel.grid import Grid
from paralift.parallel.traffic import Traffic
from paralift.training.metrics import release_memory, resident_memory
from paralift.training.plan_table import Measured, print_outcome, print_plan
from paralift.training.planning import Decision

SMALL = 1 << 24
"""Predicted bytes of a rank below which what is free is not given back before memory is looked at: that takes longer than small
trainings do, a third of a second in a process with many modules, and so little is lost among everything else."""


class Tally:
    """What training adds to the memory of one rank, from before its buffers are made to the end of the first epoch.

    Parameters
    ----------
    decision : Decision
    shown : bool
        Whether tables are printed, on rank 0.
    """

    def __init__(self, decision: Decision, shown: bool) -> None:
        self.decision, self.shown = decision, shown
        self.exact = max(decision.predicted.memory) >= SMALL
        self._release()
        self.before, self.after = resident_memory(), 0

    def _release(self) -> None:
        if self.exact:
            release_memory()

    def show_plan(self, grid: Grid) -> None:
        """Print the plan on rank 0."""
        if self.shown and grid.rank == 0:
            decision = self.decision
            question = decision.question
            print_plan(Console(stderr=True), question.network, decision.plan, decision.predicted, question.batch_size)

    def look(self) -> None:
        """Look at the memory, once: all buffers have been written, and what is free is given back."""
        if not self.after:
            self._release()
            self.after = resident_memory()

    def summary(self, grid: Grid, samples: int, seconds: float, each: Traffic) -> dict[str, Any]:
        """Return predicted and measured figures for the summary; print them on rank 0; collective.

        Parameters
        ----------
        samples : int
            Bytes of the samples that were read.
        seconds : float
            A step on this rank.
        each : Traffic
            Of a step.
        """
        own = np.zeros((grid.size, 4))
        memory, alone = max(0, self.after - self.before - samples), each.alone(self.decision.costs.message)
        own[grid.rank] = seconds, each.waited + each.summed, memory, hidden(each.waited, alone)
        measured = {r: Measured(row[0], row[1], int(row[2]), row[3]) for r, row in enumerate(grid.sum(own))}
        plan, predicted = self.decision.plan, self.decision.predicted
        if self.shown and grid.rank == 0 and seconds > 0:
            print_outcome(Console(stderr=True), plan, predicted, measured)
        return figures(self.decision, measured)


def hidden(waited: float, alone: float) -> float:
    """Return the share of the messages' own time that was not waited for; 1 where there are no messages.

    Waiting for a slower neighbour counts as not hidden: the figure is a lower bound.
    """
    return 1.0 if alone <= 0.0 else max(0.0, 1.0 - waited / alone)


def figures(decision: Decision, measured: Mapping[int, Measured]) -> dict[str, Any]:
    """Return the entries of the summary."""
    predicted, stages = decision.predicted, decision.plan.stages
    found: dict[str, Any] = {
        "costs": decision.source,
        "predicted_seconds_per_step": predicted.seconds,
        "predicted_computing_seconds_per_step": [predicted.stage_seconds[r % stages] for r in measured],
        "predicted_memory_bytes": [predicted.memory[r % stages] for r in measured],
        "memory_bytes": [m.memory for m in measured.values()],
    }
    found["waited_seconds_per_step"] = [m.waited for m in measured.values()]
    found["hidden_share"] = [m.hidden for m in measured.values()]
    return found
