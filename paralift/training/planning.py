"""The plan of a run: given, stored in the checkpoint that the run goes on from, or chosen by counted or measured costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paralift.kernels.arrays import family
from paralift.lifted.inference.proxgrad import ProximalGradient
from paralift.lifted.methods import Method
from paralift.lifted.network import Network
from paralift.parallel.choosing import Option, Question, best
from paralift.parallel.collect import share
from paralift.parallel.cost import Costs, count
from paralift.parallel.grid import Grid
from paralift.parallel.measure import Trial, measure
from paralift.parallel.plan import Plan
from paralift.parallel.predict import Prediction
from paralift.training import checkpoints
from paralift.training.arguments import allowed_stages

SOURCES = ("measured", "counted")
"""Where the costs of a plan come from."""


@dataclass(frozen=True)
class Decision:
    """A plan, what it should cost, and by which costs.

    Attributes
    ----------
    question : Question
    plan : Plan
    predicted : Prediction
    costs : Costs
    source : {"measured", "counted"}
    """

    question: Question
    plan: Plan
    predicted: Prediction
    costs: Costs
    source: str


def question_of(
    network: Network, ranks: int, batch_size: int, method: Method, rule: Any, itemsize: int, **fixed: Any
) -> Question:
    """Return what a plan is wanted for, by the parts of a run; `fixed` are those of `Question`."""
    inference = method.inference
    iterations = inference.iterations if isinstance(inference, ProximalGradient) else 0
    fixed["stages"] = allowed_stages(method, fixed.get("stages"), None)
    return Question(
        network, ranks, batch_size, itemsize=itemsize, states=len(rule.state_names), iterations=iterations, **fixed
    )


def decide(
    wanted: Plan | str | None, question: Question, trial: Trial, comm: Any, stored: Plan | None = None
) -> Decision:
    """Return the plan of a run, the same on every rank; collective.

    Parameters
    ----------
    wanted : Plan, "measured", "counted" or None
        None is "measured". A given plan is taken as it is, with counted costs.
    question : Question
    trial : Trial
        What is measured.
    comm : mpi4py.MPI.Comm or None
    stored : Plan, optional
        Taken instead of a chosen one, where it fits the question; rank 0's counts.
    """
    if isinstance(wanted, Plan):
        costs = count(question.network, question.states)
        wanted.check(question.network, question.ranks)
        return Decision(question, wanted, question.predict(wanted, costs), costs, "counted")
    source = "measured" if wanted is None else wanted
    if source not in SOURCES:
        raise ValueError(f"plan is {wanted!r}, expected a Plan, or one of {SOURCES}")
    best(question, None)  # raises on all ranks, before anything is measured, where no plan is possible
    with Grid(comm, question.ranks, 1) as grid:
        stored = share(grid, stored)
        if family(trial.like) != "numpy":
            source = "counted"
        if source == "counted":
            costs, chosen = count(question.network, question.states), best(question, None)
        else:
            costs = measure(trial.network, trial.like, trial.rows, trial.method, trial.loss, trial.rule, grid)
            chosen = best(question, costs)
        chosen = share(grid, chosen)  # equal on all ranks already, unless their machines round differently
    if stored is not None and fits(stored, question):
        chosen = Option(stored, question.predict(stored, costs))
    return Decision(question, chosen.plan, chosen.predicted, costs, source)


def fits(plan: Plan, question: Question) -> bool:
    """Return whether a stored plan answers a question."""
    try:
        plan.check(question.network, question.ranks)
    except ValueError:
        return False
    if plan.micro_batches > max(question.batch_size, 2 * plan.stages):  # parts without samples: no plan that was chosen
        return False
    fixed = (question.stages, question.micro_batches, question.schedule)
    return all(want in (None, have) for want, have in zip(fixed, (plan.stages, plan.micro_batches, plan.schedule), strict=True))


def to_text(plan: Plan) -> str:
    """Return a plan as text, for a checkpoint."""
    return json.dumps(asdict(plan))


def from_text(text: str) -> Plan:
    """Return the plan that `to_text` wrote."""
    values: Mapping[str, Any] = json.loads(text)
    plan = Plan(**{**values, "bounds": tuple(values["bounds"])})
    if not all(type(n) is int for n in (plan.shards, plan.stages, plan.micro_batches, *plan.bounds)):
        raise ValueError(f"{plan!r}: expected whole numbers")
    return plan


def stored_plan(path: Path | None) -> Plan | None:
    """Return the plan in a checkpoint, or None where there is none; what is wrong with the file is said when it is opened."""
    if path is None:
        return None
    try:
        text = checkpoints.attributes_of(path).get("plan")
        return None if text is None else from_text(str(text))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
