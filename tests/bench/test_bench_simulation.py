"""The simulation of the schedules: known answers, and properties of every event."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paralift.bench.simulation import Link, Pipeline, simulate
from paralift.bench.simulation.events import DOWN, RING, UP
from paralift.bench.simulation.orders import BACK, FORWARD, GRADIENT, UPDATE, orders
from paralift.parallel.schedule import one_forward_one_back, one_in_one_out

F, B, G, U = 1.0, 1.75, 0.5, 0.25


def even(stages, micro_batches, bytes_=0.0, **more):
    n = stages
    parts = [F] * n, [B] * n, [G] * n, [U] * n, [bytes_] * (n - 1), [bytes_] * (n - 1)
    return Pipeline(*parts, [more.pop("sum_bytes", 0.0)] * n, micro_batches, **more)


@pytest.mark.parametrize("schedule", ["unflushed", "flush"])
@pytest.mark.parametrize("micro_batches", [1, 5])
def test_a_single_stage_takes_the_sum_of_its_work(schedule, micro_batches):
    found = simulate(even(1, micro_batches, schedule=schedule))
    assert found.seconds == pytest.approx(micro_batches * (F + B) + G + U, rel=1e-12)
    assert found.busy == pytest.approx(1.0)


@pytest.mark.parametrize(("stages", "micro_batches"), [(2, 1), (2, 4), (3, 3), (4, 2), (7, 20), (12, 3)])
def test_the_flushed_wave_has_its_known_bubble(stages, micro_batches):
    found = simulate(even(stages, micro_batches, schedule="flush"))
    passes = (micro_batches + stages - 1) * (F + B)
    assert found.seconds == pytest.approx(passes + G + U, rel=1e-12)
    assert found.bubble == pytest.approx((stages - 1) * (F + B) / (passes + G + U))


@pytest.mark.parametrize("lead", [1, 2])
@pytest.mark.parametrize("stages", range(1, 8))
@pytest.mark.parametrize("shards", [1, 3])
def test_the_unflushed_wave_has_none(stages, shards, lead):
    for micro_batches in range(max(1, lead * (stages - 1)), lead * (stages - 1) + 4):
        found = simulate(even(stages, micro_batches, shards=shards, lead=lead))
        assert found.seconds == pytest.approx(micro_batches * (F + B) + G + U, rel=1e-12)
        assert found.bubble == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("stages", [2, 3, 8])
def test_a_lead_of_one_pays_every_message_twice(stages):
    """From the first stage up and back again are S stages' work and 2 (S - 1) messages, in which S micro-batches pass."""
    flight, m = 0.1, 14
    found = simulate(even(stages, m, link=Link(flight)))
    assert found.seconds == pytest.approx(m * (F + B + 2 * flight * (stages - 1) / stages) + G + U, rel=2e-3)


def test_a_lead_of_two_hides_them():
    found = simulate(even(8, 14, lead=2, link=Link(0.1)))
    assert found.seconds == pytest.approx(14 * (F + B) + G + U, rel=1e-12)
    found = simulate(even(8, 14, lead=2, link=Link(0.5 * (F + B) + 0.1)))
    assert found.seconds > 14 * (F + B) + G + U + 0.1


def test_a_flushed_sum_shows_and_an_unflushed_one_does_not():
    link, shards = Link(0.01, 100.0), 5
    ring = 2 * (shards - 1) * (0.01 + 10.0 / shards / 100.0)
    found = simulate(even(1, 4, shards=shards, sum_bytes=10.0, schedule="flush", link=link))
    assert found.seconds == pytest.approx(4 * (F + B) + G + U + ring, rel=1e-12)
    assert found.exposed_sum == pytest.approx(ring / found.seconds, rel=1e-6)
    found = simulate(even(1, 4, shards=shards, sum_bytes=10.0, link=link))
    assert found.seconds == pytest.approx(4 * (F + B) + G + U, rel=1e-12)


def test_messages_take_the_processor_of_both_sides():
    found = simulate(even(3, 6, link=Link(overhead=0.1)))
    assert found.run.seconds.max() == pytest.approx(B + 0.2)
    assert found.seconds == pytest.approx(6 * (F + B + 0.4) + G + U)
    assert found.overhead[1] == pytest.approx(6 * 0.4 / found.seconds)
    found = simulate(even(1, 6, shards=3, buckets=2, link=Link(overhead=0.01)))
    assert found.seconds == pytest.approx(6 * (F + B) + G + U + 2 * 4 * 0.01)


