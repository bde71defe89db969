"""Schedules: known values, ends, warm-up, and refusal of what makes no sense."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paralift.optim import Constant, Cosine, Exponential, Step
from paralift.optim.schedules import rate_at


def test_constant_is_constant():
    assert [Constant(0.3)(t, 10) for t in (1, 5, 10, 99)] == [0.3] * 4
    assert [Constant(0.4, warmup=4)(t) for t in (1, 2, 4, 5, 99)] == pytest.approx([0.1, 0.2, 0.4, 0.4, 0.4])


def test_exponential_has_its_ends_and_one_factor():
    schedule = Exponential(1e-3, 10.0, steps=9)
    rates = [schedule(t) for t in range(1, 12)]
    assert rates[0] == 1e-3 and rates[8:] == pytest.approx([10.0] * 3)
    assert np.diff(np.log(rates[:9])) == pytest.approx([math.log(1e4) / 8] * 8)
    assert [Exponential(1.0, 0.01)(t, 3) for t in (1, 2, 3)] == pytest.approx([1.0, 0.1, 0.01])
    with pytest.raises(ValueError, match=r"neither steps .* Exponential\(\.\.\., steps=\.\.\.\)"):
        Exponential(1.0, 0.1)(1, None)
    for rate, final in ((0.0, 1.0), (1.0, 0.0)):
        with pytest.raises(ValueError, match="= 0.0 was given, expected a number greater than 0"):
            Exponential(rate, final)


def test_cosine_has_its_known_values():
    schedule = Cosine(2.0, steps=8, final=1.0)
    assert schedule(1) == 2.0
    assert schedule(5) == pytest.approx(1.5)
    assert schedule(9) == pytest.approx(1.0)
    assert schedule(10_000) == pytest.approx(1.0)
    assert schedule(3) == pytest.approx(1.5 + 0.5 * math.cos(math.pi / 4))


def test_cosine_takes_the_steps_of_the_run_unless_it_has_its_own():
    assert Cosine(1.0)(51, 100) == pytest.approx(0.5)
    assert Cosine(1.0, steps=200)(101, 100) == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"neither steps .* Cosine\(rate, steps=\.\.\.\)"):
        Cosine(1.0)(1, None)


def test_step_divides_after_every_so_many_steps():
    schedule = Step(1.0, every=3, factor=0.5)
    assert [schedule(t) for t in range(1, 8)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(
    "make",
    [
        lambda w: Cosine(0.8, warmup=w), lambda w: Step(0.8, every=5, warmup=w), lambda w: Exponential(0.8, 0.1, warmup=w),
    ],
)  # fmt: skip
def test_warm_up_is_linear_and_delays_the_decay(make):
    warm, cold = make(4), make(0)
    assert [warm(t, 24) for t in range(1, 5)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert [warm(4 + t, 24) for t in range(1, 21)] == pytest.approx([cold(t, 20) for t in range(1, 21)])


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    rate=st.floats(1e-6, 10),
    final=st.floats(0, 1),
    total=st.integers(1, 60),
    warmup=st.integers(0, 80),
)
def test_cosine_rises_then_falls_and_stays_between_its_ends(rate, final, total, warmup):
    schedule = Cosine(rate, final=final * rate, warmup=warmup)
    rates = [schedule(t, total) for t in range(1, total + 5)]
    assert all(0 < r <= rate * (1 + 1e-12) for r in rates[:warmup])
    assert np.all(np.diff(rates[:warmup]) >= 0)
    assert np.all(np.diff(rates[warmup:]) <= 1e-12 * rate)
    assert all(r >= final * rate * (1 - 1e-12) for r in rates[warmup:])


def test_a_number_or_any_callable_serves_as_a_schedule():
    assert rate_at(0.25, 3, None) == 0.25
    assert rate_at(lambda step, total: np.float32(step / total), 3, 4) == 0.75
    assert type(rate_at(lambda step, total: np.float32(step / total), 3, 4)) is float


@pytest.mark.parametrize(
    "schedule",
    [
        Constant(np.float32(0.5)),
        Cosine(np.float64(0.1), steps=np.int64(7), final=0, warmup=2),
        Cosine(0.1),
        Step(1, 10),
    ],
)
def test_the_repr_makes_the_schedule_again(schedule):
    assert eval(repr(schedule), {"Constant": Constant, "Cosine": Cosine, "Step": Step}) == schedule


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Constant(-0.1),
            ValueError,
            "Constant: rate = -0.1 was given, expected a finite number >= 0",
        ),
        (lambda: Constant(math.nan), ValueError, "rate = nan"),
        (lambda: Constant(math.inf), ValueError, "rate = inf"),
        (lambda: Constant("fast"), TypeError, "rate = 'fast' was given, expected a number"),
        (lambda: Cosine(0.1, final=-1), ValueError, "final = -1"),
        (lambda: Cosine(0.1, steps=0), ValueError, "steps = 0 was given, expected at least 1"),
        (lambda: Cosine(0.1, warmup=-1), ValueError, "warmup = -1 was given, expected at least 0"),
        (lambda: Cosine(0.1, warmup=0.5), TypeError, "warmup = 0.5 was given, expected a whole number"),
        (lambda: Step(0.1, every=0), ValueError, "Step: every = 0"),
        (lambda: Step(0.1, every=2, factor=-1), ValueError, "factor = -1"),
        (lambda: Step(0.1, every=2, warmup=-3), ValueError, "warmup = -3"),
    ],
)
def test_what_makes_no_sense_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
