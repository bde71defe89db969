"""Some numbers with their places: contraction, exact means, round trips of all sizes, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paralift.optim.compression import RandomK, TopK

vectors = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40).map(np.array)


def through(compressor, v, **draw):
    return compressor.decode(compressor.encode(v, **draw), np.full_like(v, 5))


@settings(deadline=None)
@given(vectors, st.integers(1, 45))
def test_the_largest_are_sent_and_the_rest_is_not(v, k):
    compressor = TopK(k)
    got, kept = through(compressor, v), compressor.count(v.size)
    assert kept == min(k, v.size) and np.isin(np.flatnonzero(got), np.flatnonzero(got == v)).all()
    magnitudes = np.sort(abs(v))[::-1]
    np.testing.assert_array_equal(np.sort(abs(got))[::-1][:kept], magnitudes[:kept])
    error = ((got - v) ** 2).sum()
    assert error <= (1 - compressor.contraction(v.size)) * (v**2).sum() * (1 + 1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 65537])
def test_round_trips(size, dtype):
    v = np.random.default_rng(0).standard_normal(size).astype(dtype)
    for compressor in (TopK(3), TopK(fraction=0.3), TopK(fraction=1.0), RandomK(3), RandomK(fraction=1.0, unbiased=True)):
        message = compressor.encode(v, 1, 2)
        assert message.dtype == np.uint8 and len(message) == compressor.bytes(size, dtype) and len(message) % 8 == 0
        got = compressor.decode(message, np.empty_like(v))
        assert np.count_nonzero(got) == compressor.count(size)
        out = v.copy()
        compressor.add(message, out)
        np.testing.assert_allclose(out, v + got)
    np.testing.assert_array_equal(through(TopK(fraction=1.0), v), v)


def test_messages_are_short():
    assert TopK(5).bytes(20, np.float64) == 48  # 5 numbers of 8 bytes, 5 places of 1, in whole words
    assert TopK(fraction=0.01).bytes(100_000, np.float32) == 1000 * 8
    assert RandomK(fraction=0.01).bytes(100_000, np.float32) == 1000 * 4 + 8


def test_any_shape():
    v = np.arange(-6.5, 5.5).reshape(3, 4)
    np.testing.assert_array_equal(through(TopK(2), v), np.where(v < -5, v, 0))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_all_choices_of_places_are_as_likely(k):
    """By count over many steps; each place is drawn k / d of the time, and the mean is the vector."""
    v, steps = np.array([4.0, -3.0, 2.0, 1.0]), 2000
    compressor = RandomK(k, unbiased=True)
    got = np.array([through(compressor, v, step=t, seed=9) for t in range(steps)])
    drawn = (got != 0).mean(axis=0)
    assert abs(drawn - k / 4).max() <= 5 * np.sqrt(k / 4 * (1 - k / 4) / steps)
    spread = ((got - v) ** 2).sum(axis=1).mean()
    assert compressor.variance(v) == compressor.relative_variance(4) * 30 == pytest.approx((4 / k - 1) * 30)
    assert spread == pytest.approx(compressor.variance(v), rel=0.1, abs=1e-9)


def test_unbiased_or_contractive():
    assert RandomK(5).contraction(20) == TopK(5).contraction(20) == TopK(fraction=0.25).contraction(20) == 0.25
    assert RandomK(5).relative_variance(20) is None and RandomK(5, unbiased=True).contraction(20) is None
    assert RandomK(5).variance(np.ones(20)) == 15.0


def test_nan_is_refused_and_goes_out_among_ranks():
    v = np.arange(9.0)
    v[0] = np.nan
    with pytest.raises(ValueError, match="TopK: a vector with a NaN"):
        TopK(2).encode(v)
    message = TopK(2).message(v)
    TopK(2).write(v, message)
    assert np.isnan(TopK(2).decode(message, np.empty_like(v))[0])


@pytest.mark.parametrize("kind", [TopK, RandomK])
def test_refused(kind):
    for arguments in ({}, {"k": 1, "fraction": 0.5}):
        with pytest.raises(ValueError, match="expected one of them"):
            kind(**arguments)
    for fraction in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="fraction"):
            kind(fraction=fraction)
    with pytest.raises(ValueError, match="k = 0 was given, expected at least 1"):
        kind(0)
    with pytest.raises(ValueError, match="expected uint8 of shape"):
        kind(3).decode(np.zeros(5, np.uint8), np.zeros(10))
