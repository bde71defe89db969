"""Levels: known variances of a half-normal law, exact coordinate moves, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import norm

from paralift.optim.compression import alq, amq, e3m0, expected_variance, nuqsgd, qsgd

N = 200_000
HALF_NORMAL = 0.05 * norm.ppf(0.5 + 0.5 * (np.arange(N) + 0.5) / N)
"""Magnitudes of normal numbers of standard deviation 0.05, one for each of as many equal parts of their law."""


def test_even_and_exponential_levels():
    assert qsgd(4) == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert nuqsgd(3) == (0.0, 0.125, 0.25, 0.5, 1.0)
    assert nuqsgd(0) == qsgd(1) == (0.0, 1.0)
    assert e3m0() == nuqsgd(6) and len(e3m0()) == 8


def test_the_nearest_power_of_two_is_off_by_a_third_at_most():
    levels = np.array(e3m0())
    a = np.linspace(0.75 * levels[1], 1.0, 100_001)
    error = abs(a[:, None] - levels).min(axis=1) / a
    assert error.max() == pytest.approx(1 / 3, rel=1e-3)


@pytest.mark.parametrize("start", [qsgd(7), nuqsgd(6)])
def test_fitted_levels_are_the_same_from_either_start(start):
    fitted = alq(HALF_NORMAL, 7, start)
    assert expected_variance(fitted, HALF_NORMAL) == pytest.approx(9.09e-5, rel=0.02)
    np.testing.assert_allclose(fitted, alq(HALF_NORMAL, 7), rtol=1e-3)


def test_variances_of_levels_that_are_not_fitted():
    assert expected_variance(qsgd(7), HALF_NORMAL) == pytest.approx(3.2e-3, rel=0.01)
    assert expected_variance(nuqsgd(6), HALF_NORMAL) == pytest.approx(2.1e-4, rel=0.02)
    best = amq(HALF_NORMAL, 7)
    assert best[-2] == pytest.approx(0.535, abs=2e-3)
    assert expected_variance(best, HALF_NORMAL) == pytest.approx(1.97e-4, rel=0.01)


@pytest.mark.parametrize("weighted", [False, True])
def test_no_move_of_one_level_lowers_the_variance(weighted):
    rng = np.random.default_rng(0)
    for _ in range(5):
        samples = rng.beta(0.5, 3.0, 40)
        weights = rng.uniform(0.1, 2.0, 40) if weighted else None
        levels = alq(samples, 4, weights=weights)
        assert all(a < b for a, b in itertools.pairwise(levels)) and levels[0] == 0 and levels[-1] == 1
        reached = expected_variance(levels, samples, weights)
        assert reached <= expected_variance(nuqsgd(3), samples, weights)
        for j in (1, 2, 3):
            between = samples[(samples > levels[j - 1]) & (samples < levels[j + 1])]
            for level in between:
                moved = (*levels[:j], float(level), *levels[j + 1 :])
                assert expected_variance(moved, samples, weights) >= reached * (1 - 1e-12)


def test_levels_stay_apart_where_samples_coincide():
    for samples in (np.zeros(9), np.ones(9), np.full(9, 0.5)):
        levels = alq(samples, 4)
        assert all(a < b for a, b in itertools.pairwise(levels))
    assert expected_variance(alq(np.full(9, 0.3), 4), np.full(9, 0.3)) == pytest.approx(0.0, abs=1e-18)


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: qsgd(0), "s = 0 was given"),
        (lambda: nuqsgd(2.5), "s = 2.5 was given"),
        (lambda: alq(np.array([]), 3), "0 samples were given"),
        (lambda: alq(np.array([0.5, np.nan]), 3), "all from 0 to 1"),
        (lambda: amq(np.array([1.5]), 3), "all from 0 to 1"),
        (lambda: alq(np.array([0.5]), 3, qsgd(4)), "5 levels were given to start with, expected s \\+ 1 = 4"),
        (lambda: alq(np.array([0.5]), 3, weights=np.array([-1.0])), "weights were given"),
    ],
)
def test_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()
