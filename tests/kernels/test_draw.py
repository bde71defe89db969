"""Random numbers by counting: known values, one stream on every path, distributions, and images that move as they should."""

from __future__ import annotations

import array_api_strict as strict
import numpy as np
import pytest

from paralift.kernels import draw

N, SHAPE = 400, (5, 6, 2)
KEYS = draw.sample_keys(3, 1, np.arange(N))
G = 0x9E3779B97F4A7C15


def images():
    return np.random.default_rng(0).standard_normal((N, *SHAPE))


def test_numbers_are_those_of_splitmix64():
    """The first five of the generator's reference implementation from the state 1234567."""
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [draw.mix((1234567 + (j + 1) * G) & draw.MASK) for j in range(5)] == known


def test_keys_are_hashes_of_seed_epoch_and_number():
    assert KEYS.dtype == np.uint64 and len(set(KEYS)) == N
    base = draw.mix((draw.mix(3) + G) & draw.MASK)
    assert int(KEYS[7]) == draw.mix((base + 8 * G) & draw.MASK)
    shifted = np.empty(10, np.uint64)
    draw.fill_keys(3, 1, 100, np.arange(10), shifted)  # a shard that begins at sample 100
    np.testing.assert_array_equal(shifted, KEYS[100:110])
    for other in (draw.sample_keys(4, 1, np.arange(N)), draw.sample_keys(3, 2, np.arange(N))):
        assert not set(other) & set(KEYS)


@pytest.mark.parametrize("stream", [1, 7, -1, -3])
def test_kernels_draw_the_numbers_of_the_formula(stream):
    bits = draw.bits_formula(KEYS, stream, 9)
    start = [draw.mix((int(k) + (stream + 1) * draw.H) & draw.MASK) for k in KEYS[:3]]
    assert [[int(b) for b in row] for row in bits[:3]] == [
        [draw.mix((s + (j + 1) * G) & draw.MASK) for j in range(9)] for s in start
    ]
    out = np.empty((N, 9))
    draw.drop(np.ones((N, 9)), KEYS, stream, 0.3, out)
    np.testing.assert_array_equal(out > 0, bits >= draw.threshold(0.3))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_drop_has_the_expectation_of_its_input(rate):
    x = np.full((N, 250), 2.0)
    out = np.empty_like(x)
    draw.drop(x, KEYS, 1, rate, out)
    dropped, n = (out == 0).mean(), x.size
    assert abs(dropped - rate) <= 5 * np.sqrt(rate * (1 - rate) / n)
    np.testing.assert_allclose(out[out != 0], 2.0 / (1.0 - rate))
    other = np.empty_like(x)
    draw.drop(x, KEYS, 2, rate, other)
    if rate:  # masks of two blocks have nothing to do with each other, nor those of two samples or two entries
        kept, again = (out > 0) - (1 - rate), (other > 0) - (1 - rate)
        for a, b in ((kept, again), (kept[1:], kept[:-1]), (kept[:, 1:], kept[:, :-1])):
            assert abs((a * b).mean()) <= 5 * rate * (1 - rate) / np.sqrt(a.size)


def test_angles_and_lengths_of_normal_numbers_are_accurate():
    turns = np.concatenate([np.linspace(0, 1, 1000, endpoint=False), np.arange(8) / 8, [1 - 2.0**-53]])
    for turn in turns:
        cosine, sine = draw.circle(turn)
        exact = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
        np.testing.assert_allclose([cosine, sine], exact, rtol=0, atol=2e-15)
    assert draw.normal_radius(np.uint64(0)) == pytest.approx(np.sqrt(2 * 53 * np.log(2)))
    assert draw.normal_radius(np.uint64(draw.MASK)) == 0.0


def test_noise_is_normal():
    for width in (101, 100):
        x = np.zeros((N, width))
        draw.noise(x, KEYS, -1, 2.0)
        z = x.ravel() / 2.0
        assert abs(z.mean()) < 5 / np.sqrt(z.size) and z.var() == pytest.approx(1.0, abs=5 * np.sqrt(2 / z.size))
        assert (z**4).mean() == pytest.approx(3.0, abs=5 * np.sqrt(96 / z.size))
        assert abs((x[:, 1:] * x[:, :-1]).mean()) < 5 * 4.0 / np.sqrt(x.size)


@pytest.mark.parametrize("edge", [False, True])
def test_images_move_by_all_steps_and_nothing_else(edge):
    x = images()
    out, seen = x.copy(), set()
    draw.shift(out, KEYS, -1, 2, edge)
    mode = "edge" if edge else "constant"
    for before, after in zip(x, out, strict=True):
        padded = np.pad(before, ((2, 2), (2, 2), (0, 0)), mode=mode)
        found = [
            (a, b) for a in range(5) for b in range(5) if np.array_equal(padded[a : a + 5, b : b + 6], after)
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) == 25


def test_every_second_image_is_mirrored():
    x = images()
    out = x.copy()
    draw.flip(out, KEYS, -2, 0.5)
    mirrored = [np.array_equal(a[:, ::-1], b) for a, b in zip(x, out, strict=True)]
    same = [np.array_equal(a, b) for a, b in zip(x, out, strict=True)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))
    assert abs(np.mean(mirrored) - 0.5) < 2.5 / np.sqrt(N)


CALLS = {
    "drop": lambda x, keys: draw.drop(flat(x), keys, 3, 0.4, flat(x)),
    "shift": lambda x, keys: draw.shift(x, keys, -1, 2, False),
    "crop": lambda x, keys: draw.shift(x, keys, -1, 2, True),
    "flip": lambda x, keys: draw.flip(x, keys, -1, 0.5),
    "noise": lambda x, keys: draw.noise(flat(x), keys, -1, 0.3),
}


def flat(x):
    return x.reshape(x.shape[0], -1) if isinstance(x, np.ndarray) else x


@pytest.mark.parametrize("name", CALLS)
def test_formulas_on_a_device_do_what_kernels_do(name):
    n, device = 12, strict.Device("device1")
    x = images()[:n]
    if name in ("drop", "noise"):
        x = x.reshape(n, -1)[:, :7]
    there = strict.asarray(x.tolist(), dtype=strict.float64, device=device)
    keys = strict.asarray(KEYS[:n].tolist(), dtype=strict.uint64, device=device)
    here = np.ascontiguousarray(x)
    CALLS[name](here, KEYS[:n])
    CALLS[name](there, keys)
    np.testing.assert_allclose(np.array(there.to_device(strict.Device("CPU_DEVICE"))), here, rtol=1e-13, atol=1e-13)


def test_rows_do_not_depend_on_the_batch():
    for call in CALLS.values():
        whole, part = images(), images()[30:50]
        call(whole, KEYS)
        call(part, KEYS[30:50])
        np.testing.assert_array_equal(part, whole[30:50])


def test_float32_draws_the_same():
    for name, call in CALLS.items():
        double, single = images(), images().astype(np.float32)
        call(double, KEYS)
        call(single, KEYS)
        np.testing.assert_allclose(single, double, rtol=1e-5, atol=1e-5, err_msg=name)
