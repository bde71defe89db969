"""The order of work: every micro-batch once forward, then once back, and no deadlock for any number of stages."""

from hypothesis import given, settings
from hypothesis import strategies as st

from paralift.parallel.schedule import one_forward_one_back


@given(st.integers(1, 8), st.integers(1, 12))
@settings(deadline=None, max_examples=80, derandomize=True)
def test_each_micro_batch_goes_forward_then_back(stages, micro_batches):
    for stage in range(stages):
        work = list(one_forward_one_back(stage, stages, micro_batches))
        forward = [m for is_forward, m in work if is_forward]
        back = [m for is_forward, m in work if not is_forward]
        assert forward == back == list(range(micro_batches))
        in_flight = 0
        for is_forward, _ in work:
            in_flight += 1 if is_forward else -1
            assert 0 <= in_flight <= stages - stage


@given(st.integers(1, 8), st.integers(1, 12))
@settings(deadline=None, max_examples=80, derandomize=True)
def test_no_stage_waits_for_ever(stages, micro_batches):
    """Run the stages as far as their neighbours let them, again and again: all work gets done."""
    work = [list(one_forward_one_back(s, stages, micro_batches)) for s in range(stages)]
    done = [set() for _ in range(stages)]
    for _ in range(2 * stages * micro_batches + 2):
        for s in range(stages):
            while work[s]:
                is_forward, m = work[s][0]
                peer = s - 1 if is_forward else s + 1
                if 0 <= peer < stages and (is_forward, m) not in done[peer]:
                    break
                done[s].add(work[s].pop(0))
    assert not any(work)
