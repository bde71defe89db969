"""Predictions: where the seconds go, what must not make a step slower, and bytes against the arrays that are made."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import problems

import paralift as pl
from paralift.parallel.batch import Shard
from paralift.parallel.cost import BlockCost, Costs, Line, count
from paralift.parallel.crossing import crossing
from paralift.parallel.exchange import Messages
from paralift.parallel.grid import Grid
from paralift.parallel.memory import additive_bytes, stage_bytes
from paralift.parallel.optimizer import OptimizerStep
from paralift.parallel.plan import Plan
from paralift.parallel.predict import MIN_CAPACITY, predict, rank_bytes
from paralift.parallel.split import split
from paralift.parallel.unflushed_step import UnflushedStep
from paralift.training import worker


def mlp(*widths):
    layers = [layer for a, b in zip(widths, widths[1:], strict=False) for layer in (pl.Linear(a, b), pl.ReLU())]
    return pl.Sequential(*layers[:-1], pl.Softmax())


lines = st.builds(Line, st.floats(0, 1e-4), st.floats(1e-9, 1e-5))
blocks = st.builds(BlockCost, lines, lines, lines, st.floats(0, 1e-3), st.floats(0, 1e-4))


@st.composite
def cases(draw):
    depth = draw(st.integers(1, 6))
    network = mlp(5, *draw(st.lists(st.integers(1, 40), min_size=depth, max_size=depth)), 3)
    n = len(network.blocks)
    stages, shards = draw(st.integers(1, n)), draw(st.integers(1, 4))
    costs = Costs(
        tuple(draw(st.lists(blocks, min_size=n, max_size=n))), draw(lines), draw(lines), None, None,
        Line(0.0, draw(st.floats(0, 1e-9))), draw(st.floats(0, 1e-4)), draw(st.floats(0, 1e-5)),
    )  # fmt: skip
    schedule = draw(st.sampled_from(["flush", "unflushed"]))
    m = 2 * (max(1, stages - 1) + draw(st.integers(0, 4)))
    return network, Plan(shards, stages, split(np.ones(n), stages), m, schedule), draw(st.integers(1, 300)), costs


@given(cases())
@settings(deadline=None, max_examples=100, derandomize=True)
def test_parts_of_a_step_add_up(case):
    network, plan, batch, costs = case
    found = predict(network, plan, batch, costs)
    assert found.slowest + found.exchange + found.reduction + found.bubble == pytest.approx(found.seconds)
    assert min(found.exchange, found.reduction, found.bubble) >= 0
    assert found.exchange == 0 or plan.stages > 1
    assert found.reduction == 0 or plan.shards > 1
    assert len(found.stage_seconds) == len(found.memory) == plan.stages


@given(cases(), st.floats(1, 100))
@settings(deadline=None, max_examples=100, derandomize=True)
def test_a_faster_network_never_makes_a_step_slower(case, factor):
    network, plan, batch, costs = case
    fast = Line(costs.message.start, costs.message.each / factor)
    faster = replace(costs, message=fast, sum=Line(costs.sum.start / factor, costs.sum.each))
    assert predict(network, plan, batch, faster).seconds <= predict(network, plan, batch, costs).seconds * (1 + 0.02)
    if plan.schedule == "flush":
        assert predict(network, plan, batch, faster).seconds <= predict(network, plan, batch, costs).seconds * (1 + 1e-12)


@given(cases())
@settings(deadline=None, max_examples=60, derandomize=True)
def test_without_a_flush_a_step_is_no_slower_if_messages_and_calls_are_free(case):
    network, plan, batch, costs = case
    free = tuple(
        BlockCost(Line(0, b.forward.each), Line(0, b.back.each), Line(0, b.gradient.each), b.update) for b in costs.blocks
    )
    nothing = Line(0.0, 0.0)
    costs = Costs(free, nothing, nothing)
    late, exact = (predict(network, replace(plan, schedule=s), batch, costs).seconds for s in ("unflushed", "flush"))
    assert late <= exact * (1 + 1e-12)


def test_one_rank_is_the_sum_of_its_parts():
    network = mlp(4, 6, 3)
    parts = [BlockCost(Line(1.0, 0.1), Line(2.0, 0.2), Line(3.0, 0.3), 5.0, 7.0)] * 2
    costs = Costs(tuple(parts), Line(1, 1), Line(1, 1), load=Line(0.0, 0.01), step=11.0, turn=13.0)
    expected = 2 * (1 + 1 + 2 + 2 + 3 + 3 + 5) + 11 + 13 + 0.01 * 10 * 4 * 8
    plan = Plan(1, 1, (0, 2))
    assert predict(network, plan, 10, costs, itemsize=8).seconds == pytest.approx(expected)
    halves = Plan(1, 1, (0, 2), 2, "unflushed")
    more = 2 * (1 + 2 + 3 + 7) + 13  # every call once more, and the forecast
    assert predict(network, halves, 10, costs, itemsize=8).seconds == pytest.approx(expected + more)


def test_a_sum_over_shards_hides_behind_the_next_half_but_for_what_the_processor_does():
    network = mlp(300, 300, 300, 3)
    slow = Line(1e-5, 1e-8)
    costs = replace(count(network), sum=slow, sum_handling=Line(1e-6, 1e-10))
    exposed = {s: predict(network, Plan(4, 1, (0, 3), 2, s), 4000, costs).reduction for s in ("flush", "unflushed")}
    numbers = network.n_parameters
    whole = 6 * (2 * 1e-5 + 1e-8 * numbers * 4 / 4)
    busy = 6 * (2 * 1e-6 + 1e-10 * numbers * 4 / 4)
    assert busy < exposed["flush"] < whole
    assert exposed["unflushed"] == pytest.approx(2 * busy), "one sum a half"


@given(problems())
@settings(deadline=None, max_examples=60, derandomize=True)
def test_crossing_is_what_is_live(problem):
    network = problem.network
    across = crossing(network)
    for cut in range(len(network.blocks)):
        live = network.live(cut)
        assert across.n_up[cut] == len(live)
        assert across.n_down[cut] == len([v for v in live if v])
        assert across.width_up[cut] == sum(np.prod(network.shapes[v]) for v in live)


def made(network, start, stop, rows, schedule, states):
    """Return the bytes of all arrays that a rank's step holds."""
    like = np.zeros(1, np.float32)
    stage = pl.lifted.stage.Stage(network, start, stop, like)
    rule = pl.optim.Adam() if states == 2 else pl.optim.SGD(0.1)
    optimizer = OptimizerStep(stage, rule, 1)
    arrays = [stage.flat, stage.gradient, *optimizer.arrays.values()]
    if schedule == "unflushed":
        y = np.zeros(1, np.int64) if stage.has_output else None
        loss = pl.lifted.losses.default_loss(network.blocks[-1].activation)
        step = UnflushedStep(
            stage, rows, Shard(None, y), pl.methods.nudged(), loss, Messages(Grid(None, 1, 1)), Plan(1, 1, (0, 1), 2, schedule),
            optimizer,
        )  # fmt: skip
        buffers = [half.state for half in step.halves]
        arrays += [step.forecast, step.halves[0].gradient, *(h.targets for h in step.halves if h.targets is not None)]
    else:
        buffers = [stage.state(rows)]
        arrays += [np.zeros(rows, np.int64)] * stage.has_output
    for state in buffers:
        state.window(0, state.capacity)
    return sum(a.nbytes for a in arrays) + sum(state.nbytes() for state in buffers)


