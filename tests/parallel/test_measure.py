"""Measured costs: what is measured, on which blocks, and what becomes of the figures. No figure itself is tested."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import problems

import paralift as pl
from paralift.lifted.losses import default_loss
from paralift.parallel import measure as measuring
from paralift.parallel.cost import Line, count
from paralift.parallel.measure import COPIES, Trial, kind, measure, measure_here, specimens, through
from paralift.parallel.overhead import median_seconds

NOTHING = np.zeros(1, np.float32)


def trial(network, rows=16, method=None, rule=None, like=NOTHING):
    loss = default_loss(network.blocks[-1].activation)
    return Trial(network, like, rows, pl.methods.nudged() if method is None else method, loss, rule or pl.optim.Adam())


def deep(n, width=8):
    layers = [layer for _ in range(n) for layer in (pl.Linear(width, width), pl.ReLU())]
    return pl.Sequential(pl.Linear(5, width), pl.Tanh(), *layers, pl.Linear(width, 3), pl.Softmax())


positive = st.floats(0, 10)


@given(st.integers(1, 100), positive, st.integers(1, 100), positive)
def test_a_line_goes_through_what_was_measured(few, short, more, long):
    line = through(few, short, few + more, long)
    assert line.start >= 0 and line.each >= 0
    assert line(few + more) == pytest.approx(long)
    if short <= long and short * (few + more) >= long * few:
        assert line(few) == pytest.approx(short, abs=1e-9)


def test_a_line_through_one_point():
    assert through(4, 2.0, 4, 2.0) == Line(0.0, 0.5)


@given(problems(), st.integers(1, 64))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_every_kind_is_measured(problem, rows):
    network = problem.network
    ranges = specimens(trial(network, rows), count(network))
    assert all(0 <= a < b <= len(network.blocks) for a, b in ranges)
    assert all(b < c for (_, b), (c, _) in zip(ranges, ranges[1:], strict=False))
    taken = [kind(b) for start, stop in ranges for b in network.blocks[start:stop]]
    every = [kind(b) for b in network.blocks]
    assert set(taken) == set(every)
    assert all(taken.count(k) >= min(COPIES, every.count(k)) for k in every)


def test_equal_layers_of_a_deep_network_are_not_all_measured():
    network = deep(500, width=512)
    ranges = specimens(trial(network, 1024), count(network))
    assert sum(stop - start for start, stop in ranges) == COPIES + 2


@given(problems(), st.integers(1, 20))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_all_networks_can_be_measured(problem, rows):
    network = problem.network
    costs = measure_here(replace(trial(network, rows), loss=problem.loss))
    assert len(costs.blocks) == len(network.blocks)
    for block, cost in zip(network.blocks, costs.blocks, strict=True):
        numbers = [*vars(cost.forward).values(), *vars(cost.back).values(), *vars(cost.gradient).values(), cost.update]
        assert np.isfinite(numbers).all() and min(numbers) >= 0 and cost.forward(rows) > 0
        assert cost.update > 0 or not block.trained() or costs.step > 0
    assert costs.step >= 0 and costs.turn >= 0 and costs.load.each >= 0


METHODS = {
    "nudged": pl.methods.nudged(),
    "backprop": pl.methods.backprop(),
    "iterations": pl.methods.lifted_bregman(),
    "states": pl.methods.nudged(beta=0.5, states={"linear2": pl.optim.L1(0.01)}),
}
RULES = {
    "sgd": pl.optim.SGD(0.1),
    "schedule": pl.optim.Adam(pl.optim.Cosine(1e-3)),
    "groups": pl.optim.SGD(0.1, momentum=0.9, regularizer=pl.optim.GroupL1(1e-3)),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("method", METHODS)
def test_all_methods_and_rules_can_be_measured(method, rule):
    network = deep(3)
    found = measure(network, np.zeros(1, np.float64), 8, METHODS[method], pl.losses.CrossEntropy(), RULES[rule])
    assert len(found.blocks) == 5 and found.message == count(network).message


def test_equal_blocks_cost_the_same():
    network = deep(6)
    found = measure_here(trial(network))
    assert len({found.blocks[i] for i in range(1, 7)}) == 1


def test_normalisation_of_batches_and_floats_as_targets():
    network = pl.Sequential(pl.Linear(4, 6), pl.BatchNorm(6), pl.Tanh(), pl.Linear(6, 2), pl.Identity())
    assert len(measure_here(trial(network)).blocks) == len(network.blocks)


def test_a_large_network_is_measured_with_fewer_rows(monkeypatch):
    network = deep(3, width=64)
    rows = []
    original = measuring.Bench.pass_through

    def watched(self, n, times):
        rows.append(n)
        return original(self, n, times)

    monkeypatch.setattr(measuring.Bench, "pass_through", watched)
    monkeypatch.setattr(measuring, "LONGEST", 1e-4)
    measure_here(trial(network, 4096))
    assert measuring.MIN_ROWS <= min(rows) < max(rows) < 4096


def test_the_median_leaves_the_first_call_out():
    calls = []
    median_seconds(lambda: calls.append(0), 4)
    assert len(calls) == 5
