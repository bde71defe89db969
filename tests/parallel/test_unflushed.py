"""The unflushed step against its definition, written out on one rank: gradients one step late, at extrapolated parameters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import paralift as pl
from paralift.data import Sampler
from paralift.parallel.plan import Plan
from paralift.parallel.schedule import one_in_one_out


def network():
    return pl.Sequential(pl.Linear(5, 7), pl.Tanh(), pl.Linear(7, 6), pl.Softplus(), pl.Linear(6, 3), pl.Softmax())


def emulated(net, x, y, rule, kappa, epochs, batch_size, method):
    """Train by `value_and_grad`: batch k of an epoch sees theta_hat_k, and its gradient is applied after batch k + 1's pass."""
    sampler = Sampler(len(x), batch_size, 3)
    params = net.init(3, dtype="float64")
    keys = [(b, n) for b, arrays in params.items() for n in arrays]
    flat = np.concatenate([params[b][n].ravel() for b, n in keys])

    def views(theta):
        ends = np.cumsum([params[b][n].size for b, n in keys])
        parts = dict(zip(keys, np.split(theta, ends[:-1]), strict=True))
        return {b: {n: parts[b, n].reshape(a.shape) for n, a in arrays.items()} for b, arrays in params.items()}

    gradient_of = pl.value_and_grad(net, method)
    state, t = rule.init(flat), 0
    for epoch in range(epochs):
        history, late, order = [flat.copy()], [], sampler.epoch(epoch)
        for k in range(sampler.n_batches):
            newest = history[max(0, k - 1)]
            look = newest + kappa * (newest - history[k - 2]) if k >= 2 else newest
            _, grads = gradient_of(views(look), x[order[k]], y[order[k]])
            late.append(np.concatenate([grads[b][n].ravel() for b, n in keys]))
            t += 1
            rule.step(flat, late[-1], state, [], t)
            history.append(flat.copy())
    return views(flat)


@pytest.mark.parametrize("kappa", [0.0, 1.0, 1.5])
@pytest.mark.parametrize("rule", [pl.optim.SGD(0.1), pl.optim.SGD(0.05, momentum=0.9, nesterov=True), pl.optim.Adam(1e-2)])
@pytest.mark.parametrize("method", [pl.methods.nudged(), pl.methods.backprop()], ids=["nudged", "backprop"])
def test_equals_the_definition(rule, kappa, method):
    """To 1e-9: sums over the rows of a batch are taken in another order."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 5)), rng.integers(0, 3, 50)
    net = network()
    plan = Plan(1, 1, (0, 3), 2, "unflushed")
    found = pl.fit(
        net, (x, y), method=method, optimizer=rule, kappa=kappa, plan=plan, epochs=3, batch_size=8, seed=3, dtype="float64",
        progress=False,
    )  # fmt: skip
    expected = emulated(net, x, y, rule, kappa, 3, 8, method)
    for block, arrays in expected.items():
        for name, want in arrays.items():
            np.testing.assert_allclose(found.params[block][name], want, rtol=0, atol=1e-9)


def test_late_gradients_differ_from_the_synchronous_step():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 5)), rng.integers(0, 3, 50)
    runs = {
        schedule: pl.fit(network(), (x, y), schedule=schedule, epochs=1, batch_size=8, dtype="float64", progress=False)
        for schedule in ("flush", "unflushed")
    }
    a, b = (runs[s].params for s in runs)
    assert any(np.abs(a[block][n] - b[block][n]).max() > 1e-6 for block in a for n in a[block])


@given(st.integers(1, 8), st.integers(0, 5), st.integers(1, 6))
@settings(deadline=None, max_examples=80, derandomize=True)
def test_a_batch_of_the_wave_starts_when_all_but_one_have_come_back(stages, more, batches):
    """With M >= S - 1, the last micro-batch of batch k - 2 is back on every stage before the first of batch k goes forward."""
    parts = max(1, stages - 1) + more
    for stage in range(stages):
        ahead, back = stages - stage - 1, -1
        for is_forward, i in one_in_one_out(ahead, 0, parts * batches):
            if not is_forward:
                assert i == back + 1
                back = i
            elif i % parts == 0:
                assert back >= (i // parts - 1) * parts - 1


@given(st.integers(1, 8), st.integers(0, 5), st.integers(1, 4))
@settings(deadline=None, max_examples=80, derandomize=True)
def test_no_stage_waits_for_ever(stages, more, batches):
    """Run the stages as far as their neighbours let them, again and again: all work but what is in flight gets done."""
    n = (max(1, stages - 1) + more) * batches
    work = [list(one_in_one_out(stages - s - 1, 0, n)) for s in range(stages)]
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


def test_wrong_schedules_and_too_few_micro_batches():
    with pytest.raises(ValueError, match="schedule is 'gpipe'"):
        Plan(1, 2, (0, 1, 2), schedule="gpipe")
    with pytest.raises(ValueError, match=r"at least 3 micro-batches for 4 stages; give more, or schedule=\"flush\""):
        Plan(1, 4, (0, 1, 2, 3, 4), 2)
    assert Plan(1, 4, (0, 1, 2, 3, 4)).micro_batches == 3
    assert Plan(1, 4, (0, 1, 2, 3, 4), 2, "flush").rows(1) == [(0, 1)]
    assert Plan(1, 4, (0, 1, 2, 3, 4)).rows(1) == [(0, 0), (0, 0), (0, 1)]