@given(problems(), st.data())
@settings(deadline=None, max_examples=60, derandomize=True)
def test_bytes_are_those_of_the_arrays(problem, data):
    network = problem.network
    start = data.draw(st.integers(0, len(network.blocks) - 1))
    stop = data.draw(st.integers(start + 1, len(network.blocks)))
    rows, states = data.draw(st.integers(1, 40)), data.draw(st.sampled_from([0, 2]))
    for schedule in ("flush", "unflushed"):
        expected = made(network, start, stop, rows, schedule, states)
        halved = schedule == "unflushed"
        found = stage_bytes(network, start, stop, rows + rows % 2 * halved, 4, states, halved)
        more = sum(2 * 4 * 16 for block in network.blocks[start:stop] for _ in block.tracked())  # the forecast shares these
        assert expected <= found <= expected + more


@given(problems())
@settings(deadline=None, max_examples=30, derandomize=True)
def test_bytes_add_up_over_blocks(problem):
    network, n = problem.network, len(problem.network.blocks)
    blocks, inputs = additive_bytes(network, 10, 4, 2, True, True)
    whole = stage_bytes(network, 0, n, 10, 4, 2, True, True)
    scratch_and_targets = whole - blocks.sum() - inputs[0]
    assert 0 <= scratch_and_targets <= 2 * 10 * (4 * sum(np.prod(s) for s in network.shapes) + 8)


def test_rows_of_buffers_are_those_of_the_worker():
    assert MIN_CAPACITY == worker.MIN_CAPACITY
    network = mlp(8, 16, 4)
    assert rank_bytes(network, Plan(2, 1, (0, 2)), 10) == rank_bytes(network, Plan(1, 1, (0, 2)), 64)
