"""Quantisers: variances known in closed form, bounds that hold and are reached, round trips, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paralift.kernels import quantize
from paralift.optim.compression import Quantizer, e3m0, nuqsgd, qsgd

WHOLE = 1 << 20
GAUSSIAN = np.random.default_rng(0).standard_normal(65536)
QUANTIZERS = [
    Quantizer(qsgd(1)),
    Quantizer(qsgd(7), bucket=8),
    Quantizer(qsgd(100), bucket=4, norm="max"),
    Quantizer(nuqsgd(4), bits=8),
    Quantizer(e3m0(), norm="max"),
    Quantizer(e3m0(), norm="max", bucket=8, rounding="nearest"),
]
vectors = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50).map(np.array)


def square(v):
    return float((v.astype(float) ** 2).sum())


def relative(quantizer, v):
    return quantizer.variance(v) / square(v)


def nonzero(quantizer, v):
    """Return the expected number of entries that are not zero."""
    _, k, chance = quantize.places(v, quantizer.grid, quantize.scales_formula(v, quantizer.grid))
    return float(np.where(k > 0, 1.0, chance).sum())


@pytest.mark.parametrize("d, s, expected", [(4096, 4, 15.0), (65536, 8, 31.0)])
def test_even_levels_are_worst_for_equal_numbers(d, s, expected):
    quantizer = Quantizer(qsgd(s), bucket=WHOLE)
    assert relative(quantizer, np.ones(d)) == expected
    assert quantizer.relative_variance(d) == pytest.approx(expected, rel=1e-6)
    assert expected <= min(d / (4 * s * s), np.sqrt(d) / s)


def test_exponential_levels():
    assert relative(Quantizer(nuqsgd(4), bucket=WHOLE), np.ones(4096)) == 3.0
    assert Quantizer(nuqsgd(4), bucket=WHOLE).relative_variance(4096) == pytest.approx(3.0, rel=1e-6)
    assert relative(Quantizer(nuqsgd(8)), np.array([2.0, 2.0, 1.0])) == pytest.approx(0.125, rel=1e-6)  # (4/3) 2^-k all
    quantizer = Quantizer(nuqsgd(8), bucket=WHOLE)
    assert relative(quantizer, GAUSSIAN) == pytest.approx(0.183, abs=5e-4)
    assert relative(quantizer, GAUSSIAN) <= quantizer.relative_variance(65536) <= 0.3473


def test_floats_of_four_bits():
    quantizer = Quantizer(e3m0(), norm="max", bucket=WHOLE)
    bound = 0.125 + 65536 * 2.0**-14 * abs(GAUSSIAN).max() ** 2 / square(GAUSSIAN)
    assert relative(quantizer, GAUSSIAN) == pytest.approx(0.0815, abs=5e-4)
    assert relative(quantizer, GAUSSIAN) <= bound == pytest.approx(0.126, abs=5e-4)


@pytest.mark.parametrize("s", [1, 2, 4, 16])
def test_even_levels_leave_few_numbers(s):
    quantizer = Quantizer(qsgd(s), bucket=WHOLE)
    for v in (GAUSSIAN, np.ones(4096), 0.9 ** np.arange(400)):
        assert nonzero(quantizer, v) <= s * (s + np.sqrt(v.size))


@settings(deadline=None)  # the first example compiles
@given(vectors, st.sampled_from([q for q in QUANTIZERS if q.rounding == "random"]))
def test_no_vector_has_more_variance_than_the_bound(v, quantizer):
    assert quantizer.variance(v) <= quantizer.relative_variance(v.size) * square(v) * (1 + 1e-9) + 1e-70


@settings(deadline=None)  # the first example compiles
@given(vectors, st.sampled_from([qsgd(7), e3m0(), nuqsgd(2)]), st.sampled_from([4, 8, 512]))
def test_the_nearest_level_is_contractive(v, levels, bucket):
    quantizer = Quantizer(levels, bucket=bucket, norm="max", rounding="nearest")
    error = square(quantizer.decode(quantizer.encode(v), np.empty_like(v)) - v)
    assert error <= (1 - quantizer.contraction(v.size)) * square(v) * (1 + 1e-9) + 1e-70
    assert quantizer.variance(v) == 0.0


def test_the_contraction_is_reached():
    """By numbers halfway between the two highest levels, beside a 1."""
    v = np.full(512, 0.75)
    v[0] = 1.0
    quantizer = Quantizer(e3m0(), norm="max", rounding="nearest")
    error = square(quantizer.decode(quantizer.encode(v), np.empty_like(v)) - v)
    assert error / square(v) == pytest.approx(1 - quantizer.contraction(512), rel=1e-6)


@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trips_of_any_shape(quantizer, dtype):
    for shape in ((1,), (7,), (3, 5), (1000,)):
        v = np.random.default_rng(1).standard_normal(shape).astype(dtype)
        message = quantizer.encode(v, step=3, seed=4)
        assert message.dtype == np.uint8 and len(message) == quantizer.bytes(v.size) and len(message) % 8 == 0
        got = quantizer.decode(message, np.full_like(v, 9))
        np.testing.assert_array_equal(quantizer.encode(v, 3, 4), message)
        twice = got.copy()
        quantizer.add(message, twice)
        np.testing.assert_allclose(twice, 2 * got)
        assert square(got - v) <= 20 * (quantizer.variance(v) + square(v))
        flat = got.reshape(-1)
        for start in range(0, v.size, quantizer.bucket):
            part = slice(start, start + quantizer.bucket)
            x, y = v.reshape(-1)[part].astype(float), flat[part].astype(float)
            scale = abs(x).max() if quantizer.norm == "max" else np.sqrt(square(x))
            assert abs(y[:, None] - np.sign(y)[:, None] * scale * np.array(quantizer.levels)).min(axis=1).max() <= 3e-7 * scale


def test_messages_are_as_long_as_they_say():
    assert Quantizer(e3m0(), bucket=512).bytes(65536) == 65536 // 2 + 4 * 128
    assert Quantizer(qsgd(1), bucket=8192).bytes(65536) == 65536 // 4 + 4 * 8
    assert Quantizer(qsgd(127)).bytes(3) == 8


def test_other_steps_and_seeds_draw_other_numbers():
    v, quantizer = GAUSSIAN[:1000], Quantizer(qsgd(7))
    messages = {quantizer.encode(v, step, seed).tobytes() for step in range(3) for seed in range(3)}
    assert len(messages) == 9


def test_zeros_are_sent_as_zeros():
    for quantizer in QUANTIZERS:
        v = np.zeros(21)
        assert not quantizer.encode(v).any() and not quantizer.decode(quantizer.encode(v), np.ones(21)).any()
        assert quantizer.variance(v) == 0.0
        assert quantizer.fitted(v) == quantizer


def test_fitted_levels_have_no_more_variance():
    for quantizer in (Quantizer(qsgd(7)), Quantizer(nuqsgd(6), norm="max"), Quantizer(qsgd(7), bucket=32)):
        v = GAUSSIAN[:5000] * np.exp(np.arange(5000) / 1000)
        fitted = quantizer.fitted(v)
        assert fitted.variance(v) < quantizer.variance(v) and len(fitted.levels) == 8
        assert fitted.fitted(v).variance(v) == pytest.approx(fitted.variance(v), rel=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused(bad):
    v = np.ones(600)
    v[550] = bad
    for quantizer in QUANTIZERS:
        with pytest.raises(ValueError, match="a NaN or an infinite number was given, expected finite numbers"):
            quantizer.encode(v)
        message = quantizer.message(v)
        quantizer.write(v, message)  # among ranks it goes out, for all to see
        assert not np.isfinite(quantizer.decode(message, np.empty_like(v))[550])


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"levels": (0.0,)}, "expected increasing numbers from 0 to 1"),
        ({"levels": (0.0, 0.5, 0.5, 1.0)}, "expected increasing numbers from 0 to 1"),
        ({"levels": (0.1, 1.0)}, "expected increasing numbers from 0 to 1"),
        ({"levels": qsgd(2), "bits": 2}, "bits = 2 were given for 3 levels"),
        ({"levels": qsgd(2), "bits": 3}, "expected bits = 2, 4 or 8"),
        ({"levels": qsgd(128)}, "for 129 levels"),
        ({"levels": qsgd(2), "bucket": 6}, "bucket = 6 was given, expected a multiple of 4"),
        ({"levels": qsgd(2), "norm": "l1"}, "norm = 'l1' was given"),
        ({"levels": qsgd(2), "rounding": "up"}, "rounding = 'up' was given"),
        ({"levels": qsgd(2), "rounding": "nearest"}, "expected norm = 'max'"),
    ],
)
def test_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        Quantizer(**arguments)


def test_arrays_and_messages_that_do_not_fit():
    quantizer = Quantizer(qsgd(3))
    with pytest.raises(TypeError, match="expected contiguous float32 or float64"):
        quantizer.encode(np.ones((4, 4))[:, ::2])
    with pytest.raises(TypeError, match="int64"):
        quantizer.encode(np.ones(4, int))
    with pytest.raises(ValueError, match=r"shape \(8,\) was given, expected uint8 of shape \(56,\)"):
        quantizer.decode(np.zeros(8, np.uint8), np.empty(100))
