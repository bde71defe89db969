"""The unflushed step against its definition, written out on one rank: the first half of a batch reads a forecast."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import paralift as pl
from paralift.data import Sampler
from paralift.parallel.batch import Batch
from paralift.parallel.plan import Plan
from paralift.parallel.schedule import one_in_one_out


def network():
    return pl.Sequential(pl.Linear(5, 7), pl.Tanh(), pl.Linear(7, 6), pl.Softplus(), pl.Linear(6, 3), pl.Softmax())


def emulated(net, x, y, rule, epochs, batch_size, method):
    """Train by `value_and_grad`: the even places of batch k see theta_hat_k, the odd ones theta_k."""
    sampler = Sampler(len(x), batch_size, 3)
    params = net.init(3, dtype="float64")
    keys = [(b, n) for b, arrays in params.items() for n in arrays]
    flat = np.concatenate([params[b][n].ravel() for b, n in keys])

    def views(theta):
        ends = np.cumsum([params[b][n].size for b, n in keys])
        parts = dict(zip(keys, np.split(theta, ends[:-1]), strict=True))
        return {b: {n: parts[b, n].reshape(a.shape) for n, a in arrays.items()} for b, arrays in params.items()}

    gradient_of = pl.value_and_grad(net, method)

    def summed(theta, rows):
        if not len(rows):
            return np.zeros_like(flat)
        _, grads = gradient_of(views(theta), x[rows], y[rows])
        return len(rows) * np.concatenate([grads[b][n].ravel() for b, n in keys])

    state, t = rule.init(flat), 0
    for epoch in range(epochs):
        forecast, order = flat.copy(), sampler.epoch(epoch)
        for rows in order:
            t += 1
            first = summed(forecast, rows[::2])
            both = first + summed(flat, rows[1::2])
            copies = {name: a.copy() for name, a in state.items()}
            forecast = flat.copy()
            rule.step(forecast, first / len(rows[::2]), copies, [], t)
            rule.step(flat, both / len(rows), state, [], t)
    return views(flat)


@pytest.mark.parametrize("rule", [pl.optim.SGD(0.1), pl.optim.SGD(0.05, momentum=0.9, nesterov=True), pl.optim.Adam(1e-2)])
@pytest.mark.parametrize("method", [pl.methods.nudged(), pl.methods.backprop()], ids=["nudged", "backprop"])
@pytest.mark.parametrize("batch_size", [8, 7], ids=["even", "odd"])
def test_equals_the_definition(rule, method, batch_size):
    """To 1e-9: sums over the rows of a batch are taken in another order."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 5)), rng.integers(0, 3, 50)
    net = network()
    plan = Plan(1, 1, (0, 3), 4, "unflushed")
    found = pl.fit(
        net, (x, y), method=method, optimizer=rule, plan=plan, epochs=3, batch_size=batch_size, seed=3, dtype="float64",
        progress=False,
    )  # fmt: skip
    expected = emulated(net, x, y, rule, 3, batch_size, method)
    for block, arrays in expected.items():
        for name, want in arrays.items():
            np.testing.assert_allclose(found.params[block][name], want, rtol=0, atol=1e-9)


def test_forecasts_differ_from_the_synchronous_step():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 5)), rng.integers(0, 3, 50)
    runs = {
        schedule: pl.fit(network(), (x, y), schedule=schedule, epochs=1, batch_size=8, dtype="float64", progress=False)
        for schedule in ("flush", "unflushed")
    }
    a, b = (runs[s].params for s in runs)
    assert any(np.abs(a[block][n] - b[block][n]).max() > 1e-6 for block in a for n in a[block])


@given(st.integers(1, 8), st.integers(1, 2), st.integers(0, 5), st.integers(1, 12))
@settings(deadline=None, max_examples=80, derandomize=True)
def test_a_half_of_the_wave_starts_when_the_one_before_last_has_come_back(stages, lead, more, halves):
    """With M / 2 >= lead (S - 1), on every stage: its buffers are free, and its gradient is known."""
    parts = max(1, lead * (stages - 1)) + more
    for stage in range(stages):
        ahead, back = lead * (stages - stage - 1), -1
        for is_forward, i in one_in_one_out(ahead, 0, parts * halves):
            if not is_forward:
                assert i == back + 1
                back = i
            elif i % parts == 0:
                assert back >= (i // parts - 1) * parts - 1


@given(st.integers(1, 8), st.integers(1, 2), st.integers(0, 5), st.integers(1, 4))
@settings(deadline=None, max_examples=80, derandomize=True)
def test_no_stage_waits_for_ever(stages, lead, more, halves):
    """Run the stages as far as their neighbours let them, again and again: all work but what is in flight gets done."""
    n = (max(1, lead * (stages - 1)) + more) * halves
    work = [list(one_in_one_out(lead * (stages - s - 1), 0, n)) for s in range(stages)]
    done = [set() for _ in range(stages)]
    for _ in range(2 * stages * n + 2):
        for s in range(stages):
            while work[s]:
                is_forward, i = work[s][0]
                peer = s - 1 if is_forward else s + 1
                if 0 <= peer < stages and (is_forward, i) not in done[peer]:
                    break
                done[s].add(work[s].pop(0))
    assert not any(work)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), st.booleans())
@settings(deadline=None, max_examples=80, derandomize=True)
def test_halves_do_not_depend_on_the_number_of_shards(samples, batch_size, shards, shuffle):
    """All shards' halves of a batch are those of one shard, and their sizes are counted over all shards."""
    one = Sampler(samples, batch_size, 5, shuffle)
    many = [Sampler(samples, batch_size, 5, shuffle, shards, s) for s in range(shards)]
    for t in range(one.n_batches):
        size = 2 * one.batch_global(t)  # two rows a sample
        whole = Batch(one.epoch(0)[t], size, 0, 0).halves(2)
        parts = [Batch(s.epoch(0)[t] + s.local_range[0], size, 0, 0, place=s.batch_place(t)).halves(2) for s in many]
        for h in (0, 1):
            assert sorted(whole[h].indices) == sorted(i for part in parts for i in part[h].indices)
            assert {part[h].size for part in parts} == {2 * len(whole[h].indices)} == {whole[h].size}


def test_wrong_schedules_and_too_few_micro_batches():
    with pytest.raises(ValueError, match="schedule is 'gpipe'"):
        Plan(1, 2, (0, 1, 2), schedule="gpipe")
    with pytest.raises(ValueError, match=r"at least 6 micro-batches for 4 stages; give more, or schedule=\"flush\""):
        Plan(1, 4, (0, 1, 2, 3, 4), 4)
    with pytest.raises(ValueError, match=r"an even number of micro-batches.*give one more, or schedule=\"flush\""):
        Plan(1, 2, (0, 1, 2), 3)
    assert Plan(1, 4, (0, 1, 2, 3, 4)).micro_batches == 6
    assert Plan(1, 4, (0, 1, 2, 3, 4), 2, "flush").rows(1) == [(0, 1)]
    assert Plan(1, 4, (0, 1, 2, 3, 4)).rows(1) == [(0, 0), (0, 0), (0, 1)]
