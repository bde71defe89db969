"""The recurrence of waves against the events themselves: every stage takes its list of work as its neighbours let it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paralift.parallel import timeline
from paralift.parallel.schedule import one_forward_one_back, one_in_one_out

seconds = st.floats(0.01, 10)


@st.composite
def waves(draw, least=1, messages=True):
    stages = draw(st.integers(1, 5))
    micro_batches = draw(st.integers(max(least, stages - 1 if least > 1 else 1), max(least, stages) + 4))
    lists = [draw(st.lists(seconds, min_size=stages, max_size=stages)) for _ in range(3)]
    between = [draw(st.lists(seconds, min_size=stages - 1, max_size=stages - 1)) for _ in range(2)]
    return (*map(np.array, lists), *(np.array(b, float) * messages for b in between), micro_batches)


def events(work, forward, back, rest, up, down, micro_batches):
    """Return when each (stage, is forward, micro-batch) ends, with what follows a batch's last one, by going round."""
    stages = len(forward)
    lists, ends, free = [list(w) for w in work], {}, [0.0] * stages
    finished = {}
    while any(lists):
        for s in range(stages):
            while lists[s]:
                is_forward, i = lists[s][0]
                peer = s - 1 if is_forward else s + 1
                start = free[s]
                if 0 <= peer < stages:
                    if (peer, is_forward, i) not in ends:
                        break
                    start = max(start, ends[peer, is_forward, i] + (up[peer] if is_forward else down[s]))
                lists[s].pop(0)
                free[s] = ends[s, is_forward, i] = start + (forward[s] if is_forward else back[s])
                if not is_forward and (i + 1) % micro_batches == 0:
                    free[s] += rest[s]
                    finished[s, i // micro_batches] = free[s]
    return finished


@given(waves())
@settings(deadline=None, max_examples=100, derandomize=True)
def test_flushed_wave(wave):
    stages, m = len(wave[0]), wave[-1]
    work = [one_forward_one_back(s, stages, m) for s in range(stages)]
    assert timeline.flushed(*wave) == pytest.approx(max(events(work, *wave).values()))


@given(waves(), st.integers(1, 4), st.sampled_from([1, 2]))
@settings(deadline=None, max_examples=150, derandomize=True)
def test_batches_without_a_flush(wave, batches, lead):
    stages, m = len(wave[0]), wave[-1]
    n = m * batches
    ahead = [min(n, lead * (stages - s - 1)) for s in range(stages)]
    work = [[*one_in_one_out(a, 0, n), *((False, i) for i in range(n - a, n))] for a in ahead]
    expected = events(work, *wave)
    found = timeline.ends(*wave, batches, lead)
    assert {key: found[key] for key in expected} == pytest.approx(expected)


@given(waves(least=2, messages=False))
@settings(deadline=None, max_examples=100, derandomize=True)
def test_without_a_flush_a_step_is_shorter_and_no_shorter_than_the_slowest_stage(wave):
    forward, back, rest, _, _, m = wave
    found = timeline.unflushed(*wave)
    assert (m * (forward + back) + rest).max() <= found <= timeline.flushed(*wave) * (1 + 1e-12)


@given(waves(least=2, messages=False))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_nobody_waits_without_a_flush_if_messages_and_gradients_are_free(wave):
    forward, back, rest, up, down, m = wave
    found = timeline.unflushed(forward, back, 0 * rest, up, down, m)
    assert found == pytest.approx((m * (forward + back)).max())


@given(waves(least=2))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_pace_without_a_flush_is_that_of_a_long_run(wave):
    done = timeline.ends(*wave, batches=24)[0]
    assert timeline.unflushed(*wave) == pytest.approx((done[-1] - done[3]) / 20, rel=0.05)


def test_the_known_bubble():
    ones = np.ones(4)
    found = timeline.flushed(ones, ones, 0 * ones, np.zeros(3), np.zeros(3), 8)
    assert found == 2 * (8 + 4 - 1)
