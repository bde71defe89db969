"""The sampler: every sample once an epoch, and the same batches for any number of shards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paralift.data import Sampler, even_range

CASES = settings(deadline=None, max_examples=60, derandomize=True)
SIZES = {"n": st.integers(1, 120), "size": st.integers(1, 150), "seed": st.integers(0, 2**40)}


def global_batches(n, size, seed, shuffle, shards, e):
    """The batches of each shard in global numbers, one after another in the order of the shards."""
    parts = []
    for shard in range(shards):
        sampler = Sampler(n, size, seed, shuffle, shards, shard)
        start, _ = sampler.local_range
        parts.append([rows + start for rows in sampler.epoch(e)])
    return [np.concatenate(rows) for rows in zip(*parts, strict=True)]


@CASES
@example(n=7, size=7, seed=0, shuffle=True)
@example(n=1, size=150, seed=0, shuffle=True)
@given(**SIZES, shuffle=st.booleans())
def test_an_epoch_holds_every_sample_once(n, size, seed, shuffle):
    sampler = Sampler(n, size, seed, shuffle)
    batches = list(sampler.epoch(3))
    assert len(batches) == len(sampler.epoch(3)) == sampler.n_batches == -(-n // size)
    assert [len(rows) for rows in batches] == [sampler.batch_global(t) for t in range(sampler.n_batches)]
    assert all(len(rows) == size for rows in batches[:-1])
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(n))


@CASES
@example(n=5, size=3, seed=1, shuffle=True, shards=8)
@example(n=4, size=9, seed=1, shuffle=True, shards=3)
@given(**SIZES, shuffle=st.booleans(), shards=st.integers(1, 12))
def test_batches_do_not_depend_on_the_number_of_shards(n, size, seed, shuffle, shards):
    alone = global_batches(n, size, seed, shuffle, 1, 2)
    together = global_batches(n, size, seed, shuffle, shards, 2)
    assert len(alone) == len(together)
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


@CASES
@given(**SIZES, shards=st.integers(1, 12))
def test_shards_read_contiguous_ranges_and_count_their_rows(n, size, seed, shards):
    samplers = [Sampler(n, size, seed, True, shards, shard) for shard in range(shards)]
    ends = [0] + [sampler.local_range[1] for sampler in samplers]
    assert [sampler.local_range[0] for sampler in samplers] == ends[:-1] and ends[-1] == n
    for t in range(samplers[0].n_batches):
        assert sum(sampler.batch_rows(t) for sampler in samplers) == samplers[0].batch_global(t)
    for sampler in samplers:
        rows = [len(batch) for batch in sampler.epoch(0)]
        assert rows == [sampler.batch_rows(t) for t in range(sampler.n_batches)]
        assert max(rows) == sampler.batch_rows(0)


@CASES
@given(**SIZES)
def test_batch_t_takes_the_t_th_sample_of_each_slot(n, size, seed):
    epoch = Sampler(n, size, seed).epoch(4)
    drawn = [[] for _ in range(size)]
    slot_of = {i: slot for slot in range(size) for i in range(slot * n // size, (slot + 1) * n // size)}
    for rows in epoch:
        slots = [slot_of[int(i)] for i in rows]
        assert slots == sorted(set(slots))
        for i, slot in zip(rows, slots, strict=True):
            drawn[slot].append(int(i))
    for slot, samples in enumerate(drawn):
        low, high = slot * n // size, (slot + 1) * n // size
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 4, slot])))
        assert samples == (rng.permutation(high - low) + low).tolist()


def test_a_small_epoch_without_shuffle_by_hand():
    epoch = Sampler(7, 3, seed=0, shuffle=False).epoch(0)
    assert [rows.tolist() for rows in epoch] == [[0, 2, 4], [1, 3, 5], [6]]


def test_epochs_and_seeds_differ_and_repeat_exactly():
    def order(seed, e, shuffle=True):
        return Sampler(1000, 8, seed, shuffle).epoch(e).order

    np.testing.assert_array_equal(order(1, 0), order(1, 0))
    assert np.any(order(1, 0) != order(1, 1)) and np.any(order(1, 0) != order(2, 0))
    np.testing.assert_array_equal(order(1, 0, False), order(2, 5, False))


def test_every_sample_of_a_slot_is_equally_likely_to_come_first():
    first = [Sampler(6, 1, seed=3).epoch(e)[0][0] for e in range(1200)]
    assert np.abs(np.bincount(first, minlength=6) - 200).max() < 60  # 4.6 standard deviations


def test_the_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    Sampler(50, 4, seed=0).epoch(0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_a_batch_is_a_view_of_the_order():
    epoch = Sampler(100, 10, seed=0).epoch(0)
    assert np.shares_memory(epoch[3], epoch.order) and epoch.order.dtype == np.intp


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_samples": 0}, "n_samples=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"seed": -1}, "seed=-1"),
        ({"shards": 0}, "shards=0"),
        ({"shard": -1}, "shard=-1"),
        ({"shards": 2, "shard": 2}, "shard < shards=2"),
    ],
)
def test_numbers_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Sampler(**{"n_samples": 10, "batch_size": 3, "seed": 0, **change})


def test_integers_of_numpy_are_taken_and_floats_refused():
    assert Sampler(np.int32(10), np.int64(3), np.uint8(0)) == Sampler(10, 3, 0)
    with pytest.raises(TypeError, match="batch_size=2.5"):
        Sampler(10, 2.5, 0)


@pytest.mark.parametrize("t", [-1, 4])
def test_batches_outside_the_epoch_are_refused(t):
    sampler = Sampler(10, 3, 0)
    for ask in (sampler.batch_rows, sampler.batch_global, sampler.epoch(0).__getitem__):
        with pytest.raises(IndexError, match=f"batch {t} .* 0 to 3"):
            ask(t)


def test_a_negative_epoch_is_refused():
    with pytest.raises(ValueError, match="epoch=-1"):
        Sampler(10, 3, 0).epoch(-1)


@CASES
@given(n=st.integers(0, 100), shards=st.integers(1, 30))
def test_even_ranges_divide_evenly(n, shards):
    ranges = [even_range(n, shards, shard) for shard in range(shards)]
    assert [i for start, stop in ranges for i in range(start, stop)] == list(range(n))
    lengths = [stop - start for start, stop in ranges]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("wrong", [(-1, 2, 0), (5, 0, 0), (5, 2, 2), (5, 2, -1)])
def test_even_range_refuses_numbers_out_of_range(wrong):
    with pytest.raises(ValueError, match="expected n >= 0"):
        even_range(*wrong)
