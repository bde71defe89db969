"""Plans: choices that must hold for every network and number of ranks."""

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import paralift as pl
from paralift.parallel.choosing import Question, best, choose, consider
from paralift.parallel.cost import Costs, Line, count
from paralift.parallel.explain import explain
from paralift.parallel.plan import Plan
from paralift.parallel.predict import predict, rank_bytes


def mlp(*widths):
    layers = [layer for a, b in zip(widths, widths[1:], strict=False) for layer in (pl.Linear(a, b), pl.ReLU())]
    return pl.Sequential(*layers[:-1], pl.Softmax())


@given(st.integers(1, 12), st.integers(1, 6), st.integers(1, 300))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_chosen_plan_fits(ranks, depth, batch):
    network = mlp(8, *[16] * depth, 4)
    plan = choose(network, ranks, batch)
    plan.check(network, ranks)
    covered = [r for start, stop in plan.rows(batch) for r in range(start, stop)]
    assert covered == list(range(batch))
    others = [choose(network, ranks, batch, stages=s) for s in range(1, depth + 2) if ranks % s == 0]
    assert predict(network, plan, batch).seconds <= min(predict(network, p, batch).seconds for p in others) * (1 + 1e-12)


def test_rows_of_an_empty_share():
    assert Plan(1, 1, (0, 2), 4).rows(0) == [(0, 0)]


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 400), st.sampled_from(["flush", "unflushed"]))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_choice_is_the_best_of_all_splits(ranks, depth, batch, schedule):
    """Among all grids, all splits and the numbers of micro-batches that are looked at; without messages, so that a split
    with the least slowest stage is also the fastest."""
    network = mlp(8, *[16, 40, 16, 24, 16][:depth], 4)
    blocks = tuple(replace(c, update=c.update * 50) for c in count(network).blocks)
    costs = Costs(blocks, Line(0.0, 0.0), Line(0.0, 0.0))
    question = Question(network, ranks, batch, schedule=schedule)
    n, found = len(network.blocks), []
    for stages in question.possible_stages():
        for inner in combinations(range(1, n), stages - 1):
            for m in question.counts(stages):
                plan = Plan(ranks // stages, stages, (0, *inner, n), m, schedule)
                found.append((plan, question.predict(plan, costs)))
    chosen = consider(question, costs)[0]
    if schedule == "unflushed":
        assert chosen.predicted.seconds == pytest.approx(min(p.seconds for _, p in found))
    alike = [p for plan, p in found if (plan.stages, plan.micro_batches) == (chosen.plan.stages, chosen.plan.micro_batches)]
    assert chosen.predicted.slowest == pytest.approx(min(p.slowest for p in alike))


def test_counted_plan_is_kept_unless_another_is_clearly_faster():
    network = mlp(8, *[16] * 7, 4)
    counted = choose(network, 2, 64, stages=2)
    blocks = list(count(network).blocks)

    def with_slow_first_block(factor):
        slow = replace(blocks[0], update=blocks[0].update + factor * predict(network, counted, 64).seconds)
        return replace(count(network), blocks=(slow, *blocks[1:]))

    assert choose(network, 2, 64, with_slow_first_block(0.01), stages=2) == counted
    other = choose(network, 2, 64, with_slow_first_block(3.0), stages=2)
    assert other.bounds[1] < counted.bounds[1]


def test_memory_that_a_plan_may_take():
    network = mlp(64, *[64] * 7, 10)
    free = best(Question(network, 4, 32), None)
    most = max(free.predicted.memory)
    assert choose(network, 4, 32, memory=most) == free.plan
    limit = 0.6 * max(rank_bytes(network, Plan(4, 1, (0, 8)), 32))
    tight = best(Question(network, 4, 32, memory=limit), None)
    assert max(tight.predicted.memory) <= limit
    with pytest.raises(ValueError, match="no plan of 4 ranks fits into 1 KiB a rank: the least is") as error:
        choose(network, 4, 32, memory=1024)
    least = float(error.value.args[0].split("the least is ")[1].split(" KiB")[0]) * 2**10
    assert max(best(Question(network, 4, 32, memory=1.01 * least), None).predicted.memory) <= 1.01 * least


def test_micro_batches_that_are_given_limit_the_stages():
    network = mlp(8, *[64] * 7, 4)
    assert choose(network, 8, 64, micro_batches=2).stages <= 2
    assert choose(network, 8, 64, micro_batches=3).stages == 1
    with pytest.raises(ValueError, match="at least 14 micro-batches for 8 stages"):
        choose(network, 8, 64, stages=8, micro_batches=2)
    assert choose(network, 8, 64, stages=8, micro_batches=2, schedule="flush").micro_batches == 2


def test_plans_of_many_ranks_and_blocks_are_found():
    network = mlp(*[16] * 301)
    plan = choose(network, 1024, 16384, count(network))
    plan.check(network, 1024)


def test_sentences_say_why_more_stages_do_not_help():
    network = mlp(64, 1024, 64, 64, 64, 10)
    question = Question(network, 4, 64)
    costs = count(network)
    chosen = best(question, None)
    sentences = explain(question, costs, consider(question, costs), chosen)
    assert chosen.plan.stages == 2
    assert sentences[0].startswith("4 stages x 1 shard would take") and "more stages do not help, because" in sentences[0]
    assert "fewer stages do not help" in sentences[1] or "about the same" in sentences[1]
    assert "One rank would take" in sentences[2]
    assert explain(replace(question, ranks=1), costs, [], chosen) == ["One rank: there is nothing to share out."]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, 1, (0, 2)), "at least one shard"),
        ((1, 2, (0, 2)), r"stages \+ 1 = 3"),
        ((1, 2, (0, 2, 2)), "increasing"),
        ((1, 1, (0, 2), -1), "micro-batch"),
    ],
)
def test_wrong_plans(arguments, text):
    with pytest.raises(ValueError, match=text):
        Plan(*arguments)


def test_plan_that_does_not_fit():
    network = mlp(8, 16, 4)
    with pytest.raises(ValueError, match="expected 0 first and 2"):
        Plan(1, 1, (0, 3)).check(network, 1)
    with pytest.raises(ValueError, match="product of 3 ranks"):
        Plan(2, 1, (0, 2)).check(network, 3)
    with pytest.raises(ValueError, match="stages is 5"):
        choose(network, 10, 8, stages=5)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_an_odd_number_of_micro_batches_has_no_halves(ranks):
    with pytest.raises(ValueError, match="micro_batches is 3 with the schedule 'unflushed', expected an even number"):
        choose(mlp(8, 64, 64, 4), ranks, 64, micro_batches=3, schedule="unflushed")