def test_jitter_keeps_the_mean_of_the_work_repeats_by_its_seed_and_costs_time():
    pipeline = even(6, 40)
    still, noisy = simulate(pipeline), simulate(pipeline, jitter=0.1, seed=3, batches=5)
    assert noisy.run.seconds.mean() == pytest.approx(still.run.seconds.mean(), rel=0.01)
    assert noisy.seconds == simulate(pipeline, jitter=0.1, seed=3, batches=5).seconds
    assert noisy.seconds != simulate(pipeline, jitter=0.1, seed=4, batches=5).seconds
    assert noisy.seconds > 1.02 * still.seconds


def names(tasks):
    return [(int(t) % 4, int(t) // 4) for t in tasks]


@pytest.mark.parametrize(("stages", "micro_batches"), [(1, 2), (3, 2), (4, 5)])
def test_orders_are_those_of_the_training(stages, micro_batches):
    batches = 3
    unflushed = orders(even(stages, micro_batches), batches) if micro_batches >= stages - 1 else None
    flushed = orders(even(stages, micro_batches, schedule="flush"), batches)
    for stage in range(stages):
        one = [(FORWARD if f else BACK, i) for f, i in one_forward_one_back(stage, stages, micro_batches)]
        passes = [(kind, i + t * micro_batches) for t in range(batches) for kind, i in one]
        assert [t for t in names(flushed[stage]) if t[0] < GRADIENT] == passes
        if unflushed is not None:
            ahead, n = stages - 1 - stage, micro_batches * batches
            passes = [(FORWARD if f else BACK, i) for f, i in one_in_one_out(ahead, 0, n)]
            passes += [(BACK, i) for i in range(max(0, n - ahead), n)]
            assert [t for t in names(unflushed[stage]) if t[0] < GRADIENT] == passes


@st.composite
def pipelines(draw, least_shards=1, most_shards=3):
    stages = draw(st.integers(1, 5))
    lead = draw(st.integers(1, 2))
    numbers = st.floats(0.01, 3.0)

    def many(n, of=numbers):
        return draw(st.lists(of, min_size=n, max_size=n))

    link = Link(draw(st.floats(0, 1)), draw(st.floats(0.5, 20)), draw(st.floats(0, 0.1)), draw(st.booleans()))
    m = draw(st.integers(max(1, lead * (stages - 1)), lead * (stages - 1) + 3))
    return Pipeline(
        *(many(stages) for _ in range(4)), many(stages - 1), many(stages - 1), many(stages), m, link,
        draw(st.integers(least_shards, most_shards)), draw(st.sampled_from(["unflushed", "flush"])), draw(st.integers(1, 2)),
        lead,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(pipelines(), st.sampled_from([0.0, 0.3]))
def test_events_respect_every_rule(pipeline, jitter):
    found = simulate(pipeline, jitter=jitter, log=True)
    run, eps = found.run, 1e-9
    end = run.start + run.seconds
    assert (run.start >= 0).all() and (run.start[:, 1:] >= end[:, :-1] - eps).all()  # one task at a time
    when = [{task: (run.start[r, k], end[r, k]) for k, task in enumerate(names(run.tasks[r % run.stages]))}
            for r in range(pipeline.ranks)]  # fmt: skip
    for r in range(pipeline.ranks):
        stage, last = r % run.stages, run.stages - 1
        for (kind, i), (start, stop) in when[r].items():
            if kind == FORWARD:
                made = None if stage == 0 else (UP, r - 1, i)
            elif kind == BACK:
                made = None if stage == last else (DOWN, r + 1, i)
                assert start >= when[r][FORWARD, i][1] - eps
            else:
                made = None
            if made is not None:
                assert run.sent[made] >= when[made[1]][kind, i][1] - eps
                assert run.arrived[made] >= run.sent[made] + run.delay[made[0]] + run.wire[made[0], made[1] % run.stages] - eps
                assert start >= run.arrived[made] - eps
            if kind == GRADIENT:
                m = pipeline.micro_batches
                assert start >= max(when[r][BACK, j][1] for j in range(i * m, (i + 1) * m)) - eps
            if kind == UPDATE:
                others = range(stage, pipeline.ranks, run.stages)
                assert start >= max(when[o][GRADIENT, i][1] for o in others) - eps
                hops = pipeline.hops()
                before = (r - run.stages) % pipeline.ranks
                assert (run.arrived[RING, before, i * hops : (i + 1) * hops] <= start + eps).all()
                first = (FORWARD, (i + (2 if pipeline.schedule == "unflushed" else 1)) * pipeline.micro_batches)
                assert first not in when[r] or stop <= when[r][first][0] + eps  # the version that it reads is there


@settings(max_examples=60, deadline=None)
@given(pipelines())
def test_links_carry_one_message_after_another(pipeline):
    run = simulate(pipeline, log=True).run
    out, into = {}, {}
    for way, r, i in zip(*np.nonzero(run.sent >= 0), strict=True):
        to = {UP: r + 1, DOWN: r - 1, RING: (r + run.stages) % pipeline.ranks}[way]
        wire, lane = run.wire[way, r % run.stages], 0 if pipeline.link.shared else way
        out.setdefault((r, lane), []).append((run.sent[way, r, i], run.sent[way, r, i] + wire))
        into.setdefault((to, lane), []).append((run.arrived[way, r, i] - wire, run.arrived[way, r, i]))
    for spans in (*out.values(), *into.values()):
        spans = np.array(sorted(spans))
        assert (spans[1:, 0] >= spans[:-1, 1] - 1e-9).all()


@settings(max_examples=60, deadline=None)
@given(pipelines())
def test_no_run_is_shorter_than_its_busiest_rank_or_link(pipeline):
    run = simulate(pipeline, log=True).run
    batches = run.ready.shape[1]
    whole = float((run.start + run.seconds).max())
    m, link = pipeline.micro_batches, pipeline.link
    up, down = np.append(pipeline.up, 0.0), np.insert(pipeline.down, 0, 0.0)
    ring = np.array(pipeline.sum_bytes) / pipeline.shards * pipeline.hops()
    loads = [m * up, m * down, ring]
    busiest = max(np.max(load) for load in ([sum(loads)] if link.shared else loads)) / link.bandwidth
    assert whole >= batches * pipeline.work().max() * (1 - 1e-12)
    assert whole >= batches * busiest * (1 - 1e-12)


@settings(max_examples=60, deadline=None)
@given(pipelines(most_shards=1), st.floats(0, 1))
def test_more_latency_never_helps(pipeline, more):
    """With links of their own messages keep their order whatever the latency, so every task can only be later."""
    link = replace(pipeline.link, shared=False)
    slower = replace(link, latency=link.latency + more)
    one, two = (simulate(replace(pipeline, link=which)).run for which in (link, slower))
    assert (two.start >= one.start - 1e-9).all()


@settings(max_examples=40, deadline=None)
@given(pipelines(most_shards=1))
def test_tasks_start_as_soon_as_they_can(pipeline):
    """With links of their own the order of everything is fixed: a recurrence without an event queue gives the same."""
    pipeline = replace(pipeline, link=replace(pipeline.link, shared=False))
    run = simulate(pipeline).run
    np.testing.assert_allclose(run.start, recurrence(pipeline, run), rtol=0, atol=1e-8)


def recurrence(pipeline, run):
    """Do tasks in any order that is possible; return their starts."""
    stages, link = pipeline.stages, pipeline.link
    start, at, free = np.zeros_like(run.start), [0] * stages, [0.0] * stages
    arrived = {(s, way): [] for s in range(stages) for way in (UP, DOWN)}
    leaves = dict.fromkeys(arrived, 0.0)
    ways = {FORWARD: (UP, 1, pipeline.up), BACK: (DOWN, -1, pipeline.down)}
    while any(k < run.tasks.shape[1] for k in at):
        before = list(at)
        for s in range(stages):
            while at[s] < run.tasks.shape[1]:
                kind, number = names(run.tasks[s, [at[s]]])[0]
                way, step, bytes_ = ways.get(kind, (None, 0, None))
                ready = 0.0
                if way is not None and 0 <= s - step < stages:
                    messages = arrived[s - step, way]
                    if len(messages) <= number:
                        break
                    ready = messages[number]
                start[s, at[s]] = max(free[s], ready)
                free[s] = start[s, at[s]] + run.seconds[s, at[s]]
                if way is not None and 0 <= s + step < stages:
                    wire = bytes_[min(s, s + step)] / link.bandwidth
                    leaves[s, way] = max(free[s], leaves[s, way]) + wire
                    arrived[s, way].append(leaves[s, way] + link.latency)
                at[s] += 1
        assert at != before
    return start


def test_too_few_micro_batches_are_refused():
    with pytest.raises(ValueError, match="4 micro-batches for 6 stages with lead 1, expected at least 5"):
        even(6, 4)
    with pytest.raises(ValueError, match="expected at least 10"):
        even(6, 9, lead=2)
    assert even(6, 4, schedule="flush").micro_batches == 4


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"forward": [1.0]}, "back is .* expected 1 finite"), ({"up": [-1.0]}, "up is"), ({"schedule": "late"}, "'late'"),
        ({"shards": 0}, "0 shards"), ({"gradient": [np.nan, 1.0]}, "gradient is"),
    ],
)  # fmt: skip
def test_wrong_numbers_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        replace(even(2, 2), **change)


def test_wrong_links_and_runs_are_refused():
    for wrong in ({"latency": -1.0}, {"bandwidth": 0.0}, {"overhead": np.nan}):
        with pytest.raises(ValueError, match="expected latency"):
            Link(**wrong)
    with pytest.raises(ValueError, match="0 batches"):
        simulate(even(1, 1), batches=0)
