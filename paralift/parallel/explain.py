"""Why a plan was chosen: the best of each number of stages beside it, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from paralift.parallel.choosing import Option, Question
from paralift.parallel.cost import Costs
from paralift.parallel.plan import Plan
from paralift.parallel.predict import Prediction

WORTH = 1.02
"""A plan that is slower by no more than this factor is called about as fast."""


def best_of_each(options: Sequence[Option]) -> list[Option]:
    """Return the fastest plan of each number of stages, fewest stages first."""
    found: dict[int, Option] = {}
    for option in options:
        found.setdefault(option.plan.stages, option)
    return [found[stages] for stages in sorted(found)]


def explain(question: Question, costs: Costs, options: Sequence[Option], chosen: Option) -> list[str]:
    """Return sentences on why `chosen` was preferred to the best plan of each other number of stages.

    Parameters
    ----------
    question : Question
    costs : Costs
    options : sequence of Option
        By `costs`, as `chosen` is; fastest first.
    chosen : Option
    """
    if question.ranks == 1:
        return ["One rank: there is nothing to share out."]
    if question.stages is not None:
        return [f"{_name(chosen.plan)}: the number of stages was given."]
    stages = chosen.plan.stages
    others = [o for o in best_of_each(options) if o.plan.stages != stages]
    more = [o for o in others if o.plan.stages > stages]
    fewer = [o for o in others if o.plan.stages < stages]
    sentences = []
    if more:
        nearest = min(more, key=lambda o: o.predicted.seconds)
        sentences.append(_compare(nearest, chosen, "more stages do not help"))
    else:
        sentences.append(_no_more(question, stages))
    if fewer:
        nearest = min(fewer, key=lambda o: o.predicted.seconds)
        sentences.append(_compare(nearest, chosen, "fewer stages do not help"))
    alone = question.predict(Plan(1, 1, (0, len(question.network.blocks))), costs)
    sentences.append(
        f"One rank would take {_ms(alone)}: {question.ranks} ranks are {alone.seconds / chosen.predicted.seconds:.2f} times "
        f"faster, an efficiency of {alone.seconds / chosen.predicted.seconds / question.ranks:.2f}."
    )
    return sentences


def _no_more(question: Question, stages: int) -> str:
    n_blocks = len(question.network.blocks)
    if stages == question.ranks:
        return "Every rank is a stage: there are no more."
    if stages == n_blocks:
        return f"Every block is a stage of its own: {n_blocks} blocks take no more; the other ranks share the samples."
    return f"No larger number of stages divides {question.ranks} ranks, is at most {n_blocks} blocks, and fits the memory."


def _compare(other: Option, chosen: Option, verdict: str) -> str:
    facts = f"{_name(other.plan)} would take {_ms(other.predicted)}, {_name(chosen.plan)} take {_ms(chosen.predicted)}"
    if other.predicted.seconds <= WORTH * chosen.predicted.seconds:
        return f"{facts}: about the same."
    return f"{facts}: {verdict}, because {_reason(other.predicted, chosen.predicted)}."


def _reason(other: Prediction, chosen: Prediction) -> str:
    """Return the part of the step in which `other` loses most."""
    terms = {
        "messages between stages add {}": (other.exchange, chosen.exchange),
        "the sum over shards adds {}": (other.reduction, chosen.reduction),
        "the slowest stage waits {} for the others": (other.bubble, chosen.bubble),
        "its slowest stage computes {} more than an even share": (_uneven(other), _uneven(chosen)),
        "its ranks compute {} on average, on thinner products and more parameters each": (
            fmean(other.stage_seconds),
            fmean(chosen.stage_seconds),
        ),
    }
    text = max(terms, key=lambda key: terms[key][0] - terms[key][1])
    return text.format(f"{1e3 * terms[text][0]:.3f} ms (instead of {1e3 * terms[text][1]:.3f})")


def _uneven(predicted: Prediction) -> float:
    return predicted.slowest - fmean(predicted.stage_seconds)


def _name(plan: Plan) -> str:
    return f"{plan.stages} stage{'s' * (plan.stages > 1)} x {plan.shards} shard{'s' * (plan.shards > 1)}"


def _ms(predicted: Prediction) -> str:
    return f"{1e3 * predicted.seconds:.3f} ms"
