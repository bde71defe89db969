"""Steps for late gradients: the sums that theory asks for, at random delays; the ends of what is remembered."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paralift.optim import delays
from paralift.optim.delays import (
    BoundedDelay,
    BoundedDelayStronglyConvex,
    Constants,
    DelayCounts,
    FirstAdaptive,
    PartwiseAdaptive,
    PastSteps,
    SecondAdaptive,
)

ROWS = st.lists(st.lists(st.integers(0, 12), min_size=3, max_size=3), min_size=1, max_size=60)


def stamps_of(rows):
    """Return stamps that never go back, for the delays of three parts."""
    newest, found = [0, 0, 0], []
    for k, row in enumerate(rows):
        newest = [max(old, k - min(d, k)) for old, d in zip(newest, row, strict=True)]
        found.append(newest)
    return found


def steps_of(rule, stamps, lipschitz=2.0, parts=(0.5, 1.0, 2.0)):
    steps = rule.begin(Constants(lipschitz, 0.1, parts))
    return np.array([steps.next(s) for s in stamps])


@given(rows=ROWS, rule=st.sampled_from([FirstAdaptive(), FirstAdaptive(0.5, 1.0), SecondAdaptive(), SecondAdaptive(0.3)]))
def test_steps_since_the_oldest_gradient_sum_to_less_than_h_over_l(rows, rule):
    stamps = stamps_of(rows)
    gamma = steps_of(rule, stamps)
    for k, s in enumerate(stamps):
        assert gamma[min(s) : k + 1].sum() <= rule.h / 2.0 * (1 + 1e-9) or gamma[k] == 0
    assert (gamma >= 0).all() and gamma[0] > 0


@given(rows=ROWS, pace=st.floats(0.1, 100.0))
def test_partwise_steps_keep_the_sums(rows, pace):
    """Those of the proof, computed anew from its formula; an update without a step needs none."""
    parts, lipschitz, stamps = np.array([0.5, 1.0, 2.0]), 2.0, stamps_of(rows)
    rule = PartwiseAdaptive(0.9, pace)
    gamma = steps_of(rule, stamps, lipschitz, parts)
    weights = np.zeros((len(rows), len(rows)))  # w_k(t)
    for k, s in enumerate(stamps):
        for t in range(k):
            weights[k, t] = parts[np.array(s) <= t].sum()
    brackets = lipschitz * gamma + weights @ gamma + weights.T @ gamma
    assert (brackets[gamma > 0] <= 2 * rule.h * (1 + 1e-9)).all() and gamma[0] > 0


def test_constant_delays_give_constant_steps():
    """h / (L + the sum of L_i tau_i), for a pace of 1."""
    stamps = [[max(k - 4, 0), max(k - 1, 0), k] for k in range(400)]
    steps = steps_of(PartwiseAdaptive(0.9, 1.0), stamps, 3.5)[100:]
    assert steps == pytest.approx(0.9 / (3.5 + 4 * 0.5 + 1.0), rel=1e-12)


def test_one_slow_part_costs_less_by_the_partwise_rule():
    stamps = [[k, k, 40 * (k // 40)] for k in range(4000)]
    parts = (1.0, 1.0, 1.0)
    assert steps_of(PartwiseAdaptive(), stamps, 3.0, parts).sum() > 1.7 * steps_of(FirstAdaptive(), stamps, 3.0, parts).sum()


def test_constant_rules_have_their_values():
    none = PastSteps()
    assert BoundedDelay(19).step(3, none, Constants(2.0)) == pytest.approx(2 * 0.99 / (39 * 2.0))
    assert BoundedDelay(19, 0.5).step(3, none, Constants(1.0)) == pytest.approx(1 / 39)
    assert BoundedDelayStronglyConvex(19).step(0, none, Constants(1.0, 0.01)) == pytest.approx(
        ((1 + 0.01 / 20) ** (1 / 20) - 1) / 0.01
    )


def test_delays_beyond_a_bound_are_refused():
    with pytest.raises(ValueError, match=r"a gradient was 4 updates late, expected at most 3; PartwiseAdaptive\(\)"):
        BoundedDelay(3).step(4, PastSteps(), Constants(1.0))
    with pytest.raises(ValueError, match="not known to be strongly convex"):
        BoundedDelayStronglyConvex(3).step(1, PastSteps(), Constants(1.0))
    with pytest.raises(ValueError, match="FirstAdaptive: h = 1.0 was given"):
        FirstAdaptive(h=1.0)
    with pytest.raises(ValueError, match="PartwiseAdaptive: pace = -2.0"):
        PartwiseAdaptive(pace=-2.0)
    with pytest.raises(ValueError, match="BoundedDelay: bound = -1"):
        BoundedDelay(-1)


def test_what_is_no_longer_remembered_takes_no_step(monkeypatch):
    monkeypatch.setattr(delays, "REMEMBERED", 8)
    monkeypatch.setattr(delays, "KEPT", 4)
    stamps = [[0, k, k] for k in range(9)] + [[k, k, k] for k in range(9, 12)]
    for rule in (FirstAdaptive(), PartwiseAdaptive()):
        gamma = steps_of(rule, [*stamps[:9], [0, 9, 9], *stamps[10:]])
        assert gamma[9] == 0 and (gamma[10:] > 0).all()


def test_counts():
    counts = DelayCounts()
    for delay in (3, 1, 3):
        counts.add(delay)
    assert counts.facts() == {"histogram": {1: 1, 3: 2}, "mean": pytest.approx(7 / 3), "longest": 3}
